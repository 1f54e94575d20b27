"""The frozen prefix of a network: the part before its first trainable module, which a forward pass can skip."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Any

import torch
from torch import nn

TOLERANCE = 1e-2
"""Largest difference between the two halves and the whole, as a share of the largest logit: in bf16 sums differ a
little with the memory layout of a batch. A wrong cut differs far more."""


class _CutReachedError(Exception):
    """The forward pass has reached the cut and need not go on."""


@dataclass(frozen=True)
class _Stub:
    """A module of the prefix, with the shape and type of its output for one image."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def zeros(self, count: int, device: torch.device, writable: bool) -> torch.Tensor:
        """Return a stand-in for the module's output, which takes no memory unless `writable`."""
        if writable:
            return torch.zeros(count, *self.shape, dtype=self.dtype, device=device)
        return torch.zeros((), dtype=self.dtype, device=device).expand(count, *self.shape)


class FrozenPrefix:
    """The part of a network in front of its first trainable module, the cut.

    The network remains one object with its own names and parameters. Inside `bypassed`, the modules of the prefix
    compute nothing and the cut takes the features from `feed`, so that a call of the network runs the suffix alone.
    What the network's forward computes between its modules, it computes on zeros. Only what arrives at the cut
    matters, and `find_prefix` tests that.

    Args:
        module: The network.
        cut: Name of the first module that trains.
        trainable: Names of all modules that train.
        stubs: Stand-ins for the outputs of the skipped modules.
        image_shape: Shape of one image (C, H, W).
        writable: Whether the network writes into these outputs, so that they need memory.
    """

    def __init__(
        self,
        module: nn.Module,
        cut: str,
        trainable: tuple[str, ...],
        stubs: Sequence[_Stub],
        image_shape: tuple[int, ...],
        writable: bool,
    ) -> None:
        self.module = module
        self.cut = cut
        self._trainable = trainable
        self._stubs = stubs
        self._image_shape = image_shape
        self._writable = writable
        self._features: torch.Tensor | None = None

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the cut's input for images (N, C, H, W) without gradients; nothing behind the cut runs."""
        self._features = None
        taken: list[torch.Tensor] = []

        def take(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            taken.append(args[0])
            raise _CutReachedError

        handle = self.module.get_submodule(self.cut).register_forward_pre_hook(take, prepend=True)
        try:
            with torch.no_grad(), contextlib.suppress(_CutReachedError):
                self.module(images)
        finally:
            handle.remove()
        return taken[0].detach()

    def feed(self, features: torch.Tensor) -> torch.Tensor:
        """Set features (N, ...) for the cut.

        Returns:
            Blank images (N, C, H, W) without memory, to call the network with.
        """
        self._features = features
        return features.new_zeros(()).expand(len(features), *self._image_shape)

    @contextlib.contextmanager
    def bypassed(self) -> Iterator[None]:
        """Make a call of the network with the images from `feed` begin at the cut."""
        parts = [(self.module.get_submodule(stub.name), stub) for stub in self._stubs]
        handle = self.module.get_submodule(self.cut).register_forward_pre_hook(
            lambda _, args: args if self._features is None else (self._features,)
        )
        try:
            for part, stub in parts:
                part.forward = self._unless_fed(part.forward, stub)
            yield
        finally:
            handle.remove()
            for part, _ in parts:
                part.__dict__.pop("forward", None)
            self._features = None

    def _unless_fed(self, forward: Callable[..., Any], stub: _Stub) -> Callable[..., Any]:
        """Wrap a module's forward to return zeros while there are features for the cut."""

        def chosen(*args: Any, **options: Any) -> Any:
            if self._features is None:
                return forward(*args, **options)
            return stub.zeros(len(self._features), self._features.device, self._writable)

        return chosen

    def digest(self) -> str:
        """Return a digest of every weight and statistic that the features depend on: all that do not train."""
        return frozen_digest(self.module, self._trainable, self.cut)


def frozen_digest(module: nn.Module, trainable: Sequence[str], cut: str = "") -> str:
    """Return a digest of every weight and statistic outside the `trainable` modules."""
    digest = blake2b(cut.encode(), digest_size=16)
    for name, value in module.state_dict().items():
        if not _is_inside(name, trainable):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def find_prefix(module: nn.Module, trainable: Sequence[str], images: torch.Tensor) -> FrozenPrefix | None:
    """Find the frozen prefix, and test on some images that the rest alone computes the network's own logits.

    Args:
        module: A network in eval mode.
        trainable: Names of the modules that train; "" is the whole network.
        images: A batch (N, C, H, W) of at least 2 different images, on the network's device.

    Returns:
        The prefix; None if the first module trains, or if more than one tensor passes the cut.
    """
    calls = _record_calls(module, images)
    cut = next((name for name in calls.inputs if _is_inside(name, trainable)), None)
    if not cut or calls.events.count(("begin", cut)) > 1:
        return None
    inputs = calls.inputs[cut]
    if len(inputs) != 1 or not isinstance(inputs[0], torch.Tensor) or len(inputs[0]) != len(images):
        return None
    stubs = _stubs(module, "", cut, calls.ended_before(cut), len(images))
    for writable in (False, True):
        prefix = FrozenPrefix(module, cut, tuple(trainable), stubs, tuple(images.shape[1:]), writable)
        if stubs and _halves_agree(prefix, images, calls.output):
            return prefix
    return None


class _Calls:
    """The modules that a forward pass called, in order, with their inputs and outputs."""

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.events: list[tuple[str, str]] = []
        self.outputs: dict[str, Any] = {}
        self.output: Any = None

    def begin(self, name: str, _: nn.Module, args: tuple[Any, ...]) -> None:
        """Record the call of a module."""
        self.inputs[name] = args
        self.events.append(("begin", name))

    def end(self, name: str, _: nn.Module, __: Any, output: Any) -> None:
        """Record the output of a module."""
        self.events.append(("end", name))
        self.outputs[name] = output

    def ended_before(self, cut: str) -> dict[str, Any]:
        """Return the outputs of the modules whose calls all ended before the cut."""
        at = self.events.index(("begin", cut))
        later = {name for _, name in self.events[at:]}
        return {name: output for name, output in self.outputs.items() if name not in later}


def _record_calls(module: nn.Module, images: torch.Tensor) -> _Calls:
    calls = _Calls()
    handles = []
    for name, part in module.named_modules():
        if name:
            handles.append(part.register_forward_pre_hook(partial(calls.begin, name)))
            handles.append(part.register_forward_hook(partial(calls.end, name)))
    try:
        with torch.no_grad():
            calls.output = module(images)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _is_inside(name: str, modules: Sequence[str]) -> bool:
    return any(not part or name == part or name.startswith(f"{part}.") for part in modules)


def _stubs(module: nn.Module, path: str, cut: str, ended: dict[str, Any], count: int) -> list[_Stub]:
    """Return stubs for the outermost modules that end before the cut with one tensor that has a row for each image."""
    stubs: list[_Stub] = []
    for child, part in module.named_children():
        name = f"{path}{child}"
        output = ended.get(name)
        if isinstance(output, torch.Tensor) and output.ndim and len(output) == count:
            stubs.append(_Stub(name, tuple(output.shape[1:]), output.dtype))
        elif name != cut:
            stubs += _stubs(part, f"{name}.", cut, ended, count)
    return stubs


def _halves_agree(prefix: FrozenPrefix, images: torch.Tensor, logits: torch.Tensor) -> bool:
    features = prefix(images)
    try:
        with prefix.bypassed(), torch.no_grad():
            again = prefix.module(prefix.feed(features))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError):
        return False
    if again.shape != logits.shape:
        return False
    largest = float(logits.float().abs().max())
    return float((again.float() - logits.float()).abs().max()) <= TOLERANCE * max(largest, 1e-6)
