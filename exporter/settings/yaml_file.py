"""Reads YAML files that people write. Invalid content of any kind gives an error of one line."""

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.settings.values import existing_file

_NULL: Final = "tag:yaml.org,2002:null"


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None if it is empty.

    Every value is a text, a list, a mapping or None, as the user wrote it: YAML itself would read ``off`` as false.

    Raises:
        ValueError: The file cannot be read. The message is one line with the reason, and shows nothing of the file
            but keys that stand twice.
    """
    try:
        with existing_file(str(path)).open(encoding="utf-8") as file:
            return yaml.load(file, _Texts)  # noqa: S506 - makes only texts
    except yaml.MarkedYAMLError as error:
        # The name of an alias may be a password.
        problem = re.sub(r"'[^' ]*\w[^' ]*'", "…", error.problem or "not YAML")
        raise ValueError(f"{problem}, {str(error.problem_mark).strip()}") from None
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(" ".join(str(error).split())) from None


class _Texts(yaml.BaseLoader):
    """PyYAML's loader of texts, which refuses a mapping that has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Return a mapping.

        Raises:
            ValueError: A key stands in it twice.
        """
        keys = [str(key.value) for key, _ in node.value]
        if twice := {key for key in keys if keys.count(key) > 1}:
            raise ValueError(f"{min(twice)}: appears twice in one mapping")
        return super().construct_mapping(node, deep)


_Texts.add_implicit_resolver(_NULL, re.compile("(?:|~|null|Null|NULL)$"), ["", "~", "n", "N"])
_Texts.add_constructor(_NULL, lambda *_: None)
