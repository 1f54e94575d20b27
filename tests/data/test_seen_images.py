"""What a model file says of the images that its model has seen, and what is judged by default."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.torch import load_file

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.data import seen_images
from tl_toolkit.data.seen_images import choose_eval_split, note_refit
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.sources.folder import digits_folder
from tl_toolkit.errors import UnknownNameError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent
from tl_toolkit.model_file import FINGERPRINT_BYTES, read_metadata, save_model
from tl_toolkit.recipes.finetune import Run

SMALL = {"arch": "lenet5", "weights": "none", "tune": "full", "epochs": 1, "val_split": 0.2}
ALL_SEEN = "The model learned from all of these images: accuracy on them says nothing of new images."


@pytest.fixture(scope="module")
def undivided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """Ten images of each of two classes, and a run that took two of each for val."""
    folder = tmp_path_factory.mktemp("undivided")
    photos = copy_digits(folder / "photos", ["0", "1"], 10)
    return photos, tl.finetune(data=photos, out=folder / "run", **SMALL)


@pytest.fixture
def refitted(undivided: tuple[Path, Run], tmp_path: Path) -> tl.load:  # type: ignore[valid-type]
    """A model of that run whose head learned from val too."""
    model = tl.load(undivided[1].path)
    metrics = {"val_accuracy": 0.75, "val_images": 4}
    model.metadata = dataclasses.replace(
        model.metadata, split_note=note_refit(model.metadata.split_note), metrics=metrics
    )
    return model


def told(model: Any, data: Any, split: str | None = None) -> tuple[Any, list[Event]]:
    """An evaluation, and what it told."""
    events: list[Event] = []
    result = tl.evaluate(model, data, split, callback=events.append)
    return result, [event for event in events if isinstance(event, DecisionEvent | WarningEvent)]


def figures(result: Any) -> tuple[str, int, int, int | None]:
    return result.title, result.scores.images, result.left_out, result.seen


def new_images(folder: Path, name: str, count: int) -> None:
    for path in sorted((digits_folder() / "test" / name).iterdir())[:count]:
        shutil.copy(path, folder / name / f"new {path.name}")


def test_evaluate_of_data_without_splits_judges_val_of_the_run(undivided: tuple[Path, Run]):
    photos, run = undivided
    result, events = told(tl.load(run.path), photos)
    assert figures(result) == ("val of the run", 4, 16, 0)
    assert result.scores.accuracy == run.summary["val_accuracy"]
    assert events == [
        DecisionEvent("split", "val of the run", "4 of 20 images; the model learned from the rest"),
        DecisionEvent("unseen", "all 4 images", "the model learned from none of them"),
    ]


def test_evaluate_finds_val_of_the_run_by_content(undivided: tuple[Path, Run], tmp_path: Path):
    photos, run = undivided
    for number, path in enumerate(sorted(photos.glob("*/*"))):
        target = tmp_path / "moved" / path.parent.name / f"{number}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    result, _ = told(tl.load(run.path), tmp_path / "moved")
    assert figures(result) == ("val of the run", 4, 16, 0)
    assert result.scores.accuracy == run.summary["val_accuracy"]


def test_evaluate_of_a_split_that_the_run_made_judges_it(undivided: tuple[Path, Run]):
    photos, run = undivided
    result, _ = told(tl.load(run.path), photos, "val")
    assert figures(result) == ("val of the run", 4, 16, 0)
    with pytest.raises(UnknownNameError, match="No split of photos is named 'test'"):
        tl.evaluate(run.model, photos, "test")


def test_evaluate_of_a_split_with_images_of_train_tells_their_share(undivided: tuple[Path, Run]):
    photos, run = undivided
    result, events = told(tl.load(run.path), photos, "train")
    assert figures(result) == ("train", 20, 0, 16)
    message = "The model learned from 16 of these 20 images (80.0 %): accuracy on them says nothing of new images."
    assert events == [WarningEvent(message)]


def test_evaluate_judges_images_that_came_later_too(undivided: tuple[Path, Run], tmp_path: Path):
    photos = shutil.copytree(undivided[0], tmp_path / "photos")
    new_images(photos, "1", 3)
    result, events = told(tl.load(undivided[1].path), photos)
    assert figures(result) == ("unseen", 7, 16, 0)
    why = "7 of 23 images, val and others that the run did not learn from; the model learned from the rest"
    assert events[0] == DecisionEvent("split", "unseen", why)


def test_evaluate_of_other_images_judges_all_and_tells_the_share_of_train(undivided: tuple[Path, Run], tmp_path: Path):
    photos, run = undivided
    model = tl.load(run.path)
    val = {
        Path(path).name
        for path in choose_eval_split(model.metadata, open_source(photos), None, lambda _: None).samples.names()
    }
    other = tmp_path / "other"
    (other / "1").mkdir(parents=True)
    new_images(other, "1", 6)
    assert figures(told(model, other)[0]) == ("train", 6, 0, 0)
    for path in [path for path in sorted((photos / "1").iterdir()) if path.name not in val][:2]:
        shutil.copy(path, other / "1")
    result, events = told(model, other)
    assert figures(result) == ("train", 8, 0, 2)
    message = "The model learned from 2 of these 8 images (25.0 %): accuracy on them says nothing of new images."
    assert events == [DecisionEvent("split", "all 8 images", "other has no test or val split"), WarningEvent(message)]


def test_evaluate_after_a_refit_says_that_nothing_is_unseen(undivided: tuple[Path, Run], refitted: Any):
    result, events = told(refitted, undivided[0])
    assert figures(result) == ("train", 20, 0, 20)
    before = " Val was judged before the head was solved on train and val together: 75.0 % of 4 images right."
    assert events == [
        DecisionEvent("split", "all 20 images", "photos has no test or val split"),
        WarningEvent(ALL_SEEN + before),
    ]
    assert figures(told(refitted, undivided[0], "val")[0]) == ("val of the run", 4, 16, 4)


def test_evaluate_after_a_refit_judges_what_came_later(undivided: tuple[Path, Run], refitted: Any, tmp_path: Path):
    photos = shutil.copytree(undivided[0], tmp_path / "photos")
    (photos / "0" / "bad.png").write_text("bad")
    result, _ = told(refitted, photos)
    assert (figures(result), len(result.bad_images)) == (("train", 20, 0, 20), 1)
    new_images(photos, "1", 2)
    result, events = told(refitted, photos)
    assert (figures(result), len(result.bad_images)) == (("unseen", 2, 20, 0), 1)
    why = "3 of 23 images, those that the run did not learn from; the model learned from the rest"
    assert events[0] == DecisionEvent("split", "unseen", why)


def test_evaluate_of_a_model_without_a_note_says_that_it_is_not_known(undivided: tuple[Path, Run], tmp_path: Path):
    photos, run = undivided
    file = run.path / "model.safetensors"
    save_model(tmp_path / "old.safetensors", load_file(file), dataclasses.replace(read_metadata(file), split_note=None))
    with safe_open(tmp_path / "old.safetensors", framework="pt") as old:
        assert "split_note" not in old.metadata()
    result, events = told(tl.load(tmp_path / "old.safetensors"), photos)
    assert figures(result) == ("train", 20, 0, None)
    assert events == [
        WarningEvent("photos has no test or val split: all of it is judged, with any image the model learned from."),
        DecisionEvent("unseen", "not known", "the model file has no note of the images that it learned from"),
    ]


def test_evaluate_counts_images_of_test_that_are_in_train(tmp_path: Path):
    data = tmp_path / "data"
    copy_digits(data / "train", ["0", "1"], 8)
    copy_digits(data / "test", ["0", "1"], 3, "test")
    shutil.copy(min((data / "train" / "0").iterdir()), data / "test" / "0" / "again.png")
    run = tl.finetune(data=data, out=tmp_path / "run", **{**SMALL, "val_split": 0.1})
    assert (run.summary["val_images_seen"], run.summary["test_images_seen"]) == (0, 1)
    result, events = told(run.model, data)
    assert figures(result) == ("test", 7, 0, 1)
    assert isinstance(events[-1], WarningEvent)
    assert events[-1].message.startswith("The model learned from 1 of these 7 images (14.3 %)")


def test_val_image_that_train_has_too_is_not_unseen(tmp_path: Path):
    photos = copy_digits(tmp_path / "photos", ["0", "1"], 10)
    for path in sorted((photos / "0").iterdir()):
        shutil.copy(path, path.with_stem(f"{path.stem} copy"))
    run = tl.finetune(data=photos, out=tmp_path / "run", **SMALL)
    assert run.summary["val_images"] == 6
    seen = run.summary["val_images_seen"]
    assert seen > 0
    assert figures(told(run.model, photos)[0]) == ("val of the run", 6 - seen, 24 + seen, 0)


def test_evaluate_of_arrays_judges_val_of_the_run(tmp_path: Path):
    draw = np.random.default_rng(0)
    pixels, targets = draw.integers(0, 256, (40, 28, 28), np.uint8), np.arange(40) % 2
    run = tl.finetune(data=(pixels, targets), out=tmp_path / "run", **SMALL)
    assert figures(told(run.model, (pixels, targets))[0]) == ("val of the run", 8, 32, 0)


def test_evaluate_of_images_that_may_change_says_that_it_is_not_known(tmp_path: Path):
    draw = np.random.default_rng(0)
    dataset = [(image, index % 2) for index, image in enumerate(draw.integers(0, 256, (40, 28, 28), np.uint8))]
    run = tl.finetune(data=dataset, out=tmp_path / "run", **SMALL)
    assert run.model.metadata.split_note is None
    assert run.summary["val_images_seen"] is None
    assert figures(told(run.model, dataset)[0]) == ("train", 40, 0, None)


def test_run_of_more_images_than_a_model_file_can_note_leaves_the_note_out_and_says_so(
    undivided: tuple[Path, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(seen_images, "MAX_NOTED", 19)
    events: list[Event] = []
    run = tl.finetune(data=undivided[0], out=tmp_path / "run", callback=events.append, **SMALL)
    why = "20 are too many for a model file; evaluating it cannot tell which ones it learned from"
    assert DecisionEvent("note of the images", "none", why) in events
    assert run.model.metadata.split_note is None


def test_longest_note_fits_into_the_header_of_a_model_file():
    in_base64 = 4 / 3 * FINGERPRINT_BYTES * seen_images.MAX_NOTED
    assert in_base64 < 0.9 * 100_000_000


def test_model_written_while_training_goes_on_has_the_note(undivided: tuple[Path, Run]):
    run = undivided[1]
    notes = [read_metadata(run.path / name).split_note for name in ("model.safetensors", "last.safetensors")]
    assert notes[0] == notes[1]
    assert notes[0]
    assert notes[0].learned == ("train",)
    assert [len(notes[0].fingerprints(split)) for split in ("train", "val", "test")] == [16, 4, 0]
