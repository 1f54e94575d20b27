import pytest
import timm
import torch
import torchvision
from torch import nn

from tl_toolkit.errors import UnknownNameError, UsageError
from tl_toolkit.training.optimizers import (
    DEFAULTS,
    LBFGSWithDecay,
    check_optimizer,
    default_rates,
    make_optimizer,
)


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


def test_default_rates_depend_on_whether_batchnorm_learns():
    assert default_rates("adamw", "batch", None, None) == DEFAULTS["adamw"]["batch"]
    rates = default_rates("adamw", "frozen", None, 0.3)
    assert (rates.learning_rate, rates.weight_decay) == (DEFAULTS["adamw"]["frozen"].learning_rate, 0.3)
    assert rates.learning_rate < DEFAULTS["adamw"]["batch"].learning_rate


def test_default_rates_of_other_optimizers_are_not_guessed():
    with pytest.raises(
        UsageError, match="lion has no default learning rate and weight decay here: say learning_rate and"
    ):
        default_rates("lion", "frozen", None, 0.1)
    assert default_rates("lion", "frozen", 0.2, 0.1).learning_rate == 0.2


@pytest.mark.parametrize(
    ("name", "momentum", "nesterov"), [("sgd", 0.9, True), ("sgd", 0.0, False), ("momentum", 0.8, False)]
)
def test_make_optimizer_gives_sgd_the_momentum_asked_for(name: str, momentum: float, nesterov: bool):
    [group] = make_optimizer(name, nn.Linear(2, 2, bias=False), (), 0.1, 0.1, 0.0, momentum).param_groups
    assert (group["momentum"], group["nesterov"]) == (momentum, nesterov)


def rates_by_parameter(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
    of = {id(parameter): group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
    return {name: of[id(parameter)] for name, parameter in module.named_parameters()}


def test_make_optimizer_with_layer_decay_gives_each_layer_of_a_resnet_its_rate():
    module = torchvision.models.resnet18(num_classes=3)
    rates = rates_by_parameter(module, make_optimizer("adamw", module, ("fc",), 1.0, 3.0, 0.01, 0.9, 0.5))
    layers = ["conv1", "bn1", *(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))]
    for place, layer in enumerate(reversed(layers), start=1):
        inside = {rate for name, rate in rates.items() if name.startswith(f"{layer}.")}
        assert inside == {0.5**place}, layer
    assert {rates["fc.weight"], rates["fc.bias"]} == {3.0}


def test_make_optimizer_with_layer_decay_gives_each_block_of_a_timm_network_its_rate():
    module = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=3)
    rates = rates_by_parameter(module, make_optimizer("sgd", module, ("head",), 1.0, 1.0, 0.01, 0.9, 0.8))
    assert rates["head.weight"] == 1.0
    assert rates["norm.weight"] == pytest.approx(0.8)
    for block in range(12):
        names = [name for name in rates if name.startswith(f"blocks.{block}.")]
        assert [rates[name] for name in names] == pytest.approx([0.8 ** (13 - block)] * len(names))
    assert max(rates["cls_token"], rates["pos_embed"], rates["patch_embed.proj.weight"]) < rates["blocks.0.norm1.bias"]


def test_make_optimizer_with_layer_decay_scales_only_what_trains():
    module = torchvision.models.resnet18(num_classes=3)
    module.requires_grad_(False)
    for part in (module.layer4, module.fc):
        part.requires_grad_(True)
    optimizer = make_optimizer("adamw", module, ("fc",), 1.0, 1.0, 0.0, 0.9, 0.1)
    assert {round(group["lr"], 6) for group in optimizer.param_groups} == {1.0, 0.1, 0.01}


def test_make_optimizer_of_a_layer_decay_of_one_has_the_groups_of_head_and_backbone():
    module = torchvision.models.resnet18(num_classes=3)
    plain, decayed = (
        make_optimizer("adamw", module, ("fc",), 0.1, 0.5, 0.01, 0.9, *more).param_groups for more in ((), (1.0,))
    )
    assert [[id(parameter) for parameter in group["params"]] for group in plain] == [
        [id(parameter) for parameter in group["params"]] for group in decayed
    ]
    assert sorted((group["lr"], group["weight_decay"]) for group in decayed) == [
        (0.1, 0.0), (0.1, 0.01), (0.5, 0.0), (0.5, 0.01),
    ]  # fmt: skip


