from pathlib import Path

import pytest

import tl_toolkit as tl
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.io.files import atomic_file, display_path, format_count, format_size, parse_size, write_text
from tl_toolkit.recipes.finetune import Run


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


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("500MB", 500_000_000), ("1.5 GiB", 1_610_612_736), ("2kb", 2000), ("1TiB", 2**40), ("7B", 7)],
)
def test_parse_size_reads_units(text: str, size: int):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "5 parsecs", "1e3", "1,5GB"])
def test_parse_size_of_no_size_is_none(text: str):
    assert parse_size(text) is None


def test_show_size_chooses_the_unit():
    assert [format_size(size) for size in (12, 1536, 5 * 2**20, 3000 * 2**30)] == [
        "12 B",
        "1.5 KiB",
        "5.0 MiB",
        "3000.0 GiB",
    ]


def test_short_path_is_normalised_and_begins_where_it_is_shortest(in_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "home", lambda: in_folder.parent)
    assert display_path(in_folder / "runs" / "one") == str(Path("runs/one"))
    assert display_path("./photos//cats/") == str(Path("photos/cats"))
    assert display_path("../photos") == str(Path("~/photos"))
    assert display_path("../photos", tilde=False) == str(Path("../photos"))
    assert display_path(in_folder) == "."
    assert display_path("link/../photos") == str(Path("link/../photos"))  # The link may lead elsewhere.


def test_show_count_has_g_for_10_to_the_9():
    counts = (0, 999, 4_800, 11_689_512, 35_406_848, 1_814_073_344, 15_470_264_320)
    assert [format_count(count) for count in counts] == [
        "0", "999", "4.8 k", "11.7 M", "35.4 M", "1.81 G", "15.47 G"
    ]  # fmt: skip


def test_short_path_has_a_tilde_for_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert display_path(tmp_path / ".cache" / "ä") == str(Path("~/.cache/ä"))
    assert display_path(Path("/elsewhere")) == str(Path("/elsewhere"))


def test_user_path_that_is_empty_is_not_the_current_folder(tiny_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_run.path)
    empty = "A path is empty, perhaps a variable that is not set. Say which file or folder is meant."
    for use in (tl.load, tl.resume, tl.open_source):
        with pytest.raises(UsageError, match=empty):
            use("")
