"""What the stages of whole runs train, and in which way."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import tl_toolkit as tl
from tl_toolkit.data.samples import Samples
from tl_toolkit.events import DecisionEvent, Event
from tl_toolkit.features import extractor as frozen
from tl_toolkit.planning import advance
from tl_toolkit.training import device as compute
from tl_toolkit.training import loop
from tl_toolkit.training.averaging import update_average


def test_finetune_leaves_the_statistics_of_frozen_norms_as_they_were(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    before = load_file(small_settings["weights"])
    settings = {**small_settings, "tune": "full", "norm": "frozen", "epochs": 2}
    run = tl.finetune(data=photos, out=tmp_path / "run", **settings)
    for name in ("model.safetensors", "last.safetensors"):
        after = load_file(run.path / name)
        for key in (key for key in after if not key.startswith("fc")):
            statistic = key.endswith(("running_mean", "running_var", "num_batches_tracked"))
            assert torch.equal(after[key], before[key]) == statistic, (name, key)


def test_finetune_of_everything_decodes_no_photograph_again_in_a_later_epoch(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    decoded: list[int] = []
    real = Samples.open

    def noted(self: Samples, index: int, *arguments: int) -> Any:
        decoded.append(index)
        return real(self, index, *arguments)

    monkeypatch.setattr(Samples, "open", noted)
    counts = []
    for epochs in (1, 3):
        settings = {**small_settings, "tune": "full", "epochs": epochs, "workers": 0}
        tl.finetune(data=photos, out=tmp_path / str(epochs), **settings)
        counts.append(len(decoded))
    assert counts[1] == 2 * counts[0]


def test_finetune_saves_the_average_as_the_best_and_the_weights_themselves_as_the_last(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    averages: dict[str, torch.Tensor] = {}

    def note(average: dict[str, torch.Tensor], *arguments: Any) -> None:
        update_average(average, *arguments)
        averages.update({name: value.clone() for name, value in average.items()})

    settings = {**small_settings, "tune": "full", "ema": 0.9}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "update_average", note)
        run = tl.finetune(data=photos, out=tmp_path / "run", **settings)
    best, last = (load_file(run.path / name) for name in ("model.safetensors", "last.safetensors"))
    assert all(torch.equal(value, averages[name]) for name, value in best.items())
    without = tl.finetune(data=photos, out=tmp_path / "without", **{**settings, "ema": 0.0})
    raw = load_file(without.path / "last.safetensors")
    assert all(torch.equal(value, raw[name]) for name, value in last.items())
    assert not torch.equal(best["conv1.0.weight"], last["conv1.0.weight"])


def test_finetune_with_a_solved_probe_is_the_same_for_every_order(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    settings = {**small_settings, "tune": "linear-probe", "views": 1, "epochs": 60, "precision": "fp32"}
    settings |= {"draw": "in-order", "val_images": 3}
    heads = [
        tl.finetune(data=photos, out=tmp_path / str(seed), seed=seed, **settings).model.module.fc for seed in (0, 1)
    ]
    torch.testing.assert_close(
        heads[0].weight, heads[1].weight, atol=0.1 * float(heads[0].weight.detach().std()), rtol=0
    )


def test_finetune_runs_every_stage_of_a_network_in_its_precision(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """Accelerate prepares a network once only, unless it is told that it is to do so again."""
    monkeypatch.setattr(compute, "_native_bf16", lambda _: (True, "as the test says"))
    monkeypatch.setattr(advance, "_why_not", lambda *_: "")
    types: dict[str, set[torch.dtype]] = {}

    def note(stage: Any, *arguments: Any) -> Any:
        seen = types.setdefault(stage.name, set())
        handle = stage.module.layer4.register_forward_hook(lambda _, __, output: seen.add(output.dtype))
        try:
            return step(stage, *arguments)
        finally:
            handle.remove()

    step = loop._step
    monkeypatch.setattr(loop, "_step", note)
    tl.finetune(data=photos, out=tmp_path / "run", **{**small_settings, "tune": "auto", "precision": "bf16"})
    types.pop("probe")  # A head alone is trained in float32.
    assert types == {"last-stage": {torch.bfloat16}, "tune": {torch.bfloat16}}


def test_finetune_clips_no_gradient_of_a_solved_probe(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    settings = {**small_settings, "tune": "linear-probe", "views": 1, "epochs": 12}
    heads = [
        tl.finetune(data=photos, out=tmp_path / str(limit), clip_gradient=limit, **settings).model.module.fc
        for limit in (None, 1e-3)
    ]
    assert torch.equal(heads[0].weight, heads[1].weight)


def test_finetune_whose_features_do_not_fit_into_memory_descends_the_gradient_and_says_why(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(frozen, "MEMORY_BYTES", 1000)
    events: list[Event] = []
    settings = {**small_settings, "tune": "linear-probe", "views": 1, "epochs": None, "probe_epochs": 2}
    run = tl.finetune(data=photos, out=tmp_path / "run", callback=events.append, **settings)
    [told] = [event for event in events if isinstance(event, DecisionEvent) and event.what == "probe"]
    assert told.value == "adamw, 2 epochs"
    assert told.why.startswith("not L-BFGS: all features and logits take ")
    assert run.summary["epochs"] == 2


def test_finetune_with_patience_ends_after_evaluations_that_do_not_improve_val(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    """The probe is not ended; its epochs are quick."""
    settings = {**small_settings, "learning_rate": 1e-12, "patience": 2, "epochs": 9, "ema": 0.0, "norm": "frozen"}
    run = tl.finetune(data=photos, out=tmp_path / "run", **settings)
    lines = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    tuned = [line for line in lines if line["stage"] == "tune"]
    assert len(lines) - len(tuned) == settings["probe_epochs"]
    losses = [(-line["val_accuracy"], line["val_loss"]) for line in tuned]
    assert len(tuned) == losses.index(min(losses)) + 1 + 2 < 9


def test_finetune_of_a_probe_keeps_its_last_epoch_even_if_one_before_was_better_on_val(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """A val that falls with every epoch."""
    judge = loop.evaluate_batches
    count = 0

    def falling(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return dataclasses.replace(judge(*arguments), values={"accuracy": 1 / count})

    monkeypatch.setattr(loop, "evaluate_batches", falling)
    settings = {**small_settings, "tune": "linear-probe", "epochs": 4}
    run = tl.finetune(data=photos, out=tmp_path / "run", **settings)
    assert run.summary["best_epoch"] == 4
    assert run.summary["stages"] == {"probe": {"val_accuracy": 0.25, "epoch": 4}}
    best, last = (load_file(run.path / name) for name in ("model.safetensors", "last.safetensors"))
    assert all(torch.equal(value, last[name]) for name, value in best.items())
