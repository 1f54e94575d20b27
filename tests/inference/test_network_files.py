"""Networks from the files that `tl export` writes."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import tl_toolkit as tl
from tl_toolkit.errors import ModelFileError, UsageError
from tl_toolkit.io.export_notes import note_path
from tl_toolkit.recipes.finetune import Run


def some_images(data: Path) -> list[Path]:
    return sorted((data / "test" / "7").iterdir())


def write_program(run: Run, path: Path, header: str | None = None) -> Path:
    module = run.model.module.to("cpu").float().to(memory_format=torch.contiguous_format)
    program = torch.export.export(
        module, (torch.zeros(2, 3, 32, 32),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    texts = {"tl_toolkit.json": json.dumps(run.model.metadata.to_metadata()) if header is None else header}
    torch.export.save(program, path, extra_files=texts if header != "" else None)
    return path


def test_load_of_a_program_gives_what_the_run_gives(judged_run: Run, tiny_data: Path, tmp_path: Path):
    path = write_program(judged_run, tmp_path / "model.pt2")
    loaded, images = tl.load(path, precision="fp32"), list(some_images(tiny_data))
    expected = tl.load(judged_run.path, precision="fp32")
    assert torch.equal(loaded.logits(images), expected.logits(images))
    assert loaded.predict(images) == expected.predict(images)  # With what marks unknown images.
    assert loaded.metadata == expected.metadata
    assert loaded.marks_unknown
    moved = path.rename(tmp_path / "a model")  # Known by its content.
    assert tl.load(moved).class_names == expected.class_names


def test_load_of_a_program_without_our_header_says_so(judged_run: Run, tmp_path: Path):
    path = write_program(judged_run, tmp_path / "model.pt2", "")
    with pytest.raises(UsageError, match=r"model\.pt2 is a program of torch\.export without class names and InputSpec"):
        tl.load(path)
    write_program(judged_run, path, "{}")
    with pytest.raises(ModelFileError, match=r"model\.pt2 is not a model that tl can load: it was not written by tl"):
        tl.load(path)


def test_load_of_a_damaged_program_says_so(judged_run: Run, tmp_path: Path):
    path = write_program(judged_run, tmp_path / "model.pt2")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(
        ModelFileError, match=r"model\.pt2 is not a model that tl can load: it is damaged: File is not a"
    ):
        tl.load(path)


@pytest.fixture
def exported(judged_run: Run, tmp_path: Path) -> Path:
    """A state_dict with the note beside it."""
    path = tmp_path / "weights.pth"
    shutil.copy(judged_run.path / "state_dict.pt", path)
    shutil.copy(note_path(judged_run.path / "state_dict.pt"), note_path(path))
    return path


def test_load_of_a_state_dict_with_its_note_gives_what_the_run_gives(judged_run: Run, tiny_data: Path, exported: Path):
    loaded, images = tl.load(exported, precision="fp32"), list(some_images(tiny_data))
    expected = tl.load(judged_run.path, precision="fp32")
    assert torch.equal(loaded.logits(images), expected.logits(images))
    found, wanted = loaded.predict(images), expected.predict(images)
    assert [each.top_k for each in found] == [each.top_k for each in wanted]  # Calibrated, too.
    assert loaded.metadata.temperature == expected.metadata.temperature != 1
    assert not loaded.marks_unknown  # The note leaves the statistics of images out.


def test_load_of_a_state_dict_with_the_note_of_another_file_says_so(exported: Path):
    torch.save({}, exported)
    with pytest.raises(
        ModelFileError, match=r"weights\.pth\.json is the note of another file: it is of one with the SHA"
    ):
        tl.load(exported)


def test_load_of_a_state_dict_with_a_note_that_is_none_says_what_is_missing(exported: Path):
    note_path(exported).write_text('{"title": "weights"}')
    with pytest.raises(UsageError, match=r"holds weights without class names and InputSpec"):
        tl.load(exported)
    note_path(exported).write_text("{")
    with pytest.raises(ModelFileError, match=r"weights\.pth\.json cannot be read: Expecting property name"):
        tl.load(exported)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("class_names", ["0"], r"cannot be used: its class names are fewer than two, or not all different\."),
        ("class_names", 5, r"cannot be used: its header is damaged"),
        ("head", "other", r"has a head 'other'; expected swap"),
        ("class_names", list("abcde"), r"does not fit timm:test_resnet, which its header names"),
    ],
)
def test_load_of_a_state_dict_with_a_changed_note_says_so(key: str, value: object, message: str, exported: Path):
    note = json.loads(note_path(exported).read_text())
    note["model"][key] = value
    note_path(exported).write_text(json.dumps(note))
    with pytest.raises(ModelFileError, match=message):
        tl.load(exported)
