"""Reading of YAML files that people write: whatever they hold, it is read or refused in one line."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds; None if it is empty.

    Raises:
        ValueError: It cannot be read; one line saying why.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        # PyYAML passes on whatever a scalar that is none of its kind does to it: `2026-13-01`, `!!int ""`.
        raise ValueError(f"a value that is none of its kind ({' '.join(str(error).split())})") from error
