"""Write the dashboards' JSON files, or check with `--check` that the files are up to date."""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source import exporter, fleet, node
from grafana.source.links import DEFAULT_ADDRESS, EXPORTER_ADDRESS, KEPT_ADDRESS
from grafana.source.queries import INSTALLATION

FOLDER: Final = Path(__file__).parent.parent / "dashboards"

LABEL: Final = "cluster"
ADDRESS: Final = "http://localhost:19121"
_NODE_LABELS: Final = {"instance", "pod", "container", "endpoint", "node_id", "state", "status", "job"}
"""Labels that do not tell installations apart, or that the queries already match."""

# The SDK always writes these fields with their defaults. Grafana 10.4 lacks them, or has them in another place.
_YOUNGER: Final = {"allowCustomValue", "auto", "auto_count", "auto_min", "percentChangeColorMode", "perPage"}


def render(dashboard: Dashboard, label: str = LABEL, address: str = ADDRESS) -> str:
    """Return the dashboard as JSON: the same bytes on every call.

    Args:
        dashboard: The dashboard.
        label: Name of the label that tells installations apart.
        address: Where a browser reaches the exporter. `{installation}` in it stands for the chosen installation.
    """
    plain = json.loads(json.dumps(dashboard, cls=JSONEncoder))
    each = "{installation}" in address
    if each:
        variables = plain["templating"]["list"]
        plain["templating"]["list"] = [variable for variable in variables if variable["name"] != "exporter"]
    text = json.dumps(_older(plain), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    if each:
        text = text.replace(KEPT_ADDRESS, "")
    pages = json.dumps(address.replace("{installation}", "${cluster}"))[1:-1] if each else "${exporter}"
    default = json.dumps(address)[1:-1]
    return text.replace(INSTALLATION, label).replace(EXPORTER_ADDRESS, pages).replace(DEFAULT_ADDRESS, default)


def _older(data: object) -> object:
    if isinstance(data, list):
        return [_older(entry) for entry in data]
    if isinstance(data, dict):
        return {name: _older(value) for name, value in data.items() if name not in _YOUNGER}
    return data


def files(label: str = LABEL, address: str = ADDRESS, folder: Path = FOLDER) -> dict[Path, str]:
    """Return the path and the text of every dashboard's file."""
    return {
        folder / f"{name}.json": render(module.dashboard(), label, address)
        for name, module in (("fleet", fleet), ("node", node), ("exporter", exporter))
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check all dashboards; return 1 if a check finds a difference, else 0."""
    parser = argparse.ArgumentParser(prog="python -m grafana.source", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 on a difference")
    parser.add_argument(
        "--installation-label", default=LABEL, type=_label, help="label that tells installations apart [%(default)s]"
    )
    parser.add_argument(
        "--exporter-address",
        default=ADDRESS,
        type=_address,
        help="where a browser reaches the exporter's pages; {installation} stands for the installation [%(default)s]",
    )
    parser.add_argument("--output", default=FOLDER, type=Path, help="folder to write to [grafana/dashboards]")
    options = parser.parse_args(arguments)
    wanted = files(options.installation_label, options.exporter_address, options.output)
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if options.check:
        for path in stale:
            sys.stderr.write(f"{path.name} differs from what the code writes: run `make dashboards`\n")
        return 1 if stale else 0
    options.output.mkdir(parents=True, exist_ok=True)
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")
    return 0


def _label(text: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_]\w*", text, re.ASCII) or text in _NODE_LABELS:
        raise argparse.ArgumentTypeError(f"{text!r} cannot be the label of an installation")
    return text


def _address(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s?#]+", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address such as https://ginkgo.example.com")
    return text.rstrip("/")


if __name__ == "__main__":
    sys.exit(main())
