"""Reads YAML files that people write. Invalid content of any kind gives an error of one line."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file; None if it is empty.

    Raises:
        ValueError: The file cannot be read. The message is one line with the reason.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML lets errors through when a scalar does not fit its type: `2026-13-01`, `!!int ""`.
        raise ValueError(f"a value that does not fit its type ({' '.join(str(error).split())})") from error
