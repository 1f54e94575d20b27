import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.stages import CPU, make_stage, resumable_stage, small_network
from tl_toolkit.errors import ModelFileError
from tl_toolkit.events import EvalRecord, StepRecord
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.training.averaging import Averaging
from tl_toolkit.training.device import select_device
from tl_toolkit.training.loop import Stage, StageProgress, StepEnd, fit
from tl_toolkit.training.mixing import Mixing
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import (
    StageState,
    capture_state,
    check_weights,
    restore_optimizer,
    restore_progress,
    restore_random,
    restore_weights,
    trained_weights,
)

SETTINGS = StageConfig("tune", 3, "adamw", 0.01, 0.01, 0.1)
OPTIMIZERS = ("adamw", "sgd", "momentum", "adam", "lamb", "lion", "adafactor", "rmsproptf", "muon", "lbfgs")


def numbers(told: list[object]) -> list[tuple[float, ...]]:
    """Of all records, without their times."""
    found: list[tuple[float, ...]] = []
    for record in told:
        if isinstance(record, EvalRecord):
            found.append((record.step, record.train_loss, record.val_loss, record.learning_rate, record.images))
        elif isinstance(record, StepRecord):
            found.append((record.step, record.train_loss, record.train_accuracy, record.learning_rate))
    return found


def train_and_save(
    stage: Stage, accelerator: Any, progress: StageProgress, folder: Path
) -> tuple[list[object], list[tuple[int, Path]]]:
    """Trains a stage; gives its records, and a checkpoint of every step with the number of records before it."""
    records: list[object] = []
    saved: list[tuple[int, Path]] = []
    for event in fit(stage, accelerator, progress):
        if isinstance(event, StepEnd):
            path = folder / f"{len(saved)}.safetensors"
            Checkpoint(0, SETTINGS, capture_state(stage, progress), None, None, 0, 0.0, {}).write(path)
            saved.append((len(records), path))
        else:
            records.append(event)
    return records, saved


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_stage_kept_between_any_two_steps_goes_on_to_the_same_bits(optimizer: str, tmp_path: Path):
    accelerator = select_device("cpu", "fp32").accelerator()
    module = small_network()
    stage, position = resumable_stage(module, optimizer), StageProgress(CPU)
    torch.manual_seed(1)
    told, kept = train_and_save(stage, accelerator, position, tmp_path)
    assert len(kept) == 9 + 3  # after every step, and after every evaluation

    for before, path in kept:
        checkpoint = Checkpoint.read(path)
        assert checkpoint
        again = small_network()
        restore_weights(again, ("",), checkpoint.state)
        resumed = resumable_stage(again, optimizer, checkpoint)
        restore_random(checkpoint.state)
        rest = list(fit(resumed, accelerator, restore_progress(checkpoint.state, again, CPU)))
        assert numbers([*told[:before], *rest]) == numbers(told)
        for name, value in module.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name


def test_trained_weights_are_those_of_the_modules_that_train():
    stage = make_stage(small_network(), ("3",))
    assert set(trained_weights(stage.module, stage.trainable)) == {"3.weight", "3.bias"}


def test_restore_weights_of_another_network_says_so():
    state = capture_state(make_stage(small_network()), StageProgress(CPU))
    with pytest.raises(ModelFileError, match="do not fit"):
        restore_weights(nn.Sequential(nn.Linear(3, 4)), ("",), state)
    with pytest.raises(ModelFileError, match="has no 1.weight"):
        restore_weights(nn.Sequential(nn.Linear(3, 8)), ("",), state)


def test_restore_optimizer_of_another_kind_says_so():
    module = small_network()
    state = capture_state(make_stage(module, ("3",)), StageProgress(CPU))
    with pytest.raises(ModelFileError, match="does not fit"):
        restore_optimizer(torch.optim.SGD([next(module.parameters())], lr=0.1), state)


def forged(state: StageState, name: str, value: object) -> StageState:
    """The state with another value at a place such as `optimizer.param_groups.0.lr`."""
    values = json.loads(json.dumps(state.values))
    place = values
    *path, last = name.split(".")
    for part in path:
        place = place[int(part) if isinstance(place, list) else part]
    place[int(last) if isinstance(place, list) else last] = value
    return StageState.from_json(state.tensors, values)


@pytest.fixture(scope="module")
def stepped() -> StageState:
    """Of a stage after a step."""
    stage, position = resumable_stage(small_network(), "adamw"), StageProgress(CPU)
    next(iter(fit(stage, select_device("cpu", "fp32").accelerator(), position)))
    return capture_state(stage, position)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("step", -1, "step: Expected `int` >= 0"),
        ("step", 2**63, "step: Expected `int` <= 9223372036854775807"),
        ("step", True, "step: Expected `int`, got `bool`"),
        ("span", [1, 2.0, 3], "must be a list of 4"),
        ("span", [1, "x", 3, 0.0], "loss: Expected `float`, got `str`"),
        ("logged", [1, 2.0, 3, -1.0], "seconds: Expected `float` >= 0.0"),
        ("optimizer", [], "optimizer: Expected `object`, got `array`"),
        ("optimizer.state", {"0": 1}, "state of parameter 0: Expected `object`, got `int`"),
        ("python_random.1", [1, 2], "the state of a random generator makes no sense"),
        ("numpy_random.2", 625, "position must be at most 624"),
        ("numpy_random.1", [-1], "the state of a random generator makes no sense"),
    ],
)
def test_state_from_json_that_makes_no_sense_says_so(name: str, value: object, message: str, stepped: StageState):
    with pytest.raises(ValueError, match=message):
        forged(stepped, name, value)


