"""Writes a bill of materials and a list of licences of the packages that are installed at run time.

Run ``python requirements/materials.py build/sbom.json requirements/licences.md`` in an environment
with the packages of requirements/dev.txt.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from exporter import __version__

LOCK: Final = Path(__file__).with_name("runtime.txt")
ALLOWED: Final = {
    *("MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "PSF-2.0"),
    "MPL-2.0",  # asks only for the source of its own files, and these files are installed unchanged
}
"""Licences that a user of the exporter may have to accept."""

Component = dict[str, Any]


def bill() -> dict[str, Any]:
    """Return the bill of materials in the CycloneDX format.

    It has each pinned and installed package with its own metadata, and the hashes that the lock accepts. A package
    that is pinned for other systems alone is not installed, and not in the bill.
    """
    root = LOCK.parent.parent
    found = _cyclonedx("environment", "--pyproject", str(root / "pyproject.toml"), sys.executable)
    pinned = {part["purl"]: part for part in _cyclonedx("requirements", str(LOCK))["components"]}
    kept = [part for part in found["components"] if part.get("purl") in pinned]
    for part in kept:
        part["externalReferences"] = [
            *(place for place in part.get("externalReferences", ()) if place["type"] != "distribution"),
            *pinned[part["purl"]]["externalReferences"],
        ]
    found["components"] = kept
    found["metadata"]["component"]["version"] = __version__
    names = {part["bom-ref"] for part in (found["metadata"]["component"], *kept)}
    found["dependencies"] = [_within(names, node) for node in found["dependencies"] if node["ref"] in names]
    return found


def licences(found: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and licence (an SPDX expression) of each package in a bill of materials."""
    for part in sorted(found["components"], key=lambda part: str(part["purl"])):
        declared = part.get("licenses", [])
        # If there is an identifier, the older classifier only repeats it in other words.
        stated = [one.get("expression") or one["license"].get("id") for one in declared]
        names = [name for name in stated if name] or [one["license"].get("name", "unknown") for one in declared]
        yield part["name"], part["version"], " AND ".join(dict.fromkeys(names)) or "unknown"


def listed(found: dict[str, Any]) -> str:
    """Return the licences as a Markdown document.

    Raises:
        SystemExit: A licence is not among those allowed.
    """
    lines = ["# Licences of what is installed at run time", "", "Written by `make sbom`.", ""]
    lines += ["| package | version | licence |", "|---|---|---|"]
    for name, version, licence in licences(found):
        if strange := set(re.split(r" AND | OR |[()]", licence)) - ALLOWED - {""}:
            sys.exit(f"{name} {version} has a licence that is not allowed: {', '.join(sorted(strange))}")
        lines.append(f"| {name} | {version} | {licence} |")
    return "\n".join(lines) + "\n"


def _within(names: set[str], node: dict[str, Any]) -> dict[str, Any]:
    wanted = [name for name in node.get("dependsOn", ()) if name in names]
    return {"ref": node["ref"], **({"dependsOn": wanted} if wanted else {})}


def _cyclonedx(*arguments: str) -> dict[str, Any]:
    # A test validates the result. The tool's own validation would take half a minute.
    flags = ("--output-reproducible", "--short-PURLs", "--no-validate")
    command = [sys.executable, "-m", "cyclonedx_py", *arguments, *flags]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own tool
    if made.returncode:
        sys.exit(made.stderr)
    found: dict[str, Any] = json.loads(made.stdout)
    return found


if __name__ == "__main__":
    sbom, document = map(Path, sys.argv[1:])
    made = bill()
    text = listed(made)
    sbom.parent.mkdir(parents=True, exist_ok=True)
    sbom.write_text(json.dumps(made, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    document.write_text(text, encoding="utf-8")
