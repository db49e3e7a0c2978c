"""Renders the chart with each values file of ci/ into a folder: python -m helm.render FOLDER."""

import sys
from pathlib import Path

import helm_python
import yaml

from helm.sync import CHART


def main(folder: Path) -> None:
    """Write each manifest to FOLDER/VALUES-FILE/TEMPLATE."""
    with helm_python.Chart.load(CHART) as chart:
        for values in sorted((CHART / "ci").glob("*-values.yaml")):
            made = chart.render(yaml.safe_load(values.read_text(encoding="utf-8")), name="ginkgo", namespace="trading")
            for template, text in made.items():
                if template.endswith(".yaml") and text.strip():
                    path = folder / values.stem / template
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
