"""Reads YAML files that people write. Invalid content of any kind gives an error of one line."""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from exporter.settings.files import no_file

_MOST: Final = 2**20
"""Bytes of a file."""
_MERGE: Final = "tag:yaml.org,2002:merge"


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None if it is empty.

    Raises:
        ValueError: The file cannot be read. The message is one line with the reason.
    """
    if not path.is_file():  # to open a pipe would wait for a writer
        raise ValueError(no_file(path))
    try:
        if path.stat().st_size > _MOST:
            raise yaml.YAMLError(f"larger than {_MOST} bytes")  # noqa: TRY301
        return yaml.load(path.read_text(encoding="utf-8"), _UniqueKeys)  # noqa: S506 - a safe loader
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML lets errors through when a scalar does not fit its type: `2026-13-01`, `!!int ""`.
        raise ValueError(f"a value that does not fit its type ({' '.join(str(error).split())})") from error


def line_of(path: Path, names: Sequence[str]) -> int | None:
    """Return the line of a YAML file in which a nested key stands, from 1; None if it is not there.

    Args:
        path: The file.
        names: The key below its parents. If only some of its parents are there, the last of them counts.
    """
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
    except (yaml.YAMLError, OSError, ValueError, RecursionError):
        return None
    line = None
    for name in names:
        if not isinstance(node, yaml.MappingNode):
            break
        found = next(((key, value) for key, value in node.value if getattr(key, "value", None) == name), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


class _UniqueKeys(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses a mapping that has a key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002
        """Return a mapping.

        Raises:
            yaml.YAMLError: A key stands in it twice.
        """
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                raise yaml.YAMLError(f"the key {key.value!r} stands in line {lines[name]} and again in line {line}")
            lines[name] = line
        return super().construct_mapping(node, deep)
