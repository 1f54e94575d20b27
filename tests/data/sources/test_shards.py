"""Tar files as a source: labels, splits, names, and what is wrong with their samples."""

import json
from pathlib import Path

import pytest
import webdataset

from tests.helpers.shards import labelled, picture, write_shards, write_tar
from tl_toolkit.data.sources import shard_members
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import DataError


def open_tar(path: Path, members: dict[str, bytes]) -> Source:
    return open_source(str(write_tar(path, members)))


def refusal(path: Path, members: dict[str, bytes]) -> str:
    with pytest.raises(DataError) as error:
        open_tar(path, members)
    return str(error.value).replace(str(path), "X").replace(str(path.parent), "FOLDER")


LAYOUT = "Expected members that share a key: cat1.jpg and cat1.cls, cat1.json or cat1.txt with the label."


def test_shards_have_classes_names_and_images(tmp_path: Path):
    source = open_source(str(write_shards(tmp_path / "pets", 3, 4)))
    train = source.split("train")
    assert (source.name, source.class_names, list(source.splits)) == ("pets", ("a", "b"), ["train"])
    assert train.names()[:5] == ["00000.png", "00001.png", "00002.png", "00003.png", "00004.png"]
    assert list(train.targets) == [0, 1] * 6
    assert [train.read(index) for index in range(12)] == [picture(number) for number in range(12)]
    assert train.open(5, 3).size == (10, 12)


@pytest.mark.parametrize(
    ("ending", "first", "second", "classes"),
    [
        ("cls", b"7", b"11", ("7", "11")),
        ("cls", b" cat\n", b"dog", ("cat", "dog")),
        ("txt", b"a cat", b"a dog", ("a cat", "a dog")),
        ("json", b'{"label": "cat", "id": 9}', b'{"label": "dog"}', ("cat", "dog")),
        ("json", b"3", b"12", ("3", "12")),
        ("CLS", b"0", b"1", ("0", "1")),
    ],
)
def test_label_is_in_cls_json_or_txt(
    tmp_path: Path, ending: str, first: bytes, second: bytes, classes: tuple[str, ...]
):
    members = {f"x.{ending}": first, "x.JPG": picture(1, "jpg"), f"y.{ending}": second, "y.png": picture(2)}
    source = open_tar(tmp_path / "x.tar", members)
    assert source.class_names == classes
    assert list(source.split("train").targets) == [0, 1]
    assert source.split("train").names() == ["x.JPG", "y.png"]


def test_label_in_cls_counts_before_that_in_json(tmp_path: Path):
    members = {"x.cls": b"a", "x.json": b"no JSON", "x.png": picture(1), "y.cls": b"b", "y.png": picture(2)}
    assert open_tar(tmp_path / "x.tar", members).class_names == ("a", "b")


def test_members_of_a_sample_need_not_be_neighbours(tmp_path: Path):
    members = {"x.png": picture(1), "y.png": picture(2), "y.cls": b"b", "x.cls": b"a"}
    assert list(open_tar(tmp_path / "x.tar", members).split("train").targets) == [0, 1]


def test_several_labels_are_a_list_in_json(tmp_path: Path):
    members = {
        "x.json": b'{"labels": ["cat", "dog"]}', "x.png": picture(1),
        "y.json": b'{"labels": []}', "y.png": picture(2),
    }  # fmt: skip
    source = open_tar(tmp_path / "x.tar", members)
    assert (source.task, source.class_names) == ("multi-label", ("cat", "dog"))
    assert [list(row) for row in source.split("train").targets] == [[1, 1], [0, 0]]


def test_class_names_are_those_of_a_file_beside_the_shards(tmp_path: Path):
    (tmp_path / "classes.json").write_text('["cat", "dog", "emu"]')
    members = labelled("x", 1, 1) | labelled("y", 0, 2) | labelled("z", "emu", 3)
    source = open_tar(tmp_path / "train" / "x.tar", members)
    assert source.class_names == ("cat", "dog", "emu")
    assert list(source.split("train").targets) == [1, 0, 2]


