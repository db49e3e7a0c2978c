"""The documents' configurations and outputs, each checked by the program that reads or prints it."""

import configparser
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import helm_python
import pytest
import trustme
import yaml
from reader import DOCUMENTS, Block, Reader, blocks

from exporter.alerting_rules.rules import rules_text
from exporter.push.transport import HttpConfig
from exporter.settings import Settings, load
from exporter.web import config
from lab.servers import binary
from packages import ROOT

PAGES = [(page, block) for page in DOCUMENTS for block in blocks(page)]
YAML = [(page, block) for page, block in PAGES if block.language == "yaml"]
FILES = ("ca.crt", "client.crt", "client.key", "redis-password", "alertmanager-password", "server.crt", "server.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the configurations name."""
    for name in FILES:
        (tmp_path / name).write_text("s3cret\n")
    return tmp_path


@pytest.mark.server("promtool")
@pytest.mark.server("amtool")
def test_each_configuration_is_taken_by_its_program(folder: Path) -> None:
    assert len(YAML) > 10
    for page, block in YAML:
        check_configuration(page, block, folder)


def check_configuration(page: str, block: Block, folder: Path) -> None:
    """Let the program of a configuration read it."""
    text = block.text.replace("/etc/ginkgo-exporter", str(folder))
    text = text.replace("ginkgo.rules.yml", str(ROOT / "alerts" / "ginkgo.rules.yml"))
    file = folder / "config.yml"
    file.write_text(text)
    keys: dict[str, Any] = yaml.safe_load(text)
    if page == "docs/how-to/kubernetes.md":
        chart = ROOT / "helm" / "ginkgo-exporter"
        helm_python.lint(chart, values=keys, strict=True)
        with helm_python.Chart.load(chart) as loaded:
            made = "".join(loaded.render(keys, name="ginkgo", namespace="trading").values())
        assert {"kind: ServiceMonitor", "kind: PrometheusRule"} <= set(made.splitlines())
    elif page == "docs/how-to/rules.md":
        rules = folder / "ginkgo.rules.yml"
        rules.write_text(rules_text(file))
        subprocess.run([binary("promtool"), "check", "rules", rules], check=True)
    elif "scrape_configs" in keys:
        subprocess.run([binary("promtool"), "check", "config", file], check=True)
    elif "receivers" in keys:
        subprocess.run([binary("amtool"), "check-config", file], check=True)
    elif "basic_auth_users" in keys:
        certificate = trustme.CA().issue_cert("localhost")
        certificate.private_key_pem.write_to_path(folder / "server.key")
        certificate.cert_chain_pems[0].write_to_path(folder / "server.crt")
        tls, users = config.load(file)
        assert tls
        assert users
    elif "basic_auth" in keys:
        assert HttpConfig.load(file).basic_auth
    else:
        settings = load({"config.file": file})
        assert keys.keys() <= {name.replace("_", "-") for name in Settings._fields}
        for section, values in keys.items():
            given = getattr(settings, section.replace("-", "_"))
            assert {name.replace("_", "-") for name in given.given} >= values.keys() - {"config"}


def test_unit_of_systemd_starts_an_exporter_with_the_configuration_beside_it(reader: Reader) -> None:
    (config,) = [block for block in blocks("docs/how-to/install.md") if block.language == "yaml"]
    parser = configparser.ConfigParser(strict=False, interpolation=None)  # systemd's units may name a key twice
    parser.optionxform = str  # type: ignore[assignment,method-assign] - systemd's names have capitals
    parser.read(ROOT / "docs" / "how-to" / "ginkgo-exporter.service")
    program, *flags = shlex.split(parser["Service"]["ExecStart"])
    assert Path(program).name == "ginkgo-exporter"
    (name,) = (flag.removeprefix("--config.file=") for flag in flags)
    Path(reader.here(name)).write_text(reader.here(config.text))
    assert re.search("^redis: good", reader.types(f"ginkgo-exporter check {shlex.join(flags)}"), re.MULTILINE)
