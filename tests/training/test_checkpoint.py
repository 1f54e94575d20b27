import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.training.test_loop import CPU, make_stage
from tl_toolkit.errors import ModelFileError
from tl_toolkit.recipes.checkpoint_file import Checkpoint
from tl_toolkit.recipes.plan import Settings
from tl_toolkit.training.checkpoint import (
    keep_state,
    restore_optimizer,
    restore_position,
    restore_random,
    restore_weights,
    trained_weights,
)
from tl_toolkit.training.compute import choose_compute
from tl_toolkit.training.loop import EvalRecord, Position, Stage, Stepped, StepRecord, fit
from tl_toolkit.training.optimizers import make_optimizer
from tl_toolkit.training.schedules import make_schedule

SETTINGS = Settings("tune", 3, "adamw", 0.01, 0.01, 0.1)
OPTIMIZERS = ("adamw", "sgd", "momentum", "adam", "lamb", "lion", "adafactor", "rmsproptf", "nadamw", "adopt", "muon")


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))


def stage_of(module: nn.Module, optimizer: str, kept: Checkpoint | None = None) -> Stage:
    made = make_optimizer(optimizer, module, ("3",), 0.01, 0.02, 0.1, 0.9)
    if kept:
        restore_optimizer(made, kept.state)
    done = kept.state.step if kept else 0
    schedule = make_schedule(made, "cosine", 9, 0.2, done)
    return dataclasses.replace(make_stage(module, epochs=3), optimizer=made, schedule=schedule, log_every=2)


def numbers(told: list[object]) -> list[tuple[float, ...]]:
    """Of all records, without their times."""
    found: list[tuple[float, ...]] = []
    for record in told:
        if isinstance(record, EvalRecord):
            found.append((record.step, record.train_loss, record.val_loss, record.learning_rate, record.images))
        elif isinstance(record, StepRecord):
            found.append((record.step, record.train_loss, record.train_accuracy, record.learning_rate))
    return found


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stage_kept_between_any_two_steps_goes_on_to_the_same_bits(optimizer: str, tmp_path: Path):
    accelerator = choose_compute("cpu", "fp32").accelerator()
    module = network()
    stage, position = stage_of(module, optimizer), Position(CPU)
    torch.manual_seed(1)
    told: list[object] = []
    kept: list[tuple[int, Path]] = []
    for event in fit(stage, accelerator, position):
        if isinstance(event, Stepped):
            path = tmp_path / f"{len(kept)}.safetensors"
            Checkpoint(0, SETTINGS, keep_state(stage, position), None, None, 0, 0.0, {}).write(path)
            kept.append((len(told), path))
        else:
            told.append(event)
    assert len(kept) == 9 + 3  # after every step, and after every evaluation

    for before, path in kept:
        checkpoint = Checkpoint.read(path)
        assert checkpoint
        again = network()
        restore_weights(again, checkpoint.state)
        resumed = stage_of(again, optimizer, checkpoint)
        restore_random(checkpoint.state)
        rest = list(fit(resumed, accelerator, restore_position(checkpoint.state, CPU)))
        assert numbers([*told[:before], *rest]) == numbers(told)
        for name, value in module.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name


def test_trained_weights_are_those_of_the_modules_that_train():
    stage = make_stage(network(), ("3",))
    assert set(trained_weights(stage)) == {"3.weight", "3.bias"}


def test_restore_weights_of_another_network_says_so():
    state = keep_state(make_stage(network()), Position(CPU))
    with pytest.raises(ModelFileError, match="do not fit"):
        restore_weights(nn.Sequential(nn.Linear(3, 4)), state)
    with pytest.raises(ModelFileError, match="has no 1.weight"):
        restore_weights(nn.Sequential(nn.Linear(3, 8)), state)


def test_restore_optimizer_of_another_kind_says_so():
    module = network()
    state = keep_state(make_stage(module, ("3",)), Position(CPU))
    with pytest.raises(ModelFileError, match="does not fit"):
        restore_optimizer(torch.optim.SGD([next(module.parameters())], lr=0.1), state)
