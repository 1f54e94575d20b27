"""Versions of Python and of the packages that decide what a run learns."""

import importlib.metadata
import platform

PACKAGES = ("torch", "torchvision", "timm", "tl_toolkit")


def package_versions() -> dict[str, str]:
    """Return the version of Python and of each package, by name."""
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
