"""The layer of a network that a heat map is computed at: the last one that still knows where in the image something is.

Layers are told by the shapes that they give in a forward pass, so that every convolutional network and every vision
transformer is served alike, whatever its modules are called.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn

Score = Callable[[torch.Tensor], torch.Tensor]
"""Returns one number for each image (N) from logits (N, outputs)."""

SMALLEST_SIDE = 4
"""Coarser maps are taken only where there is no finer one: one of 2 x 2 places says little."""

MOST_EXTRA_TOKENS = 16
"""Class, distillation and register tokens; they come before those of the image in torchvision's and timm's networks."""

STRIDES_APART = 1.5
"""By how much the strides of height and width may differ: rounding makes small maps of oblong inputs uneven."""


@dataclass(frozen=True)
class MapLayer:
    """A module whose output has a place for each part of the image.

    Attributes:
        name: Name of the module.
        call: Which of its calls in a forward pass, from 1.
        layout: Where the channels are: (N, C, H, W), (N, H, W, C) or tokens (N, T, C).
        height, width: Number of places.
        extra: Tokens that are not of the image, before those that are.
    """

    name: str
    call: int
    layout: Literal["channels first", "channels last", "tokens"]
    height: int
    width: int
    extra: int = 0

    def to_map(self, output: torch.Tensor) -> torch.Tensor:
        """Return an output of the module as (N, C, H, W)."""
        if self.layout == "tokens":
            return output[:, self.extra :].transpose(1, 2).reshape(len(output), -1, self.height, self.width)
        return output.permute(0, 3, 1, 2) if self.layout == "channels last" else output

    def __str__(self) -> str:
        what = "tokens of " if self.layout == "tokens" else ""
        return f"{what}{self.name}, {self.height} x {self.width} places"


def find_map_layer(module: nn.Module, inputs: torch.Tensor, score: Score) -> MapLayer | None:
    """Return the last layer with more than one place whose output the score depends on.

    Args:
        module: A network in eval mode.
        inputs: Some images (N, C, H, W).
        score: Of its logits.

    Returns:
        None if no layer keeps places, as in a multilayer perceptron.
    """
    recorder = _Recorder(inputs)
    handles = [
        part.register_forward_hook(partial(recorder.record, name)) for name, part in _parts_outside_attention(module)
    ]
    try:
        with torch.enable_grad():
            total = score(module(inputs.detach().requires_grad_()).float()).sum()
    finally:
        for handle in handles:
            handle.remove()
    if not recorder.outputs:
        return None
    gradients = torch.autograd.grad(total, recorder.outputs, allow_unused=True)
    used = [
        layer
        for layer, gradient in zip(recorder.layers, gradients, strict=True)
        if gradient is not None and bool(layer.to_map(gradient).any())
    ]
    large = [layer for layer in used if min(layer.height, layer.width) >= SMALLEST_SIDE]
    if large:
        return large[-1]
    most = max((layer.height * layer.width for layer in used), default=0)
    return next((layer for layer in reversed(used) if layer.height * layer.width == most), None)


def map_and_gradient(
    module: nn.Module, inputs: torch.Tensor, score: Score, layer: MapLayer
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the output of a layer and the gradient of the score there, both (N, C, H, W).

    Only what comes after the layer is differentiated.

    Args:
        module: A network in eval mode.
        inputs: Images (N, C, H, W).
        score: Of its logits.
        layer: What `find_map_layer` returned.
    """
    taken: list[torch.Tensor] = []
    calls = 0

    def take(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor | None:
        nonlocal calls
        calls += 1
        if calls != layer.call:
            return None
        taken.append(output.detach().requires_grad_())
        torch.set_grad_enabled(True)
        return taken[0].clone()  # The next layer may write into it.

    handle = module.get_submodule(layer.name).register_forward_hook(take)
    try:
        with torch.no_grad():  # Until the layer is reached.
            total = score(module(inputs).float()).sum()
            gradient = torch.autograd.grad(total, taken[0])[0]
    finally:
        handle.remove()
    return layer.to_map(taken[0].detach()).float(), layer.to_map(gradient).float()


class _Recorder:
    """Records the outputs of a forward pass that have places, in the order in which their modules end."""

    def __init__(self, inputs: torch.Tensor) -> None:
        self.layers: list[MapLayer] = []
        self.outputs: list[torch.Tensor] = []
        self._count, self._size = len(inputs), (int(inputs.shape[2]), int(inputs.shape[3]))
        self._calls: Counter[str] = Counter()
        self._grids: list[tuple[int, int]] = []

    def record(self, name: str, _: nn.Module, __: Any, output: Any) -> torch.Tensor | None:
        """Keep the output of a module; a forward hook.

        Returns:
            A copy, which the next module may write into; None if the output has no places.
        """
        self._calls[name] += 1
        if not isinstance(output, torch.Tensor) or not output.requires_grad or len(output) != self._count:
            return None
        layer = self._layer(name, self._calls[name], tuple(output.shape))
        if layer is None:
            return None
        self.layers.append(layer)
        self.outputs.append(output)
        return output.clone()

    def _layer(self, name: str, call: int, shape: Sequence[int]) -> MapLayer | None:
        if len(shape) == 3 and (grid := self._grid_of_tokens(shape[1])):
            return MapLayer(name, call, "tokens", *grid, shape[1] - math.prod(grid))
        if len(shape) != 4:
            return None
        if self._fits(shape[2], shape[3]):
            self._grids.append((shape[2], shape[3]))
            return MapLayer(name, call, "channels first", shape[2], shape[3])
        if self._fits(shape[1], shape[2]):
            self._grids.append((shape[1], shape[2]))
            return MapLayer(name, call, "channels last", shape[1], shape[2])
        return None

    def _fits(self, height: int, width: int) -> bool:
        """Return whether a map of this size can be of the whole image."""
        if height * width == 1 or height > self._size[0] or width > self._size[1]:
            return False
        strides = self._size[0] / height, self._size[1] / width
        return max(strides) <= STRIDES_APART * min(strides)

    def _grid_of_tokens(self, count: int) -> tuple[int, int] | None:
        """Return height and width of the places of tokens: of the last map that they can be of, else a square."""
        for grid in reversed(self._grids):
            if 0 <= count - math.prod(grid) <= MOST_EXTRA_TOKENS:
                return grid
        for extra in range(3):
            side = math.isqrt(max(count - extra, 0))
            if side > 1 and side * side == count - extra and self._fits(side, side):
                return side, side
        return None


def _parts_outside_attention(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules with names, without those inside attention: its weights (N, heads, T, T) are like maps."""
    inside: list[str] = []
    parts = []
    for name, part in module.named_modules():
        if not name or any(name.startswith(attention) for attention in inside):
            continue
        parts.append((name, part))
        kind = type(part).__name__.lower()
        if "attention" in kind or kind.endswith("attn") or name.rpartition(".")[2] in ("attn", "self_attn"):
            inside.append(f"{name}.")
    return parts
