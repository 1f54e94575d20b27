"""Packages that only some sources need, imported when one of these is named."""

from importlib import import_module
from types import ModuleType

from tl_toolkit.errors import DataError


def import_extra(module: str, extra: str, what: str) -> ModuleType:
    """Import a package that an extra of this one installs.

    Args:
        module: What to import.
        extra: The extra that brings it.
        what: What needs it, for the message.

    Raises:
        DataError: It is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == package
        why = "" if missing else f" ({error})"
        raise DataError(f"{what} needs the package {package}{why}: pip install 'tl_toolkit[{extra}]'.") from error
