"""Frozen features through whole runs: whatever becomes of the cache, the model is the same."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tl_toolkit as tl
from tests.helpers.events import decisions, warning_messages
from tests.helpers.runs import assert_same_weights
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import DecisionEvent, Event, TaskProgress
from tl_toolkit.features import extractor as frozen
from tl_toolkit.io.row_cache import RowCache, list_entries
from tl_toolkit.recipes.finetune import Run

Train = Callable[..., tuple[Run, list[Event]]]

RESNET18 = {"arch": "resnet18", "weights": "bundled"}
"""Gives the same bits in batches of any size."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own."""
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def train(photos: Path, tmp_path: Path, small_settings: dict[str, Any], cache: Path) -> Train:
    """Runs with another folder each; the events of each run come with it."""
    count = 0

    def run(**settings: Any) -> tuple[Run, list[Event]]:
        nonlocal count
        count += 1
        events: list[Event] = []
        given = {**small_settings, "precision": "fp32", "tune": "linear-probe", **settings}
        return tl.finetune(data=photos, out=tmp_path / f"run{count}", callback=events.append, **given), events

    return run


def weights(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.path / "last.safetensors")


def computed(events: list[Event]) -> int:
    """Images whose features were computed."""
    return sum({event.total or 0 for event in events if isinstance(event, TaskProgress) and event.task == "features"})


def choices(events: list[Event]) -> list[str]:
    """Return where the features are kept, with the reason."""
    return [f"{event.value}: {event.why}" for event in decisions(events, "features")]


def unexpected(events: list[Event]) -> list[str]:
    """Return all warnings but the one of a small val."""
    return [message for message in warning_messages(events) if "val has" not in message]


@pytest.mark.parametrize("tune", ["linear-probe", "last-stage"])
def test_finetune_with_a_warm_cache_computes_nothing_and_gives_the_same_bits(train: Train, tune: str):
    cold, events = train(tune=tune)
    assert computed(events) > 0
    warm, events = train(tune=tune)
    assert computed(events) == 0
    assert all("all from" in line for line in choices(events))
    assert_same_weights(cold.path, warm.path)
    assert warm.summary["val_loss"] == cold.summary["val_loss"]


@pytest.mark.parametrize("tune", ["linear-probe", "last-stage"])
def test_finetune_without_the_feature_cache_gives_the_same_model(train: Train, cache: Path, photos: Path, tune: str):
    without, events = train(tune=tune, feature_cache=False)
    assert not cache.exists()
    assert choices(events)[0].endswith("computed whenever they are needed: feature_cache=False")
    cached, _ = train(tune=tune)
    images = [str(path) for path in sorted(photos.glob("*/*.png"))]
    torch.testing.assert_close(without.model.logits(images), cached.model.logits(images), atol=1e-4, rtol=0)
    predicted = [[each.class_name for each in run.model.predict(images)] for run in (without, cached)]
    assert predicted[0] == predicted[1]


@pytest.mark.parametrize(
    "other", [{"seed": 3}, {"learning_rate": 0.01}, {"head": "mlp"}, {"epochs": 3}, {"val_split": 0.3}]
)
def test_features_serve_other_seeds_rates_heads_and_splits(train: Train, other: dict[str, Any]):
    train(augment="none")
    _, events = train(augment="none", **other)
    assert computed(events) == 0


@pytest.mark.parametrize("other", [{"image_size": 40}, {"weights": "none"}, {"head": "append"}, {"in_channels": 1}])
def test_features_of_other_weights_or_pixels_are_computed_anew(train: Train, other: dict[str, Any]):
    train(augment="none")
    _, events = train(augment="none", **other)
    assert computed(events) == 30


@pytest.mark.parametrize(("augment", "images"), [("none", 30), ("pad-crop", 30), ("light", 57)])
def test_views_that_would_be_alike_are_computed_once(train: Train, augment: str, images: int):
    _, events = train(augment=augment, views=2)
    assert computed(events) == images


def test_features_of_a_changed_file_are_computed_anew(train: Train, photos: Path):
    train(augment="none")
    changed = min(photos.glob("0/*.png"))
    shutil.copy(min(photos.glob("7/*.png")), changed)
    os.utime(changed, (1, 1))
    _, events = train(augment="none")
    assert computed(events) == 1


def test_features_of_a_file_that_changes_while_it_is_read_are_not_kept(
    train: Train, photos: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
):
    changed = sorted(photos.glob("0/*.png"))[3]
    real = frozen.FeatureExtractor._run_prefix

    def touch(self: frozen.FeatureExtractor, images: torch.Tensor) -> torch.Tensor:
        os.utime(changed, (len(images), len(images)))
        return real(self, images)

    monkeypatch.setattr(frozen.FeatureExtractor, "_run_prefix", touch)
    _, events = train(augment="none", draw="in-order", val_images=3)
    assert any(f"{changed} changed while it was read" in message for message in unexpected(events))
    assert not any(entry.images >= 27 and "up to" in entry.what for entry in list_entries(cache))


def test_finetune_with_a_cache_that_cannot_be_written_goes_on(train: Train, cache: Path):
    plain, _ = train(cache_size="0")
    assert not cache.exists()
    cache.write_text("a file is in the way")
    run, events = train()
    assert "The run continues without storing features on disk." in unexpected(events)[0]
    assert len(unexpected(events)) == 1
    assert_same_weights(plain.path, run.path)


