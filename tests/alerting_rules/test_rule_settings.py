"""The file with the settings of the rules: each error names its place, its line and the nearest known name."""

import subprocess
import sys
from pathlib import Path

import pytest
from rule_settings import rules_by_name, settings_of

from exporter.alerting_rules.loading import load
from exporter.alerting_rules.unit_tests import unit_tests
from exporter.errors import SettingsError


def complaint(text: str, folder: Path) -> str:
    """Return the error of a file, without its path."""
    path = folder / "rules.yml"
    path.write_text(text)
    with pytest.raises(SettingsError) as raised:
        load(path)
    return str(raised.value).replace(f"{path}: ", "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label: {a: b}", "label: unknown setting; the nearest known name is labels"),
        ("links:\n  runbook: https://a", "links.runbook: unknown setting; the nearest known name is runbooks"),
        (
            "alerts:\n  GinkgoNodeMissing: {for: 3m}",
            "alerts.GinkgoNodeMissing: unknown alert; the nearest known name is GinkgoNodesMissing",
        ),
        (
            "alerts:\n\n  GinkgoNoNodes: {keep_firing_for: 3m}",
            "alerts.GinkgoNoNodes.keep_firing_for: unknown setting; the nearest known name is keep-firing-for",
        ),
        (
            "alerts:\n  GinkgoQueueGrowing:\n    thresholds:\n      queueSize: 1",
            ("alerts.GinkgoQueueGrowing.thresholds.queueSize: unknown threshold; the nearest known name is queue-size"),
        ),
        (
            "alerts: {GinkgoNoNodes: {thresholds: {nodes: 1}}}",
            ("alerts.GinkgoNoNodes.thresholds.nodes: unknown threshold: GinkgoNoNodes has none in ginkgo.rules.yml"),
        ),
        (
            "alerts: {GinkgoNoNodes: {for: ten}}",
            "alerts.GinkgoNoNodes.for: not a duration such as 500ms, 10s or 1h30m",
        ),
        (
            "alerts: {GinkgoNodeDeaf: {thresholds: {share: true}}}",
            "alerts.GinkgoNodeDeaf.thresholds.share: input should be a valid number, unable to parse string as a number",  # noqa: E501,
        ),
        (
            "selectors: [cluster=tokyo]",
            'selectors: not a selector such as cluster="tokyo" or environment=~"live|paper"',
        ),
        (
            "selectors: ['instance=\"a\"']",
            "selectors: the label instance is not on all series of an installation",
        ),
        ("selectors: ['job=\"a\"']", "selectors: the label job has a setting of its own, job"),
        ("labels: {severity: page}", "labels: the label severity cannot be set here"),
        ("labels: {a-b: page}", "labels: a-b is not a label's name"),
        ("job: ''", "job: not the name of a scrape job"),
        (
            "scrape-interval: 2m",
            "scrape-interval: must be between 1s and 1m: with rarer scrapes the rules see too little",
        ),
    ],
)
def test_an_error_names_place_line_and_reason(text: str, expected: str, tmp_path: Path) -> None:
    assert complaint(text, tmp_path) == expected


def test_all_errors_are_told_at_once(tmp_path: Path) -> None:
    assert len(complaint("label: {}\njob: ''\nqueue-length: 1", tmp_path).splitlines()) == 3


@pytest.mark.parametrize("text", ["- a", "a: [", "just text"])
def test_a_file_that_is_no_mapping_is_refused(text: str, tmp_path: Path) -> None:
    assert "\n" not in complaint(text, tmp_path)


def test_an_empty_file_means_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text("# nothing\n")
    assert load(tmp_path / "rules.yml") == load(None)


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (['a=~"[0-9]+"'], 'no value can be made up that the selector a=~"[0-9]+" takes'),
        (['a="x"', 'a="y"'], "the selectors contradict each other"),
    ],
)
def test_no_unit_tests_are_printed_for_selectors_that_no_made_up_series_fits(
    selectors: list[str], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError) as raised:
        unit_tests(settings_of({"selectors": selectors}, tmp_path))
    assert str(raised.value) == f"--tests: {expected}"


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "exporter", "rules", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_command_prints_the_rules_or_their_tests_and_refuses_a_file_with_an_error(tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text("labels: {team: trading}\n")
    assert rules_by_name(run("--config.file", str(file)).stdout)["GinkgoNoNodes"]["labels"]["team"] == "trading"
    assert 'team="trading"' in run("--config.file", str(file), "--tests").stdout
    file.write_text("lables: {team: trading}\n")
    refused = run("--config.file", str(file))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "the nearest known name is labels" in refused.stderr
