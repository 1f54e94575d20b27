"""Optimizers by timm's names, with a separate learning rate for the head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from timm.optim import create_optimizer_v2, list_optimizers
from torch import nn
from torch.optim import Optimizer

from tl_toolkit.errors import UnknownNameError, UsageError
from tl_toolkit.text import named

FUSED = ("adam", "adamw", "momentum", "sgd")
"""Optimizers with a fused step in torch: on 2 cores a step of ResNet18's AdamW took 12 ms instead of 20."""


@dataclass(frozen=True, slots=True)
class OptimizerDefaults:
    """A peak learning rate and a weight decay."""

    learning_rate: float
    weight_decay: float


LBFGS = "lbfgs"
LBFGS_ITERATIONS, LBFGS_HISTORY = 5, 10
"""Iterations in a step, whose first loss repeats the last one of the step before; and steps remembered."""

LBFGS_DEFAULTS = OptimizerDefaults(1.0, 3e-3)
"""L-BFGS finds its own step length. The penalty was chosen by cross-validation (tests/benchmarks/NOTES.md)."""

LBFGS_LABELS_DECAY = 0.03
"""The penalty for several labels an image, whose loss is a sum over them. On mosaics of 20 classes of Caltech-101, by
five-fold cross-validation over groups: 1.5 points of mAP above 3e-3 with tf_efficientnet_lite0, 2.6 with the bundled
ResNet18 (tests/benchmarks/NOTES.md)."""

Start = Literal["scratch", "batch", "frozen", "averaged"]
"""What training starts from: random weights, or pretrained weights whose BatchNorm learns from batches ("batch") or is
frozen or absent ("frozen"), also with a constant rate and a long average of the weights ("averaged")."""

DEFAULTS: dict[str, dict[Start, OptimizerDefaults]] = {
    "adamw": {
        "scratch": OptimizerDefaults(5e-4, 0.05),
        "batch": OptimizerDefaults(5e-4, 0.05),
        "frozen": OptimizerDefaults(1e-4, 0.05),
        "averaged": OptimizerDefaults(2e-4, 0.05),
    },
    "sgd": {
        "scratch": OptimizerDefaults(0.04, 1e-4),
        "batch": OptimizerDefaults(0.04, 1e-4),
        "frozen": OptimizerDefaults(0.001, 1e-4),
        "averaged": OptimizerDefaults(0.001, 1e-4),
    },
}
"""For batches of 32. Those of AdamW for pretrained networks were chosen by val on Caltech-101 with ResNet18 and
tf_efficientnet_lite0, from few values each and with one seed (tests/benchmarks/NOTES.md)."""


def check_optimizer(name: str) -> None:
    """Refuse a name that timm does not know.

    Raises:
        UnknownNameError: The name is unknown; the message names the nearest ones.
    """
    known = [*list_optimizers(), LBFGS]
    if name not in known:
        raise UnknownNameError("optimizer", name, known)


class LBFGSWithDecay(torch.optim.LBFGS):
    """torch's L-BFGS with an L2 penalty, for a linear head on all features at once, which is a convex problem.

    Args:
        params: The parameters of the head.
        weight_decay: Factor of half the squared weights; biases, which have one dimension, are not penalised.
    """

    def __init__(self, params: Sequence[nn.Parameter], weight_decay: float) -> None:
        super().__init__(params, max_iter=LBFGS_ITERATIONS, history_size=LBFGS_HISTORY, line_search_fn="strong_wolfe")
        self.weight_decay = weight_decay

    def step(self, closure: Callable[[], torch.Tensor]) -> torch.Tensor:  # type: ignore[override]
        """Do up to `LBFGS_ITERATIONS` iterations.

        Args:
            closure: Computes the loss and its gradients.

        Returns:
            The penalised loss before the step.
        """
        decaying = [parameter for parameter in self.param_groups[0]["params"] if parameter.ndim > 1]

        def penalized() -> torch.Tensor:
            loss = closure().detach()
            for parameter in decaying:
                values = parameter.detach()
                loss = loss + self.weight_decay / 2 * values.square().sum()
                parameter.grad.add_(values, alpha=self.weight_decay)
            return loss

        loss: torch.Tensor = super().step(penalized)  # type: ignore[no-untyped-call]
        return loss