def test_state_from_json_that_lacks_a_tensor_says_which(stepped: StageState):
    for name in ("random.cpu", "optimizer.state.0.exp_avg."):
        left = {key: value for key, value in stepped.tensors.items() if key != name}
        assert len(left) < len(stepped.tensors)
        with pytest.raises(KeyError, match=name):
            StageState.from_json(left, stepped.values)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("optimizer.param_groups.0.lr", "high", "its lr is not as it is here"),
        ("optimizer.param_groups.0.betas", [0.9], "its betas is not as it is here"),
        ("optimizer.param_groups.0.params", [7], "others|as it is here"),
        ("optimizer.param_groups.0.initial_lr", None, "its initial_lr is not as it is here"),
        ("optimizer.param_groups", [], "it has 0 groups of parameters"),
        ("optimizer.state.17", {}, "a state for other parameters"),
        ("optimizer.state.x", {}, "invalid literal for int"),
        ("optimizer.state.0.exp_avg", "tensor weights.0.bias", "its exp_avg has the shape"),
        ("optimizer.state.0", {"exp_avg": 1.0}, "'step'"),
    ],
)
def test_restore_optimizer_of_a_forged_state_says_so(name: str, value: object, message: str, stepped: StageState):
    state = forged(stepped, name, value)
    optimizer = resumable_stage(small_network(), "adamw").optimizer
    with pytest.raises(ModelFileError, match=f"The checkpoint's optimizer does not fit: .*({message})"):
        restore_optimizer(optimizer, state)


def test_restore_weights_that_are_not_all_there_names_them(stepped: StageState):
    left = {key: value for key, value in stepped.tensors.items() if key != "weights.3.bias"}
    with pytest.raises(ModelFileError, match=r"they lack 3\.bias"):
        restore_weights(small_network(), ("",), StageState(left, stepped.values))


def test_check_weights_of_another_shape_or_type_tells_both():
    with pytest.raises(ModelFileError, match=r"its 3.bias is torch.float32 \(4,\), the network's is .* \(3,\)"):
        check_weights(small_network(), {"3.bias": torch.zeros(4)})
    with pytest.raises(ModelFileError, match=r"its 3.bias is torch.int64 \(3,\)"):
        check_weights(small_network(), {"3.bias": torch.zeros(3, dtype=torch.long)})


def averaging_stage(module: nn.Module, kept: Checkpoint | None = None) -> Stage:
    mixing = Mixing(mixup=0.4, cutmix=0.0, seed=2)
    return dataclasses.replace(
        resumable_stage(module, "adamw", kept), averaging=Averaging(0.7), mixing=mixing, frozen_norm=True
    )


def test_stage_with_averages_kept_between_any_two_steps_goes_on_to_the_same_bits(tmp_path: Path):
    accelerator = select_device("cpu", "fp32").accelerator()
    module, position = small_network(), StageProgress(CPU)
    stage = averaging_stage(module)
    torch.manual_seed(1)
    told, kept = train_and_save(stage, accelerator, position, tmp_path)
    assert position.average.keys() == module.state_dict().keys()
    assert not torch.equal(position.average["0.weight"], module.state_dict()["0.weight"])
    for before, path in kept:
        checkpoint = Checkpoint.read(path)
        assert checkpoint
        again = small_network()
        restore_weights(again, ("",), checkpoint.state)
        resumed = averaging_stage(again, checkpoint)
        restore_random(checkpoint.state)
        place = restore_progress(checkpoint.state, again, CPU)
        rest = list(fit(resumed, accelerator, place))
        assert numbers([*told[:before], *rest]) == numbers(told)
        for name, value in module.state_dict().items():
            assert torch.equal(again.state_dict()[name], value), name
            assert torch.equal(place.average[name], position.average[name]), name


@pytest.mark.parametrize(
    ("average", "message"),
    [
        ({"average.3.bias": torch.zeros(4)}, r"its 3.bias is torch.float32 \(4,\)"),
        ({"average.7.bias": torch.zeros(3)}, "the network has no 7.bias"),
        ({"average.3.bias": torch.zeros(3)}, "averages lack"),
    ],
)
def test_restore_progress_of_averages_that_do_not_fit_says_so(
    average: dict[str, torch.Tensor], message: str, stepped: StageState
):
    with pytest.raises(ModelFileError, match=message):
        restore_progress(StageState({**stepped.tensors, **average}, stepped.values), small_network(), CPU)
