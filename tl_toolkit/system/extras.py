"""Packages that only some work needs, imported when it is asked for; each is an extra of this package."""

import importlib.util
from importlib import import_module
from types import ModuleType

from tl_toolkit.errors import ToolkitError, UsageError


def import_extra(module: str, extra: str, what: str, error: type[ToolkitError] = UsageError) -> ModuleType:
    """Import a package that an extra of this one installs.

    Args:
        module: What to import.
        extra: The extra that brings it.
        what: What needs it, for the message.
        error: What is raised if it is not there.

    Raises:
        ToolkitError: It is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as problem:
        package = module.partition(".")[0]
        missing = isinstance(problem, ModuleNotFoundError) and (problem.name or "").partition(".")[0] == package
        why = "" if missing else f" ({problem})"
        raise error(_needs(what, package, extra, why)) from problem


def check_extra(package: str, extra: str, what: str) -> None:
    """Check that a package is installed, without importing it.

    Raises:
        UsageError: It is not.
    """
    if importlib.util.find_spec(package) is None:
        raise UsageError(_needs(what, package, extra))


def _needs(what: str, package: str, extra: str, why: str = "") -> str:
    return f"{what} needs the package {package}{why}: pip install 'tl_toolkit[{extra}]'."