def default_rates(
    optimizer: str, start: Start, learning_rate: float | None, weight_decay: float | None
) -> OptimizerDefaults:
    """Return a learning rate and a weight decay, by default those of the optimizer.

    Args:
        optimizer: Name of the optimizer.
        start: What training starts from.
        learning_rate: None for the default.
        weight_decay: None for the default.

    Raises:
        UsageError: One is None, and the optimizer has no defaults.
    """
    if learning_rate is not None and weight_decay is not None:
        return OptimizerDefaults(learning_rate, weight_decay)
    if optimizer not in DEFAULTS and optimizer != LBFGS:
        raise UsageError(
            f"The optimizer {optimizer} has no default learning rate and weight decay here: say "
            f"{named('learning_rate')} and {named('weight_decay')}. {' and '.join(DEFAULTS)} have defaults."
        )
    rates = LBFGS_DEFAULTS if optimizer == LBFGS else DEFAULTS[optimizer][start]
    return OptimizerDefaults(
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
    layer_decay: float = 1.0,
) -> Optimizer:
    """Return an optimizer of the parameters that train.

    Biases and norms, whose parameters have one dimension, get no weight decay
    (`timm.optim.param_groups_weight_decay`).

    Args:
        name: A name of `timm.optim.list_optimizers`; "sgd" has Nesterov momentum, "momentum" is sgd without it.
        module: The optimizer takes its parameters with `requires_grad`.
        head: Names of the modules that get the head's learning rate.
        learning_rate: Peak learning rate of the backbone.
        head_learning_rate: Peak learning rate of the head.
        weight_decay: Weight decay of parameters with two dimensions or more.
        momentum: Momentum, for optimizers that have it; sgd with 0 is plain sgd.
        layer_decay: Factor of the learning rate from a layer to the one before it (Clark et al. 2020, ELECTRA,
            arXiv:2003.10555); 1 for the same rate in all layers.

    Raises:
        UsageError: The optimizer cannot be built, for example because its package is not installed.
    """
    check_optimizer(name)
    if name == LBFGS:
        return LBFGSWithDecay([parameter for parameter in module.parameters() if parameter.requires_grad], weight_decay)
    scales = _layer_scales(module, layer_decay)
    groups: dict[tuple[bool, bool, float], dict[str, Any]] = {}
    for key, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        in_head = any(not part or key.startswith(f"{part}.") for part in head)
        decays = parameter.ndim > 1
        group = groups.setdefault(
            (in_head, decays, scales[key]),
            {
                "params": [],
                "lr": head_learning_rate if in_head else learning_rate * scales[key],
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    options = {"fused": True} if name in FUSED else {}
    if name == "sgd" and not momentum:
        options["nesterov"] = False
    try:
        optimizer: Optimizer = create_optimizer_v2(
            [*groups.values()], opt=name, lr=learning_rate, momentum=momentum, **options
        )
    except (ImportError, AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise UsageError(f"The optimizer {name} cannot be used here: {error}") from error
    return optimizer


def _layer_scales(module: nn.Module, decay: float) -> dict[str, float]:
    """Return the factor of each parameter's learning rate: 1 in the last layer, and a power of `decay` before.

    A layer is a child of the network, or of one of its containers, such as `layer1.0`, `blocks.3` or `features.5`.
    """
    layers = {name: _layer_of(module, name) for name, _ in module.named_parameters()}
    order = list(dict.fromkeys(layers.values()))
    return {name: decay ** (len(order) - 1 - order.index(layer)) for name, layer in layers.items()}


def _layer_of(module: nn.Module, parameter: str) -> str:
    first, *rest = parameter.split(".")
    container = isinstance(module.get_submodule(first) if rest else None, nn.Sequential | nn.ModuleList)
    return f"{first}.{rest[0]}" if container else first
