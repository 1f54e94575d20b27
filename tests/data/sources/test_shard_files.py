"""Which tar files a text names."""

import itertools
from pathlib import Path

import braceexpand
import pytest

from tests.helpers.folders import touch_files
from tl_toolkit.data.sources.shard_files import expand_braces, find_shards, names_shards, split_of
from tl_toolkit.errors import DataError, UsageError


@pytest.mark.parametrize(
    "text",
    [
        "shards/{000..012}.tar", "{a,b}-{0..2}.tar", "{train,val/{00..03}}.tar", "x{9..0..3}.tar", "{a..e..2}",
        "{-1..1}", "plain.tar", "{single}", "{a,}", "a{,b}c", "}{", "{08..11}", "{3..1}", "{e..a}", "{{a,b},c}{1,2}",
    ],
)  # fmt: skip
def test_braces_are_expanded_as_webdataset_does(text: str):
    assert list(expand_braces(text)) == list(braceexpand.braceexpand(text))


def test_braces_of_very_many_are_refused():
    with pytest.raises(UsageError, match=r"names more than 1,000,000 shards\. Name fewer\.$"):
        find_shards("{0..99999999999}.tar")
    assert len(list(itertools.islice(expand_braces("{0..99999999999}"), 3))) == 3


def found(spec: object) -> list[tuple[str, str | None]] | None:
    files = find_shards(str(spec))
    return None if files is None else [(Path(file.place).name, file.split) for file in files]


def test_shards_are_named_by_a_file_braces_a_glob_and_their_folder(tmp_path: Path):
    touch_files(tmp_path, "0.tar", "1.tar", "2.tar", "index.json", "README.md")
    all_three = [("0.tar", None), ("1.tar", None), ("2.tar", None)]
    assert found(tmp_path / "1.tar") == [("1.tar", None)]
    assert found(tmp_path / "{0..2}.tar") == all_three
    assert found(tmp_path / "?.tar") == all_three
    assert found(tmp_path) == all_three


def test_file_whose_name_has_braces_is_that_file(tmp_path: Path):
    touch_files(tmp_path, "x{0..2}.tar")
    assert found(tmp_path / "x{0..2}.tar") == [("x{0..2}.tar", None)]


def test_shards_in_folders_of_splits_have_them(tmp_path: Path):
    touch_files(tmp_path, "train/0.tar", "train/1.tar", "validation/0.tar")
    assert found(tmp_path) == [("0.tar", "train"), ("1.tar", "train"), ("0.tar", "val")]


@pytest.mark.parametrize(
    ("place", "split"),
    [
        ("x/train-000.tar", "train"), ("x/imagenet-val-12.tar", "val"), ("test/000.tar", "test"), ("x/000.tar", None),
        ("http://a/b/train/0.tar", "train"), ("x/training.tar", None), ("x/train_val.tar", None),
    ],
)  # fmt: skip
def test_split_of_a_shard_is_its_folder_or_a_word_of_its_name(place: str, split: str | None):
    assert split_of(place) == split


def test_shards_of_which_some_say_a_split_are_refused(tmp_path: Path):
    touch_files(tmp_path, "train-0.tar", "1.tar")
    with pytest.raises(DataError) as error:
        find_shards(str(tmp_path))
    assert str(error.value) == (
        f"The names of 1 shard of {tmp_path} say a split, and those of {tmp_path}/1.tar do not. Name each after its "
        "split, such as train-000.tar or train/000.tar, or none."
    )


@pytest.mark.parametrize(
    "paths", [("a/x.png", "b/y.png"), ("a.tar", "a/x.png"), ("a.tar", "x.png"), ("train/a/x.png",), ()]
)
def test_other_folders_are_not_shards(tmp_path: Path, paths: tuple[str, ...]):
    touch_files(tmp_path, *paths)
    assert find_shards(str(tmp_path)) is None


def refusal(spec: object) -> str:
    with pytest.raises(UsageError) as error:
        find_shards(str(spec))
    return str(error.value)


def test_missing_shard_of_a_range_is_named(tmp_path: Path):
    touch_files(tmp_path, *(f"{number:03d}.tar" for number in range(9) if number != 4))
    assert refusal(tmp_path / "{000..008}.tar") == (
        f"Of the 9 shards of {tmp_path}/{{000..008}}.tar, 1 shard is missing: {tmp_path}/004.tar. The folder "
        f"'{tmp_path}' has 8 of them, 000.tar to 008.tar. Fetch what is missing, or name those that are there."
    )


def test_missing_shard_suggests_near_names(tmp_path: Path):
    touch_files(tmp_path, "photos.tar")
    assert refusal(tmp_path / "photo.tar") == f"There is no shard '{tmp_path}/photo.tar'. Did you mean photos.tar?"
    assert (
        refusal(tmp_path / "*-9.tar")
        == f"There is no shard '{tmp_path}/*-9.tar'. The folder '{tmp_path}' has photos.tar."
    )
    assert (
        refusal(tmp_path / "no" / "a.tar") == f"There is no folder '{tmp_path}/no' for the shards {tmp_path}/no/a.tar."
    )


def test_compressed_shards_are_refused(tmp_path: Path):
    touch_files(tmp_path, "a.tar.gz")
    for spec in (tmp_path, tmp_path / "a.tar.gz"):
        assert refusal(spec) == (
            f"{tmp_path}/a.tar.gz cannot be read in any order. Only plain .tar files can be read at any place: unpack "
            "it with `gzip -d`, `bzip2 -d`, `xz -d` or `zstd -d`. Images are compressed already."
        )


def test_shards_named_twice_are_refused(tmp_path: Path):
    touch_files(tmp_path, "a.tar")
    assert refusal(tmp_path / "{a,a}.tar") == f"{tmp_path}/{{a,a}}.tar names {tmp_path}/a.tar twice."


def test_names_shards_by_the_ending():
    assert names_shards("a/{0..9}.tar") and names_shards("x.tar.gz") and names_shards("x{.tar,b}")
    assert not names_shards("a/b") and not names_shards("a{b,c}/d")
