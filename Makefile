# Everything is done by these targets; CI, the hooks and people call the same ones.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
STACK := $(shell command -v prometheus >/dev/null && \
	{ command -v alertmanager || command -v prometheus-alertmanager; } >/dev/null && echo --stack)
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url pyproject.toml

.PHONY: help demo test lint format bench soak siege fuzz mutants dashboards dashboard-pictures chart sbom dist docs lock servers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/demo ## run simulated nodes and the exporter, with Prometheus and Alertmanager where installed
	@$(BIN)/python -m exporter demo $(STACK) $(ARGS)

test: $(VENV)/dev servers ## run all tests; installs the servers that they need, where it may
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

lint: $(VENV)/dev ## check style, types, and that no room imports a higher one
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev ## put the code into the house's style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev servers ## measure scrapes against the plain way, redis_exporter and Redis's own limit
	$(BIN)/python -m benchmarks $(ARGS)

soak: $(VENV)/dev servers ## an hour of faults, every answer and page judged; ARGS="--busy 2" beside two busy loops
	$(BIN)/python -m soak $(ARGS)

siege: $(VENV)/dev servers ## attack the exporter in many ways, and see what a scraper gets; ARGS="--only large-field --seconds 10"
	$(BIN)/python -m siege $(ARGS)

fuzz: $(VENV)/dev servers ## let every property look for new examples; ARGS="--examples 100000" for hours
	$(BIN)/python -m pytest -m hypothesis --timeout 0 --examples 5000 $(ARGS)

mutants: $(VENV)/dev servers ## build faults into modules and see that tests notice; ARGS="exporter/snapshot/values.py", say
	$(BIN)/python -m mutants $(ARGS)

dashboards: $(VENV)/dev ## write the Grafana dashboards from their code
	$(BIN)/python -m grafana.source

dashboard-pictures: $(VENV)/dev ## draw the dashboards' pictures (needs npm, Chromium and Prometheus)
	$(BIN)/python -m grafana.pictures

chart: $(VENV)/dev ## bring rules and dashboards into the chart, and write its table of values
	$(BIN)/python helm/sync.py

sbom: $(VENV)/dev ## write a bill of materials of what is installed at run time, and its licences
	$(BIN)/python requirements/materials.py build/sbom.json requirements/licences.md

dist: sbom ## build sdist and wheel of the last commit: the same bytes wherever and whenever
	rm -rf dist build/source
	mkdir -p build/source
	git archive HEAD | tar -xf - -C build/source
	git rev-parse HEAD >build/source/exporter/REVISION
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(BIN)/python -m build --no-isolation --outdir dist build/source

docs: $(VENV)/dev ## write the README's tables from the code
	$(BIN)/python docs/tables.py README.md README.zh-CN.md

lock: $(VENV)/dev ## pin all dependencies anew, with hashes
	$(UV_COMPILE) --upgrade --output-file requirements/runtime.txt
	$(UV_COMPILE) --upgrade --extra demo --constraint requirements/runtime.txt --output-file requirements/demo.txt
	$(UV_COMPILE) --upgrade --extra demo --group dev --constraint requirements/demo.txt --output-file requirements/dev.txt
	echo 'hatchling>=1.27' | $(UV_COMPILE:pyproject.toml=-) --upgrade --constraint requirements/dev.txt \
		--output-file requirements/build.txt

servers:
	@tests/install-servers

clean: ## remove the virtual environment and what was built
	rm -rf $(VENV) build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; call make with PYTHON=python3.11, say" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is needed (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

# Bytecode is made of what is imported, when it is: that spares a newcomer a third of the wait.
$(VENV)/demo: requirements/demo.txt | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes --no-compile -r $<
	@touch $@

$(VENV)/dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@ $(VENV)/demo
