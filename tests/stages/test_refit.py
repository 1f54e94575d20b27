from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tl_toolkit as tl
from tl_toolkit.events import DecisionEvent, Event, TaskProgress, WarningEvent
from tl_toolkit.features import extractor as frozen
from tl_toolkit.model_file import read_metadata
from tl_toolkit.planning import advance
from tl_toolkit.recipes.finetune import Run


@pytest.fixture
def train(photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs of --tune auto that keep the probe."""
    monkeypatch.setattr(advance, "_why_not", lambda *_: "not today")
    count = 0

    def run(**settings: Any) -> tuple[Run, list[Event]]:
        nonlocal count
        count += 1
        events: list[Event] = []
        given = {**small_settings, "tune": "auto", "views": 1, "probe_epochs": 30, "precision": "fp32", **settings}
        return tl.finetune(data=photos, out=tmp_path / str(count), callback=events.append, **given), events

    return run


def refits(events: list[Event]) -> list[str]:
    return [event.value for event in events if isinstance(event, DecisionEvent) and event.what == "refit"]


def test_auto_that_keeps_the_probe_solves_it_again_on_train_and_val(train: Any):
    run, events = train()
    assert run.summary["refit_on_val"]
    assert refits(events) == ["the head, on 30 images of train and val"]
    features = [event for event in events if isinstance(event, TaskProgress) and event.task == "features"]
    assert sum({event.total for event in features}) == 30  # None is computed twice.
    alone, _ = train(tune="linear-probe", epochs=30)
    assert not alone.summary["refit_on_val"]
    assert alone.summary["val_loss"] == run.summary["val_loss"]  # Val is judged before.
    heads = [load_file(each.path / "model.safetensors")["fc.weight"] for each in (run, alone)]
    assert not torch.allclose(*heads, atol=1e-4)
    last = [load_file(each.path / "last.safetensors")["fc.weight"] for each in (run, alone)]
    assert torch.equal(*last)


def test_auto_with_the_datas_own_val_leaves_it_alone(train: Any, photos: Path):
    for split, names in (("train", ("0", "1")), ("val", ("7",))):
        for name in names:
            (photos / split).mkdir(exist_ok=True)
            (photos / name).rename(photos / split / name)
    (photos / "val" / "7").rename(photos / "val" / "1")
    run, events = train()
    assert not run.summary["refit_on_val"]
    assert refits(events) == []


def test_auto_whose_features_do_not_fit_into_memory_does_not_train_again(train: Any, monkeypatch: pytest.MonkeyPatch):
    needed = 30 * (96 + 3) * 4  # Of train and val; train alone fits.
    monkeypatch.setattr(frozen, "MEMORY_BYTES", needed - 1)
    run, events = train()
    assert not run.summary["refit_on_val"]
    assert refits(events) == []


def test_auto_that_goes_on_to_fine_tuning_keeps_what_val_chose(train: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    run, events = train(probe_epochs=1, learning_rate=0.001)
    assert run.summary["refit_on_val"] == (run.summary["best_stage"] == "probe") == bool(refits(events))


def test_model_whose_head_learned_from_val_does_not_call_it_unseen(train: Any, photos: Path):
    run, _ = train()
    notes = [read_metadata(run.path / name).split_note for name in ("model.safetensors", "last.safetensors")]
    assert [note.learned for note in notes if note] == [("train", "val"), ("train",)]
    events: list[Event] = []
    result = tl.evaluate(tl.load(run.path), photos, callback=events.append)
    assert (result.split, result.scores.images, result.seen) == ("train", 30, 30)
    right = f"{run.summary['val_accuracy']:.1%}".replace("%", " %")
    assert [event for event in events if isinstance(event, WarningEvent)] == [
        WarningEvent(
            "The model learned from all of these images: accuracy on them says nothing of new images. Val was judged "
            f"before the head was solved on train and val together: {right} of 3 images right."
        )
    ]
