"""What layers compute over a whole batch while each process holds some of its images: statistics, and dropout."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from tl_toolkit.sampling.division import Share
from tl_toolkit.system.processes import world

DROPOUTS = (functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d)


class WholeBatch(TorchFunctionMode):
    """Within the block, a network computes on a share of a batch what it would compute of it in the whole batch.

    BatchNorm in train mode takes mean and variance over the images of all processes, as torch's SyncBatchNorm does,
    which needs GPUs, weighs every process alike and takes the place of the network's own layers. Dropout and stochastic
    depth draw for the whole batch in every process, and each takes its images' part: so the state of torch's generator
    does not depend on the number of processes either. Dropout within attention is each process's own.

    Args:
        share: The images of this process.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self._share = share

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Call a function of torch, or what replaces it here."""
        options: Mapping[str, Any] = kwargs or {}
        if func is functional.batch_norm and options.get("training"):
            return _batch_norm(self._share, *args, **options)
        if func in DROPOUTS and options.get("training", True):
            return self._dropout(func, *args, **options)
        if func is torch.Tensor.bernoulli_:
            return self._bernoulli_(*args, **options)
        return func(*args, **options)

    def _dropout(self, func: Callable[..., Any], inputs: torch.Tensor, p: float = 0.5, **_: Any) -> torch.Tensor:
        if not p:
            return inputs
        ones = self._whole(inputs).fill_(1)
        if inputs.ndim == 4 and inputs.is_contiguous(memory_format=torch.channels_last):
            ones = ones.contiguous(memory_format=torch.channels_last)  # Random numbers are drawn in memory's order.
        return inputs * self._own(func(ones, p, training=True), inputs)

    def _bernoulli_(self, drawn: torch.Tensor, p: Any = 0.5, **options: Any) -> torch.Tensor:
        if not drawn.ndim or len(drawn) % self._images or isinstance(p, torch.Tensor):
            return drawn.bernoulli_(p, **options)
        return drawn.copy_(self._own(self._whole(drawn).bernoulli_(p, **options), drawn))

    @property
    def _images(self) -> int:
        return self._share.stop - self._share.start

    def _whole(self, own: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the size that `own`, with some rows for each image, has for the whole batch."""
        rows = len(own) // self._images
        return own.new_empty(rows * (self._share.part_stop - self._share.part_start), *own.shape[1:])

    def _own(self, whole: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        rows = len(own) // self._images
        first = rows * (self._share.start - self._share.part_start)
        return whole[first : first + len(own)]


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes, of which each one's loss depends on every part."""

    @staticmethod
    def forward(ctx: Any, own: torch.Tensor) -> torch.Tensor:  # noqa: ARG004  # the signature is torch's
        """Return the sum."""
        return _reduced(own)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """Return the gradient of the losses of all processes."""
        return _reduced(gradient)


def _reduced(own: torch.Tensor) -> torch.Tensor:
    from torch import distributed

    total = own.contiguous().clone()
    distributed.all_reduce(total)
    return total


def sum_over_processes(own: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes."""
    return own if world().size == 1 else _reduced(own)


def _batch_norm(
    share: Share,
    inputs: torch.Tensor,
    running_mean: torch.Tensor | None,
    running_var: torch.Tensor | None,
    weight: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    training: bool = True,  # noqa: ARG001  # the signature is torch's
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> torch.Tensor:
    """Normalise inputs (N, C, ...) by the statistics of all processes, and update the running ones."""
    values = inputs.float()
    over = [dimension for dimension in range(inputs.ndim) if dimension != 1]
    shape = [1, -1, *[1] * (inputs.ndim - 2)]
    each = values[0, 0].numel()
    count = (share.part_stop - share.part_start) * each
    if count == 1:
        raise ValueError("Expected more than 1 value per channel when training: BatchNorm cannot learn from one image")
    own = float(share.counts)
    mean = _Sum.apply(own * values.sum(over)) / count
    centered = values - mean.view(shape)
    variance = _Sum.apply(own * centered.square().sum(over)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((variance * count / (count - 1)).to(running_var.dtype), momentum)
    scale = torch.rsqrt(variance + eps)
    if weight is not None:
        scale = scale * weight
    normalized = centered * scale.view(shape)
    if bias is not None:
        normalized = normalized + bias.view(shape)
    result: torch.Tensor = normalized.to(inputs.dtype)
    return result