def test_shares_of_the_classes_of_a_file_are_soft_labels(tmp_path: Path):
    (tmp_path / "classes.json").write_text('["cat", "dog"]')
    members = {"x.json": b"[0.25, 0.75]", "x.png": picture(1), "y.json": b"[1.0, 0.0]", "y.png": picture(2)}
    source = open_tar(tmp_path / "x.tar", members)
    assert source.task == "soft"
    assert [list(row) for row in source.split("train").targets] == [[0.25, 0.75], [1, 0]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"cat": 1}', '{\'cat\': 1}. Expected a list of class names: ["cat", "dog"].'),
        ('["cat", "cat"]', None),
        ("no JSON", None),
    ],
)
def test_class_names_that_are_no_list_are_refused(tmp_path: Path, text: str, expected: str | None):
    (tmp_path / "classes.json").write_text(text)
    message = refusal(tmp_path / "x.tar", labelled("x", 1))
    assert message.startswith(
        ("FOLDER/classes.json is", "FOLDER/classes.json lists", "Cannot read FOLDER/classes.json")
    )
    if expected:
        assert message == f"FOLDER/classes.json is {expected}"


def test_splits_are_folders_or_words_of_names(tmp_path: Path):
    members = labelled("x", "a", 1) | labelled("y", "b", 2)
    write_tar(tmp_path / "folders" / "train" / "0.tar", members)
    write_tar(tmp_path / "folders" / "valid" / "0.tar", members)
    write_tar(tmp_path / "words" / "pets-train-0.tar", members)
    write_tar(tmp_path / "words" / "pets-test-0.tar", members)
    splits = {name: open_source(str(tmp_path / name)).splits for name in ("folders", "words")}
    assert list(splits["folders"]) == ["train", "val"]
    assert list(splits["words"]) == ["train", "test"]


def test_two_images_with_one_key_are_refused(tmp_path: Path):
    members = {"a/x.cls": b"1", "a/x.png": picture(), "a/x.jpg": picture(1, "jpg")}
    assert refusal(tmp_path / "x.tar", members) == (
        "X has two images with the key a/x: a/x.png and a/x.jpg. A sample is one image and its label; give each image "
        "a key of its own, without a dot in it."
    )


def test_images_without_a_label_are_refused(tmp_path: Path):
    members = labelled("x", 1) | {"y.png": picture(), "z.png": picture(), "z.caption": b"cat"}
    message = f"X has 2 images without a label (y, z; there is .caption). {LAYOUT}"
    assert refusal(tmp_path / "x.tar", members) == message


def test_labels_without_an_image_are_refused(tmp_path: Path):
    members = labelled("x", 1) | {"y.cls": b"1"}
    assert refusal(tmp_path / "x.tar", members) == f"X has 1 sample without an image (y; there is .cls). {LAYOUT}"


def test_images_with_an_unknown_ending_are_refused(tmp_path: Path):
    members = {"x.cls": b"1", "x.npy": b"1", "y.cls": b"1", "y.npy": b"1"}
    message = f"X has 2 samples that end like no image (x, y; there is .cls, .npy). {LAYOUT}"
    assert refusal(tmp_path / "x.tar", members) == message


def test_members_that_are_neither_image_nor_label_are_passed_over_with_a_note(tmp_path: Path):
    members = labelled("x", "a", 1) | {"x.seg.png": picture(), "__meta__.json": b"{}", "README": b""}
    source = open_tar(tmp_path / "x.tar", members | labelled("y", "b", 2))
    assert source.notes == ["Passed over in the shards: 1 member ending in .seg.png (1)."]


