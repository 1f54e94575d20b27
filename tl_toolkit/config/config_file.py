"""Reading settings from a YAML file."""

from pathlib import Path
from typing import Any

from tl_toolkit.config.fields import read_yaml
from tl_toolkit.errors import UsageError


def read_config_file(path: Path) -> dict[str, Any]:
    """Read settings from a YAML file.

    Raises:
        UsageError: The file cannot be read, or is not a mapping.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"Cannot read the config file {path}: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{path} is not valid YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UsageError(f"{path} must hold `setting: value` lines, but it holds a {type(values).__name__}.")
    return values
