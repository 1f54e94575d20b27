"""`tl data pack` as a person types it, and `tl data check` of what it wrote."""

from pathlib import Path

import pytest

from tests.helpers.folders import copy_digits
from tests.helpers.terminal import run_tl


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    copy_digits(tmp_path / "digits" / "train", ["0", "1"], 12)
    copy_digits(tmp_path / "digits" / "test", ["0", "1"], 6, "test")
    return tmp_path / "digits"


def test_data_pack_tells_what_it_wrote_and_what_comes_next(
    digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    done = run_tl("data", "pack", "./digits", "--out", "shards")
    assert done.exit_code == 0
    assert [line.split(maxsplit=1) for line in done.stdout.splitlines()] == [
        ["data", "digits, 2 classes: 12 test, 24 train images"],
        ["shards", "shards: 2 shards, 80.0 KiB"],
        ["next", "tl finetune shards"],
    ]
    assert run_tl("data", "check", "shards").exit_code == 0


def test_data_pack_into_a_full_folder_exits_with_2(digits: Path):
    done = run_tl("data", "pack", digits, "--out", digits)
    assert (done.exit_code, done.stderr.strip()) == (
        2,
        f"Error: {digits} has something in it; nothing is ever overwritten. Choose another --out.",
    )


@pytest.mark.parametrize("size", ["much", "10", "0.5MB"])
def test_data_pack_refuses_a_size_that_is_none(digits: Path, tmp_path: Path, size: str):
    done = run_tl("data", "pack", digits, "--out", tmp_path / "shards", "--shard-size", size)
    assert (done.exit_code, done.stderr.strip()) == (
        2,
        f"Error: --shard-size '{size}' is no size of 1MB or more, such as 256MB.",
    )


def test_data_check_of_shards_with_other_bytes_exits_with_1(digits: Path, tmp_path: Path):
    shards = tmp_path / "shards"
    run_tl("data", "pack", digits, "--out", shards)
    path = shards / "train" / "000.tar"
    content = bytearray(path.read_bytes())
    content[-1] = 1
    path.write_bytes(content)
    done = run_tl("data", "check", shards)
    assert done.exit_code == 1
    assert f"{path} is not as it was written" in done.stderr.replace("\n", " ")


def test_data_of_a_missing_shard_exits_with_2_before_anything_is_loaded(tmp_path: Path):
    (tmp_path / "a.tar").touch()
    done = run_tl("data", "info", f"{tmp_path}/{{a,b}}.tar")
    assert done.exit_code == 2
    assert "1 shard is missing" in done.stderr.replace("\n", " ")
