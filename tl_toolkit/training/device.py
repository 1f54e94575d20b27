"""The device and the precision of a network."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from tl_toolkit.config.choices import Precision
from tl_toolkit.errors import UsageError
from tl_toolkit.system import allocator
from tl_toolkit.system.processes import world
from tl_toolkit.text import named, plural
from tl_toolkit.training import threads
from tl_toolkit.training.layers import has_depthwise_convolution

if TYPE_CHECKING:
    from accelerate import Accelerator

ComputePrecision = Literal["bf16", "fp32"]


@dataclass(frozen=True, slots=True)
class DeviceSetup:
    """A device, and a precision for training and one for inference.

    Attributes:
        device: Where tensors are.
        precision: Precision of features, evaluation and prediction. bf16 is autocast; the weights stay float32.
        training_precision: Precision of training steps.
        memory_format: Memory format of images and feature maps.
        reason: Why this precision, in a few words.
    """

    device: torch.device
    precision: ComputePrecision
    training_precision: ComputePrecision
    memory_format: torch.memory_format
    reason: str

    def __str__(self) -> str:
        same = self.training_precision == self.precision
        return f"{self.device}, {self.precision}" + ("" if same else f", training {self.training_precision}")

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device and into the memory format."""
        return module.to(self.device).to(memory_format=self.memory_format)

    def to_memory_format(self, batch: torch.Tensor) -> torch.Tensor:
        """Convert images or feature maps (N, C, H, W) to the memory format; return other tensors unchanged."""
        return batch.contiguous(memory_format=self.memory_format) if batch.ndim == 4 else batch

    def cast(self, features: torch.Tensor) -> torch.Tensor:
        """Convert stored features to a type that the network takes: bf16 only if autocast is or will be on."""
        autocasts = self.training_precision == "bf16" or torch.is_autocast_enabled(self.device.type)
        return features if autocasts else features.float()

    def autocast(self) -> torch.autocast:
        """Return a context for inference in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")

    def training_autocast(self) -> torch.autocast:
        """Return a context for training steps in this precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.training_precision == "bf16")

    def wait(self) -> None:
        """Wait until the device has finished its work, which a GPU does while the program continues."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()

    @contextlib.contextmanager
    def inference(self) -> Iterator[None]:
        """Within the block, networks run in this precision, without gradients."""
        with torch.inference_mode(), self.autocast():
            yield

    def accelerator(self) -> "Accelerator":
        """Return an Accelerator for this device; with bf16 it wraps a network's forward in autocast.

        Accelerate's state belongs to the whole process and refuses another precision later, so it is reset first.
        """
        from accelerate import Accelerator  # Only training needs it, and it is slow to import.
        from accelerate.state import AcceleratorState
        from accelerate.utils import DataLoaderConfiguration

        AcceleratorState._reset_state(reset_partial_state=True)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        with _threads_kept():
            return Accelerator(
                cpu=self.device.type == "cpu",
                mixed_precision="bf16" if self.training_precision == "bf16" else "no",
                dataloader_config=DataLoaderConfiguration(non_blocking=True),
            )


def select_device(device: str, precision: Precision, module: nn.Module | None = None) -> DeviceSetup:
    """Return the device and the precisions to use, with "auto" resolved.

    On a CPU they depend on the network: oneDNN's backward pass of a depthwise convolution with a stride takes up to
    four times as long in bf16 as in float32, so networks with such layers train in float32. In float32 their layers
    are faster with channels_last, those of other networks are not (tests/benchmarks/precision.py).

    Args:
        device: "auto", "cpu", "cuda", "cuda:N" or "mps"; each of several processes of a machine has a GPU of its own.
        precision: "auto" is bf16 if the device has instructions for it, except for training steps that it slows down.
        module: The network, if it is known.

    Raises:
        UsageError: The device does not exist here, or does not support the precision.
    """
    allocator.tune()
    chosen = _find_device(device)
    native, native_reason = _native_bf16(chosen)
    if precision == "bf16" and not native:
        raise UsageError(
            f"{named('precision', 'bf16')} was asked for, but {chosen} has no bf16 instructions. Use fp32 or auto."
        )
    auto = precision == "auto"
    forward: ComputePrecision = ("bf16" if native else "fp32") if precision == "auto" else precision
    training, reason = forward, native_reason if auto else "as asked"
    strided = chosen.type == "cpu" and module is not None and has_depthwise_convolution(module, strided=True)
    if auto and strided and native:
        training = "fp32"
        reason += "; depthwise convolutions with a stride train faster in fp32"
    channels_last = strided or forward == "bf16"
    return DeviceSetup(
        chosen, forward, training, torch.channels_last if channels_last else torch.contiguous_format, reason
    )


@contextlib.contextmanager
def _threads_kept() -> Iterator[None]:
    """Within the block, Accelerate leaves torch's number of threads alone, which in several processes it sets."""
    if world().size == 1 or threads.VARIABLE in os.environ:
        yield
        return
    os.environ[threads.VARIABLE] = str(torch.get_num_threads())
    try:
        yield
    finally:
        del os.environ[threads.VARIABLE]


def _find_device(name: str) -> torch.device:
    if world().size > 1:
        return _device_of_process(name)
    available = ["cpu"]
    if torch.cuda.is_available():
        available += ["cuda", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        available.append("mps")
    if name == "auto":
        name = next((best for best in ("cuda", "mps") if best in available), "cpu")
    if name not in available:
        raise UsageError(f"There is no device {name!r} here; there is {', '.join(available)}.")
    return torch.device("cuda", torch.cuda.current_device()) if name == "cuda" else torch.device(name)


def _device_of_process(name: str) -> torch.device:
    """Return the device of one of several processes.

    Raises:
        UsageError: This machine has fewer GPUs than processes, or the name is that of a single device.
    """
    here, gpus = world(), torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "cpu" or (name == "auto" and not gpus):
        return torch.device("cpu")
    if name not in ("auto", "cuda"):
        raise UsageError(
            f"{named('device', name)} is a single device, and this run has {here.size} processes: each takes one of "
            f"its own with {named('device', 'cuda')}, or all compute with {named('device', 'cpu')}."
        )
    if here.local_size > gpus:
        raise UsageError(
            f"This machine has {plural(gpus, 'GPU')} for {here.local_size} processes: start as many processes as it "
            f"has GPUs (--nproc-per-node), or take {named('device', 'cpu')}."
        )
    return torch.device("cuda", here.local_rank)


def _native_bf16(device: torch.device) -> tuple[bool, str]:
    """Return whether a device multiplies bf16 in hardware, and why."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return native, "the GPU computes bf16 natively" if native else "the GPU has no bf16 instructions"
    if device.type == "cpu":
        features = torch.cpu.get_capabilities()
        for name in ("amx_bf16", "avx512_bf16", "bf16"):
            if features.get(name):
                return True, f"the CPU has {name} instructions"
        return False, "the CPU has no bf16 instructions"
    return False, f"bf16 is not used on {device.type}"
