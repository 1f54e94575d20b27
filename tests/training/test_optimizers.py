import pytest
import torch
import torchvision
from torch import nn

from tl_toolkit.errors import UnknownNameError, UsageError
from tl_toolkit.training.optimizers import DEFAULTS, check_optimizer, default_rates, make_optimizer


def test_make_optimizer_gives_head_and_backbone_their_rates_and_norms_no_decay():
    module = torchvision.models.resnet18(num_classes=3)
    optimizer = make_optimizer("sgd", module, ("fc",), 0.1, 0.5, 0.01, 0.9)
    groups = {(group["lr"], group["weight_decay"]): len(group["params"]) for group in optimizer.param_groups}
    assert groups == {(0.1, 0.01): 20, (0.1, 0.0): 40, (0.5, 0.01): 1, (0.5, 0.0): 1}
    assert all(group["momentum"] == 0.9 and group["nesterov"] for group in optimizer.param_groups)


def test_make_optimizer_leaves_frozen_parameters_out():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    optimizer = make_optimizer("adamw", module, (), 0.1, 0.1, 0.0, 0.9)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 2


@pytest.mark.parametrize("name", ["lion", "lamb", "adamp", "rmsprop"])
def test_make_optimizer_by_any_timm_name_makes_a_step(name: str):
    module = nn.Linear(4, 4)
    before = module.weight.detach().clone()
    optimizer = make_optimizer(name, module, ("",), 0.1, 0.1, 0.01, 0.9)
    module(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert not torch.equal(module.weight, before)


def test_check_optimizer_of_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="No optimizer is named 'adamx'. Did you mean adamax"):
        check_optimizer("adamx")


def test_default_rates_depend_on_batchnorm():
    with_norm = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1))
    assert default_rates("adamw", with_norm, None, None) == DEFAULTS["adamw"]["batchnorm"]
    rates = default_rates("adamw", nn.Linear(1, 1), None, 0.3)
    assert (rates.learning_rate, rates.weight_decay) == (DEFAULTS["adamw"]["other"].learning_rate, 0.3)


def test_default_rates_of_other_optimizers_are_not_guessed():
    with pytest.raises(UsageError, match="lion has no default learning rate and weight decay here: say --lr and"):
        default_rates("lion", nn.Linear(1, 1), None, 0.1)
    assert default_rates("lion", nn.Linear(1, 1), 0.2, 0.1).learning_rate == 0.2


@pytest.mark.parametrize(
    ("name", "momentum", "nesterov"), [("sgd", 0.9, True), ("sgd", 0.0, False), ("momentum", 0.8, False)]
)
def test_make_optimizer_gives_sgd_the_momentum_asked_for(name: str, momentum: float, nesterov: bool):
    [group] = make_optimizer(name, nn.Linear(2, 2, bias=False), (), 0.1, 0.1, 0.0, momentum).param_groups
    assert (group["momentum"], group["nesterov"]) == (momentum, nesterov)
