"""Says why a path is not a file that can be read."""

from pathlib import Path


def no_file(path: Path) -> str:
    """Return why a path is not a file that can be read."""
    try:
        if path.is_dir():
            return f"is a folder, and not a file: {path}"
        if path.is_fifo():
            return f"is a pipe, and not a file: {path}"
        if path.exists():
            return f"is a device or a socket, and not a file: {path}"
    except OSError as error:
        return f"cannot be read: {path}: {error.strerror}"
    return f"no such file: {path}"
