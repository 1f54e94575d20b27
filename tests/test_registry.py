"""Registries: the package's own parts, and those of entry points."""

import sys
from pathlib import Path

import pytest

from tl_toolkit.errors import ToolkitError, UnknownNameError
from tl_toolkit.registry import Registry

PARTS: Registry[object] = Registry("part", "tl_toolkit.parts", {"plain": "math:pi", "other": "math:e"})
POINTS = "[tl_toolkit.parts]\nadded = part_of_another_package:part\nplain = math:tau\nbroken = no_such_module:part\n"


@pytest.fixture
def another_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package that adds a part."""
    (tmp_path / "part_of_another_package.py").write_text("part = 'from elsewhere'\n")
    metadata = tmp_path / "another_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: another_package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "part_of_another_package", raising=False)


def test_get_of_an_own_part_imports_it():
    assert PARTS.get("plain") == pytest.approx(3.14159, abs=1e-5)


def test_get_of_an_unknown_name_lists_the_nearest():
    with pytest.raises(UnknownNameError, match="No part is named 'plaim'. Did you mean plain?"):
        PARTS.get("plaim")


def test_get_of_an_entry_point_imports_another_packages_part(another_package: None):
    assert PARTS.get("added") == "from elsewhere"


def test_names_are_the_packages_own_and_then_the_added_ones(another_package: None):
    assert list(PARTS) == ["plain", "other", "added", "broken"]


def test_entry_point_with_the_name_of_an_own_part_does_not_replace_it(another_package: None):
    assert PARTS.get("plain") == pytest.approx(3.14159, abs=1e-5)


def test_get_of_an_entry_point_that_cannot_be_imported_names_it(another_package: None):
    with pytest.raises(ToolkitError, match=r"The part broken \(no_such_module:part\) cannot be imported"):
        PARTS.get("broken")
