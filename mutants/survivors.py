"""The mutants that no test notices, each with the reason: read from ``survivors.toml``, and written for it."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

from mutants.mutation import Key

FILE: Final = Path(__file__).with_name("survivors.toml")


def listed(file: Path = FILE) -> Mapping[Key, str]:
    """Return the reason for each survivor that the file lists.

    Raises:
        ValueError: A reason is missing.
    """
    reasons = {}
    for entry in tomllib.loads(file.read_text(encoding="utf-8")).get("survivor", []):
        if not entry["reason"].strip():
            raise ValueError(f"{file.name}: {entry['module']}: {entry['place']}: the reason is missing")
        for line, becomes in entry["mutants"]:
            reasons[Key(entry["module"], entry["place"], line, becomes)] = entry["reason"]
    return reasons


def written(keys: Iterable[Key]) -> str:
    """Return survivors as entries for the file, with the reasons left empty."""
    entries = []
    for (module, place), group in groupby(sorted(keys), lambda key: (key.module, key.place)):
        pairs = "\n".join(f"    [{_quoted(key.line)}, {_quoted(key.becomes)}]," for key in group)
        entries.append(f'[[survivor]]\nmodule = "{module}"\nplace = "{place}"\nreason = ""\nmutants = [\n{pairs}\n]\n')
    return "\n".join(entries)


def _quoted(text: str) -> str:
    return f"'{text}'" if "'" not in text else json.dumps(text, ensure_ascii=False)
