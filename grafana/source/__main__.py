"""Write the dashboards' JSON files, or check with `--check` that the files are up to date."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import exporter, fleet, node

FOLDER: Final = Path(__file__).parent.parent / "dashboards"

# The SDK always writes these fields with their defaults. Grafana 10.4 lacks them, or has them in another place.
_YOUNGER: Final = {"allowCustomValue", "auto", "auto_count", "auto_min", "percentChangeColorMode", "perPage"}


def render(dashboard: Dashboard) -> str:
    """Return the dashboard as JSON: the same bytes on every call."""
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    return json.dumps(_older(plain), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _older(data: object) -> object:
    if isinstance(data, list):
        return [_older(entry) for entry in data]
    if isinstance(data, dict):
        return {name: _older(value) for name, value in data.items() if name not in _YOUNGER}
    return data


def files() -> dict[Path, str]:
    """Return the path and the text of every dashboard's file."""
    return {
        FOLDER / f"{name}.json": render(module.dashboard())
        for name, module in (("fleet", fleet), ("node", node), ("exporter", exporter))
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all dashboards; return 1 if a check finds a difference, else 0."""
    parser = argparse.ArgumentParser(prog="python -m grafana.source", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    options = parser.parse_args(arguments)
    stale = [path for path, text in files().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in stale:
            sys.stderr.write(f"{path.name} differs from what the code writes: run `make dashboards`\n")
        return 1 if stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
