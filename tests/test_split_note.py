import json

import pytest

from tl_toolkit.errors import ModelFileError
from tl_toolkit.model_file import SplitFingerprints

NOTE = SplitFingerprints.of({"train": [b"12345", b"abcde", b"12345"], "val": [b"vwxyz"], "test": []}, ("train",))


def test_note_written_and_read_gives_the_fingerprints():
    read = SplitFingerprints.from_dict(json.loads(json.dumps(NOTE.to_dict())))
    assert read == NOTE
    assert read.seen() == read.fingerprints("train") == {b"12345", b"abcde"}
    assert read.fingerprints("val") == {b"vwxyz"}
    assert read.fingerprints("test") == read.fingerprints("other") == frozenset()


def test_note_of_100_000_images_takes_less_than_a_megabyte():
    prints = [number.to_bytes(5, "little") for number in range(100_000)]
    text = json.dumps(SplitFingerprints.of({"train": prints[:80_000], "val": prints[80_000:]}, ("train",)).to_dict())
    assert len(text) == 666_730


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "split_note must be a mapping"),
        ({"learned": ["train"]}, "splits of split_note must be a mapping"),
        ({"learned": ["train"], "splits": {"train": 1}}, "splits of split_note must be text"),
        ({"learned": ["val"], "splits": {"train": ""}}, "learned of split_note must name its splits"),
        ({"learned": "train", "splits": {"train": ""}}, "learned of split_note must name its splits"),
    ],
)
def test_note_that_makes_no_sense_is_refused(values: object, message: str):
    with pytest.raises(ValueError, match=message):
        SplitFingerprints.from_dict(values)


@pytest.mark.parametrize("packed", ["a", "ä", "****"])
def test_note_whose_fingerprints_are_damaged_says_so(packed: str):
    with pytest.raises(ModelFileError, match="The model file's note of its train images is damaged"):
        SplitFingerprints({"train": packed}, ("train",)).seen()