def test_finetune_with_a_full_disk_goes_on(train: Train, monkeypatch: pytest.MonkeyPatch):
    plain, _ = train(cache_size="0")

    def full(*_: object) -> None:
        raise ToolkitError("Cannot write the shard: No space left on device.")

    monkeypatch.setattr(RowCache, "write", full)
    run, events = train()
    assert [message.split(":")[0] for message in unexpected(events)] == ["Cannot write the shard"]
    assert_same_weights(plain.path, run.path)


def test_finetune_whose_disk_fills_up_with_more_than_memory_holds_goes_on(
    train: Train, monkeypatch: pytest.MonkeyPatch
):
    plain, _ = train(cache_size="0", tune="last-stage")

    def fill_up(*_: object) -> None:
        monkeypatch.setattr(frozen, "MEMORY_BYTES", 1000)
        raise ToolkitError("Cannot write the shard: No space left on device.")

    monkeypatch.setattr(RowCache, "write", fill_up)
    run, events = train(tune="last-stage")
    assert any(line.endswith("computed whenever they are needed: too much for memory") for line in choices(events))
    torch.testing.assert_close(weights(run), weights(plain), atol=1e-4, rtol=1e-3)


def test_finetune_whose_features_exceed_the_cache_size_says_so_and_goes_on(train: Train, cache: Path):
    plain, _ = train(cache_size="0", tune="last-stage")
    run, events = train(cache_size="20kB", tune="last-stage")
    assert "and cache_size is 19.5 KiB." in unexpected(events)[0]
    assert not any("up to layer4" in entry.what for entry in list_entries(cache))
    assert_same_weights(plain.path, run.path)


def test_finetune_whose_features_exceed_memory_too_computes_them_in_every_epoch(
    train: Train, monkeypatch: pytest.MonkeyPatch
):
    plain, _ = train(cache_size="0", tune="last-stage")
    monkeypatch.setattr(frozen, "MEMORY_BYTES", 1000)
    run, events = train(cache_size="0", tune="last-stage")
    assert any("are too much for memory, and are not on disk" in line for line in choices(events))
    torch.testing.assert_close(weights(run), weights(plain), atol=1e-4, rtol=1e-3)


def test_finetune_with_a_damaged_shard_computes_it_anew(train: Train, cache: Path):
    plain, _ = train()
    for shard in cache.glob("features/*/*.safetensors"):
        shard.write_bytes(shard.read_bytes()[:-1])
    run, events = train()
    assert any(message.startswith("Damaged, and removed from the cache") for message in unexpected(events))
    assert computed(events) > 0
    assert_same_weights(plain.path, run.path)


def test_finetune_in_small_shards_gives_the_same(train: Train, cache: Path, monkeypatch: pytest.MonkeyPatch):
    plain, _ = train(cache_size="0", **RESNET18)
    monkeypatch.setattr(frozen, "SHARD_BYTES", 1)
    monkeypatch.setattr(frozen, "BATCH", 8)
    run, _ = train(**RESNET18)
    assert len(list(cache.glob("features/*/8-*.safetensors"))) > 3
    assert_same_weights(plain.path, run.path)
    again, events = train(**RESNET18)
    assert computed(events) == 0
    assert_same_weights(plain.path, again.path)


def test_finetune_of_a_warm_cache_does_not_decode_readable_files_again(train: Train, photos: Path):
    _, events = train(augment="none")
    first = [event.done for event in events if isinstance(event, TaskProgress) and event.task == "check"]
    assert first[-1] == 30
    (photos / "0" / "broken.png").write_bytes(b"no image")
    _, events = train(augment="none")
    assert [event.done for event in events if isinstance(event, TaskProgress) and event.task == "check"] == [31]
    assert any("broken.png" in message for message in unexpected(events))


def test_probe_lr_auto_tries_pairs_and_keeps_the_best_by_val(train: Train):
    run, events = train(probe_learning_rate="auto", augment="none")
    [choice] = [event for event in events if isinstance(event, DecisionEvent) and event.what == "probe-lr"]
    assert "best of 15 pairs: val " in choice.why
    best = float(choice.why.rpartition(" ")[2].rstrip("%")) / 100
    plain, _ = train(augment="none")
    assert best >= plain.summary["val_accuracy"] - 1e-3
    assert run.summary["val_accuracy"] == pytest.approx(best, abs=1e-3)


def test_probe_lr_auto_without_a_frozen_prefix_says_what_it_takes(train: Train):
    _, events = train(
        arch="timm:levit_128s", weights="none", image_size=224, probe_learning_rate="auto", probe_epochs=1
    )
    assert any('probe_learning_rate="auto" needs stored features' in message for message in unexpected(events))


def test_last_stage_of_a_dataset_that_may_augment_reads_it_in_every_epoch(
    tmp_path: Path, small_settings: dict[str, Any], cache: Path
):
    class Counting(torch.utils.data.Dataset):
        targets = [0, 1] * 12
        read = 0

        def __len__(self) -> int:
            return 24

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            type(self).read += 1
            return torch.full((3, 32, 32), index / 24), index % 2

    reads = []
    for epochs in (1, 3):
        Counting.read = 0
        settings = {**small_settings, "epochs": epochs, "val_images": 4}
        tl.finetune(data=Counting(), out=tmp_path / f"run{epochs}", **settings | {"tune": "last-stage"})
        reads.append(Counting.read)
    assert reads[1] - reads[0] >= 2 * 20