def solve(inputs: torch.Tensor, targets: torch.Tensor, decay: float, steps: int) -> tuple[nn.Linear, torch.Tensor]:
    """A head, and the gradient of the penalised loss where L-BFGS has brought it."""
    torch.manual_seed(0)
    head = nn.Linear(inputs.shape[1], int(targets.max()) + 1)
    optimizer = LBFGSWithDecay(list(head.parameters()), decay)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(head(inputs), targets)
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)
    head.zero_grad()
    penalised = nn.functional.cross_entropy(head(inputs), targets) + decay / 2 * head.weight.square().sum()
    penalised.backward()
    return head, torch.cat([head.weight.grad.flatten(), head.bias.grad])


@pytest.fixture(scope="module")
def clusters() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(300) % 5
    centres = torch.randn(5, 20, generator=generator)
    return centres[targets] + torch.randn(300, 20, generator=generator), targets


def test_lbfgs_reaches_the_optimum_of_the_penalised_loss(clusters: tuple[torch.Tensor, torch.Tensor]):
    head, gradient = solve(*clusters, decay=3e-3, steps=12)
    _, at_first = solve(*clusters, decay=3e-3, steps=0)
    assert gradient.norm() < 2e-3 * at_first.norm()
    further, _ = solve(*clusters, decay=3e-3, steps=200)
    inputs, targets = clusters
    with torch.no_grad():
        logits, later = head(inputs), further(inputs)
    losses = [float(nn.functional.cross_entropy(each, targets)) for each in (logits, later)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert torch.equal(logits.argmax(1), later.argmax(1))


def test_lbfgs_tells_the_loss_with_half_the_squared_weights_but_without_the_bias():
    head = nn.Linear(3, 2)
    nn.init.constant_(head.weight, 2.0)
    nn.init.constant_(head.bias, 5.0)

    def closure() -> torch.Tensor:
        head.zero_grad()
        loss = head(torch.ones(1, 3)).sum()
        loss.backward()
        return loss

    assert float(LBFGSWithDecay(list(head.parameters()), 0.5).step(closure)) == 2 * (3 * 2 + 5) + 0.25 * 6 * 4


def test_lbfgs_with_more_decay_ends_with_smaller_weights_and_a_free_bias(clusters: tuple[torch.Tensor, torch.Tensor]):
    inputs, targets = clusters
    uneven = torch.where(targets == 4, 0, targets)  # The first class is twice as frequent.
    norms = [float(solve(inputs, uneven, decay, 30)[0].weight.detach().norm()) for decay in (1e-3, 1e-1, 1e3)]
    assert norms == sorted(norms, reverse=True)
    head, _ = solve(inputs, uneven, 1e3, 30)
    shares = head.bias.detach().softmax(0)  # Where weights are nothing, the biases tell the shares of the classes.
    torch.testing.assert_close(shares, torch.tensor([0.4, 0.2, 0.2, 0.2]), atol=0.02, rtol=0)


def test_lbfgs_does_not_depend_on_the_order_of_the_images(clusters: tuple[torch.Tensor, torch.Tensor]):
    inputs, targets = clusters
    heads = []
    for seed in (1, 2):
        order = torch.randperm(300, generator=torch.Generator().manual_seed(seed))
        heads.append(solve(inputs[order], targets[order], 3e-3, 40)[0])
    torch.testing.assert_close(heads[0](inputs), heads[1](inputs), atol=5e-3, rtol=0)


def test_make_optimizer_of_lbfgs_takes_what_trains_and_the_decay():
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    optimizer = make_optimizer("lbfgs", module, ("1",), 1.0, 1.0, 0.25, 0.9)
    assert isinstance(optimizer, LBFGSWithDecay)
    assert [parameter.shape for parameter in optimizer.param_groups[0]["params"]] == [(2, 2), (2,)]
    assert optimizer.weight_decay == 0.25
