"""An installed package that adds a part by an entry point."""

import sys
from pathlib import Path

import pytest


def install_part(folder: Path, monkeypatch: pytest.MonkeyPatch, point: str, source: str) -> None:
    """Make a package importable that adds one part.

    Args:
        folder: An empty folder, which becomes a place of packages.
        monkeypatch: Takes the package away after the test.
        point: "GROUP NAME", such as "tl_toolkit.metrics error_rate".
        source: The code of its module, which defines `Part`.
    """
    group, name = point.split()
    module = f"part_{name.replace('-', '_')}"
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:Part\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, module, raising=False)
