from pathlib import Path

import pytest

from tl_toolkit.errors import ToolkitError
from tl_toolkit.files import atomic_file, write_text


def test_write_text_over_a_file_replaces_it(tmp_path: Path):
    path = tmp_path / "summary ä.json"
    write_text(path, "old")
    write_text(path, "new\n")
    assert path.read_text() == "new\n"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_file_when_the_block_fails_keeps_the_old_content(tmp_path: Path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), atomic_file(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_write_text_into_a_missing_folder_names_the_path(tmp_path: Path):
    path = tmp_path / "missing" / "file"
    with pytest.raises(ToolkitError) as error:
        write_text(path, "text")
    assert str(error.value) == f"Cannot write {path}: No such file or directory."