def test_shard_without_samples_is_refused(tmp_path: Path):
    assert refusal(tmp_path / "x.tar", {"README": b"1"}) == f"X has no samples. {LAYOUT}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.cls", b" ", "x.cls in X is empty: it holds no label. Write one into it, or take the sample out."),
        ("x.cls", b"\xff", f"x.cls in X is no text in UTF-8 (invalid start byte at byte 0). {LAYOUT}"),
        ("x.json", b"{", "x.json in X is no JSON (Expecting property name enclosed in double quotes: line 1 column 2 "
            "(char 1))."),
        ("x.json", b'{"caption": "a"}', 'x.json in X has no label: it has caption. Expected {"label": "cat"}, or '
            '{"labels": ["cat", "dog"]} for several.'),
        ("x.json", b'{"label": null}', "x.json in X has the label None: a label is text, a number, or a list of "
            "these."),
    ],
)  # fmt: skip
def test_label_that_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, message: str):
    assert refusal(tmp_path / "x.tar", {name: content, "x.png": picture()}) == message


def test_label_of_many_bytes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shard_members, "MAX_LABEL_BYTES", 3)
    message = f"x.cls in X has 4 bytes, too many for a label. {LAYOUT}"
    assert refusal(tmp_path / "x.tar", {"x.cls": b"1234", "x.png": picture()}) == message


def test_key_in_two_shards_is_refused(tmp_path: Path):
    for name in ("0.tar", "1.tar"):
        write_tar(tmp_path / name, labelled("x", 1))
    with pytest.raises(DataError) as error:
        open_source(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}/0.tar and {tmp_path}/1.tar both have the key x. If it is the same image, take one out; if not, "
        "write the shards with keys that differ, such as by the name of the shard."
    )


def test_headers_are_read_again_only_if_a_shard_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.tar"
    first = open_tar(path, labelled("x", "a", 1) | labelled("y", "b", 2))
    monkeypatch.setattr(shard_members, "_may_be_label", None)  # Reading the headers would now fail.
    second = open_source(str(path))
    assert second.split("train").names() == first.split("train").names()
    assert second.split("train").read(1) == first.split("train").read(1)
    monkeypatch.undo()
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    assert open_tar(path, labelled("z", "c", 3)).split("train").names() == ["z.png"]


def test_damaged_cache_of_headers_is_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    path = write_tar(tmp_path / "x.tar", labelled("x", "a", 1) | labelled("y", "b", 2))
    open_source(str(path))
    (entry,) = (tmp_path / "cache" / "shards").iterdir()
    whole = entry.read_text()
    entry.write_text(whole[:-9])
    assert open_source(str(path)).split("train").names() == ["x.png", "y.png"]
    assert entry.read_text() == whole


def test_shards_that_webdataset_wrote_are_read(tmp_path: Path):
    with webdataset.ShardWriter(str(tmp_path / "%06d.tar"), maxcount=4, verbose=0) as writer:
        for number in range(10):
            label = {"cls": number % 3} if number % 2 else {"json": {"label": number % 3}}
            writer.write({"__key__": f"deep/er/{number}", "png": picture(number), **label})
    with webdataset.TarWriter(str(tmp_path / "999999.tar")) as single:
        single.write({"__key__": "last", "jpg": picture(10, "jpg"), "txt": "2"})
    train = open_source(str(tmp_path / "{000000..000002}.tar")).split("train")
    assert train.names() == [f"deep/er/{number}.png" for number in range(10)]
    assert list(train.targets) == [number % 3 for number in range(10)]
    assert [train.read(index) for index in range(10)] == [picture(number) for number in range(10)]
    assert len(open_source(str(tmp_path)).split("train")) == 11


def test_index_that_is_damaged_is_refused(tmp_path: Path):
    write_shards(tmp_path, 1, 2)
    (tmp_path / "index.json").write_text(json.dumps({"format": 1, "shards": [{"path": "000.tar"}]}))
    with pytest.raises(DataError) as error:
        open_source(str(tmp_path))
    assert str(error.value) == (
        f"{tmp_path}/index.json is no index that tl wrote: shard 0: Expected `object`, got `null`. Copy it again from "
        "where it was packed, or remove it to read the shards without it."
    )
