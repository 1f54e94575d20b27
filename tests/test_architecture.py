"""docs/architecture.md and CONTRIBUTING.md name what is there."""

import re
from pathlib import Path

import pytest

from tests.drawing import FLAG, IMAGE, ROOT, draw_architecture, layers

PACKAGE = ROOT / "tl_toolkit"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
PAGES = [ARCHITECTURE, ROOT / "docs" / "extending.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]


def where_to_change() -> list[tuple[str, Path]]:
    """The names in the second column of the page's tables, each with the file that should have it."""
    cells = re.findall(r"^\| [^|]+ \| (.+) \|$", ARCHITECTURE.read_text(encoding="utf-8"), re.MULTILINE)
    found: list[tuple[str, Path]] = []
    for cell in cells:
        names: list[str] = []
        for word in re.findall(r"`([^`]+)`", cell):
            if word.endswith(".py"):
                found += [(name, PACKAGE / word) for name in names]
                names = []
            else:
                names.append(word)
    return found


def test_drawing_has_the_layers_of_the_import_contract():
    drawn = (ROOT / "docs" / "architecture.svg").read_text(encoding="utf-8")
    assert drawn == draw_architecture(layers()), "run python -m tests.drawing docs/architecture.svg"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_names_modules_that_exist(page: Path):
    named = re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))
    assert [path for path in named if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


def test_ways_of_an_image_and_a_flag_name_modules_that_exist():
    assert [file for _, _, file in (*IMAGE, *FLAG) if file and not (PACKAGE / file).exists()] == []


def test_where_to_change_names_what_the_files_have():
    found = where_to_change()
    assert {"train_transform", "DEFAULTS", "StageState", "FinetuneConfig"} <= {name for name, _ in found}
    assert [(name, path.name) for name, path in found if name not in path.read_text(encoding="utf-8")] == []
