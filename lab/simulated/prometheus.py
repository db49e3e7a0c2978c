"""The samples that a Prometheus would store when it scrapes the simulated exporters, in promtool's notation."""

from collections.abc import Mapping
from itertools import groupby

JOB = "ginkgo-exporter"
_MISSING = "_"


class Target:
    """One scraped exporter.

    Args:
        labels: The labels that Prometheus adds to its series.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = ", ".join(f'{name}="{value}"' for name, value in {"job": JOB, **labels}.items())
        self._scrapes = 0
        self._columns: dict[str, list[str]] = {}

    def scraped(self, body: str | None) -> None:
        """Store the answer of a scrape; ``body`` is None if the exporter did not answer."""
        samples = {} if body is None else dict(map(_sample, filter(_is_sample, body.splitlines())))
        self._store({**samples, "up": "1" if body is not None else "0"})

    def vanished(self) -> None:
        """Store that service discovery no longer finds the target."""
        self._store({})

    def unscraped(self) -> None:
        """Store no sample, since Prometheus itself was down."""
        for column in self._columns.values():
            column.append(_MISSING)
        self._scrapes += 1

    def series(self) -> list[dict[str, str]]:
        """Return all samples as promtool's ``input_series``."""
        return [
            {"series": self._labelled(name), "values": _compressed(column)} for name, column in self._columns.items()
        ]

    def _store(self, samples: Mapping[str, str]) -> None:
        for name, column in self._columns.items():
            value = samples.get(name)
            # A series that is missing from a successful scrape ends with a staleness marker.
            column.append(value or (_MISSING if column[-1] in (_MISSING, "stale") else "stale"))
        for name in samples.keys() - self._columns.keys():
            self._columns[name] = [_MISSING] * self._scrapes + [samples[name]]
        self._scrapes += 1

    def _labelled(self, name: str) -> str:
        family, brace, labels = name.partition("{")
        return f"{family}{{{self._labels}, {labels}" if brace else f"{family}{{{self._labels}}}"


def _is_sample(line: str) -> bool:
    return bool(line) and not line.startswith("#")


def _sample(line: str) -> tuple[str, str]:
    name, _, value = line.rpartition(" ")
    return name, value


def _compressed(column: list[str]) -> str:
    parts = []
    for value, group in groupby(column):
        times = len(list(group))
        if value == _MISSING:
            parts.append(f"_x{times}")
        else:
            parts.append(value if times == 1 else f"{value}x{times - 1}")
    return " ".join(parts)
