"""Optimizers by timm's names, with their own learning rate for the head."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from tl_toolkit.errors import UnknownNameError, UsageError

FUSED = ("adam", "adamw", "momentum", "sgd")
"""Those that torch updates in one pass over the memory: on 2 cores a step of ResNet18's AdamW took 12 ms, not 20."""


@dataclass(frozen=True, slots=True)
class Rates:
    """A peak learning rate and a weight decay."""

    learning_rate: float
    weight_decay: float


DEFAULTS = {
    "adamw": {"batchnorm": Rates(5e-4, 0.05), "other": Rates(1e-4, 0.05)},
    "sgd": {"batchnorm": Rates(0.04, 1e-4), "other": Rates(0.001, 1e-4)},
}
"""For fine-tuning with batches of 32. Those for BatchNorm were chosen by val on Caltech-101 with the bundled
ResNet18, of few values and with one seed. Networks without it (VGG, transformers, ConvNeXt) bear less; theirs are of
the size usual in the field and were not measured here, where no such weights can be had."""


def check_optimizer(name: str) -> None:
    """Refuses a name that timm does not know.

    Raises:
        UnknownNameError: The name, with the nearest ones.
    """
    if name not in list_optimizers():
        raise UnknownNameError("optimizer", name, list_optimizers())


def default_rates(optimizer: str, module: nn.Module, learning_rate: float | None, weight_decay: float | None) -> Rates:
    """Fills in what was left open.

    Args:
        optimizer: Its name.
        module: The network that it will train.
        learning_rate: As given, or None.
        weight_decay: As given, or None.

    Raises:
        UsageError: Something was left open, and the optimizer has no defaults.
    """
    if learning_rate is not None and weight_decay is not None:
        return Rates(learning_rate, weight_decay)
    if optimizer not in DEFAULTS:
        raise UsageError(
            f"The optimizer {optimizer} has no default learning rate and weight decay here: say --lr and "
            f"--weight-decay. {' and '.join(DEFAULTS)} have defaults."
        )
    has_batchnorm = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules())
    rates = DEFAULTS[optimizer]["batchnorm" if has_batchnorm else "other"]
    return Rates(
        rates.learning_rate if learning_rate is None else learning_rate,
        rates.weight_decay if weight_decay is None else weight_decay,
    )


def make_optimizer(
    name: str,
    module: nn.Module,
    head: Sequence[str],
    learning_rate: float,
    head_learning_rate: float,
    weight_decay: float,
    momentum: float,
) -> Optimizer:
    """An optimizer over the parameters that train.

    Biases and norms get no weight decay: their parameters have one dimension
    (`timm.optim.param_groups_weight_decay`).

    Args:
        name: A name of `timm.optim.list_optimizers`; sgd has Nesterov momentum, momentum is sgd without.
        module: Its parameters with `requires_grad` are taken.
        head: Names of the modules that get the head's learning rate.
        learning_rate: Peak, for the backbone.
        head_learning_rate: Peak, for the head.
        weight_decay: Of weights with two dimensions or more.
        momentum: Of the optimizers that have one; sgd without any is plain sgd.

    Raises:
        UsageError: The optimizer cannot be made, for example because its package is not installed.
    """
    check_optimizer(name)
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for key, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = any(not part or key.startswith(f"{part}.") for part in head)
        decays = parameter.ndim > 1
        group = groups.setdefault(
            (in_head, decays),
            {
                "params": [],
                "lr": head_learning_rate if in_head else learning_rate,
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    try:
        options = {"fused": True} if name in FUSED else {}
        if name == "sgd" and not momentum:
            options["nesterov"] = False
        optimizer: Optimizer = create_optimizer_v2(
            [*groups.values()], opt=name, lr=learning_rate, momentum=momentum, **options
        )
    except (ImportError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"The optimizer {name} cannot be used here: {error}") from error
    return optimizer
