"""The tables of the chart: its values and the thresholds of its alerts."""

from collections.abc import Iterator

from helm.sync import CHART, table, threshold_rows, value_rows


def values_table() -> str:
    """Return the chart's values as a Markdown table."""
    rows = value_rows((CHART / "values.yaml").read_text(encoding="utf-8"))
    return table(
        ("value", "default", "meaning"),
        ((f"`{name}`", default and f"`{default}`", text) for name, default, text in rows),
    ).rstrip()


def thresholds_table() -> str:
    """Return the thresholds that the chart's values can change as a Markdown table."""

    def rows() -> Iterator[tuple[str, str, str]]:
        for alert, name, default in threshold_rows():
            yield alert, f"`{name}`", default

    return table(("alert", "threshold", "default"), rows()).rstrip()
