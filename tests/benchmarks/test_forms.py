import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.benchmarks import forms
from tl_toolkit.data.sources.base import Source, open_source


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two classes, each with twelve pictures in train and three in test, whose names come again in the other."""
    for number in range(30):
        split, name = ("train", number // 2) if number < 24 else ("test", number // 2 - 12)
        path = tmp_path / "pictures" / split / f"class{number % 2}" / f"{name:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (8 * number, 200 * (number % 2), 0)).save(path)
    return tmp_path / "pictures"


def reds(source: Source) -> dict[str, list[tuple[int, str]]]:
    """The colour of each picture, by which it is known, and its class."""
    found = defaultdict(list)
    for split, samples in source.splits.items():
        for index in range(len(samples)):
            colour = samples.open(index, 3).getpixel((0, 0))[0]
            found[split].append((colour, source.class_names[int(samples.targets[index])]))
    return dict(found)


@pytest.mark.parametrize("name", forms.FORMS)
def test_form_has_the_pictures_and_classes_of_the_folder_in_their_order(name: str, pictures: Path, tmp_path: Path):
    source = open_source(str(pictures))
    (tmp_path / "out").mkdir()
    form = forms.FORMS[name](pictures, source, tmp_path / "out")
    made, expected = reds(open_source(str(form.spec), **form.settings)), reds(source)
    assert made == expected


def test_settings_of_a_form_are_flags_too():
    assert forms.Form(Path("a.csv"), {"image_root": "photos"}).flags == ["--image-root", "photos"]


def test_digest_of_a_head_changes_with_the_head_alone():
    tensors = {"classifier.weight": torch.ones(2, 3), "classifier.bias": torch.zeros(2), "blocks.0": torch.ones(1)}
    same = forms.digest_of_head(tensors | {"blocks.0": torch.zeros(1)})
    other = forms.digest_of_head(tensors | {"classifier.bias": torch.tensor([0.0, 1e-9])})
    assert forms.digest_of_head(tensors) == same
    assert forms.digest_of_head(tensors) != other


def test_table_says_which_forms_differ_from_the_folder():
    one = forms.Measured(0.5, 3.0, 100.0, 9.0, 7.0, 800.0, "abc", {"train": "x"}, 0.5, {"train": 3})
    other = dataclasses.replace(one, head="abd", splits={"train": "y"}, seconds=11.0)
    rows = forms.table_of({"folder": [one, one], "csv": [one, other]}).splitlines()
    assert rows[2].endswith("| 9.0 s | 7.0 s | 800 MiB | yes | yes, abc | 50.00 % |")
    assert rows[3].endswith("| 10.0 s | 7.0 s | 800 MiB | no | no, abc | 50.00 % |")


def test_program_is_watched_to_its_end():
    seconds, processor, mebibytes = forms.watch([sys.executable, "-c", "b = bytearray(300 * 2**20)"], {})
    assert 0 < processor < 10 * seconds
    assert 300 < mebibytes < 400
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        forms.watch([sys.executable, "-c", "1 / 0"], {})
