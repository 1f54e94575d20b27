"""What training programs put around a state_dict."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.weights.checkpoints import part_for, unwrap

FILE = Path("weights.pth")


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return timm.create_model("test_resnet", num_classes=3).eval()


STATE = network().state_dict()
AVERAGE = network(1).state_dict()


def with_prefix(prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{key}": value for key, value in STATE.items()}


@pytest.mark.parametrize(
    ("loaded", "steps"),
    [
        (STATE, ()),
        ({"epoch": 3, "state_dict": STATE}, ("its state_dict",)),
        ({"model_state_dict": STATE}, ("its model_state_dict",)),
        ({"model": STATE}, ("its model",)),
        ({"net": STATE, "acc": 93.1}, ("its net",)),
        ({"model": {"state_dict": STATE}}, ("its model", "its state_dict")),
        (with_prefix("module."), ("module. removed from {} names",)),
        (with_prefix("_orig_mod."), ("_orig_mod. removed from {} names",)),
        (
            {"state_dict": with_prefix("module._orig_mod.")},
            ("its state_dict", "module. removed from {} names", "_orig_mod. removed from {} names"),
        ),
        (AveragedModel(network()).state_dict(), ("module. removed from {} names",)),
        (nn.DataParallel(network()), ("the network inside its DataParallel",)),
        ({"model": network()}, ("its model",)),
    ],
)
def test_unwrap_finds_the_weights_and_says_where(loaded: Any, steps: tuple[str, ...]):
    found = unwrap(loaded, FILE)
    assert found.steps == tuple(step.format(len(STATE)) for step in steps)
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[key], STATE[key]) for key in STATE)


def test_unwrap_of_weights_and_their_average_says_which_was_taken():
    loaded = {"state_dict": STATE, "state_dict_ema": AVERAGE}
    plain, average = unwrap(loaded, FILE), unwrap(loaded, FILE, ema=True)
    assert plain.steps == ("its state_dict, not its state_dict_ema (ema=True takes that)",)
    assert average.steps == ("its state_dict_ema, not its state_dict",)
    assert torch.equal(plain.state["fc.weight"], STATE["fc.weight"])
    assert torch.equal(average.state["fc.weight"], AVERAGE["fc.weight"])


def test_unwrap_without_the_average_that_was_asked_for_says_what_is_there():
    with pytest.raises(WeightsError) as caught:
        unwrap({"epoch": 3, "state_dict": STATE}, FILE, ema=True)
    assert str(caught.value).startswith("weights.pth has no moving average (state_dict_ema or model_ema): its keys are")


def test_part_for_removes_the_prefix_of_a_larger_module():
    state = {**with_prefix("model."), "loss.weight": torch.ones(3)}
    part, done = part_for(state, STATE, "weights.pth")
    assert part.keys() == STATE.keys()
    assert done == f"model. removed from {len(STATE)} names, and 1 other name left out: loss.weight"


def test_part_for_leaves_names_that_only_a_block_has():
    state = {"stem.0.weight": torch.ones(1), "layer1.0.conv1.weight": torch.ones(1), "layer2.0.conv1.weight": None}
    own = {"conv1.weight": torch.ones(1), "fc.weight": torch.ones(1), "fc.bias": torch.ones(1)}
    assert part_for(state, own, "weights.pth") == (state, "")


def test_part_for_with_two_networks_in_a_file_asks_for_one():
    state = {**with_prefix("student."), **with_prefix("teacher.")}
    with pytest.raises(WeightsError) as caught:
        part_for(state, STATE, "weights.pth")
    assert str(caught.value) == (
        "weights.pth holds several networks with the name conv1.0.weight: under student., teacher.. Save the "
        "state_dict() of one of them, and give that."
    )
