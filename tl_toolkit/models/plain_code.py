"""Networks as plain code of torchvision, timm or torch builds them, without this package: the object, and the code."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import OWN_NORMALIZATION, Arch, default_input_spec
from tl_toolkit.models.build import uninitialized
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.classic.network import SequentialNetwork
from tl_toolkit.models.heads import APPENDED, MLP_DROPOUT, MLP_WIDTH, classifier_paths
from tl_toolkit.system.libraries import timm, torchvision

INDENT = "    "


@dataclass(frozen=True)
class PlainNetwork:
    """A network with a head, as a user of its library alone builds it.

    `build` and `code` do the same steps; so a file that loads into what `build` returns loads after `code`.

    Attributes:
        arch: The network.
        head: How its classifier was changed.
        base_classes: Outputs of the classifier before the change.
        outputs: Outputs after it.
        input_spec: The pixels that it takes.
    """

    arch: Arch
    head: Head
    base_classes: int
    outputs: int
    input_spec: InputSpec

    def build(self) -> nn.Module:
        """Return the network with any weights, in eval mode."""
        with torch.random.fork_rng(devices=()), uninitialized():
            module = self._bare()
            if first := _other_channels(module, self):
                module.set_submodule(*first)
            _change_head(module, self)
        return (as_sequential(module) if isinstance(module, SequentialNetwork) else module).eval()

    def code(self) -> list[str]:
        """Return lines of Python that build it as `model`."""
        with torch.device("meta"):
            module = self._bare()
            convolution = _other_channels(module, self)
            if isinstance(module, SequentialNetwork):
                _change_head(module, self)
                layers = _sequential_code(as_sequential(module))
                imports = ["from collections import OrderedDict", "", "import torch", "from torch import nn"]
                return [*imports, "", f"model = {layers}"]
        lines = ["import torch", *(["import torchvision"] if self.arch.library == "torchvision" else ["import timm"])]
        if self.arch.name in CLASSIC:
            lines.append("import tl_toolkit.models.classic  # It registers this network with timm.")
        lines += ["", f"model = {self._call()}"]
        if convolution:
            name, layer = convolution
            lines.append(f"{_attribute(name)} = torch.nn.{layer}")
        return lines + _head_code(module, self)

    def _bare(self) -> nn.Module:
        """Return the library's own network, before its head is appended to."""
        function = torchvision.models.get_model if self.arch.library == "torchvision" else timm.create_model
        module: nn.Module = function(self.arch.name, **self._options())
        return module

    def _call(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options().items())
        if self.arch.library == "timm":
            return f'timm.create_model("{self.arch.name}", {options})'
        return f"torchvision.models.{self.arch.name}({options})"

    def _options(self) -> dict[str, Any]:
        """Return the arguments with which the library builds it."""
        spec, own = self.input_spec, default_input_spec(self.arch)
        options: dict[str, Any] = {"num_classes": self.outputs if self.head == "swap" else self.base_classes}
        other_size = (spec.height, spec.width) != (own.height, own.width)
        if self.arch.library == "torchvision":
            if self.arch.name.startswith("vit_") and other_size:
                options["image_size"] = spec.height
            if self.arch.name in OWN_NORMALIZATION:
                options |= {"aux_logits": False, "init_weights": False}
        else:
            if other_size and timm.get_pretrained_cfg(self.arch.name).fixed_input_size:
                options["img_size"] = (spec.height, spec.width)
            if spec.channels != (own.channels if self.arch.name in CLASSIC else 3):
                options["in_chans"] = spec.channels
        return options | dict(self.arch.options)


def as_sequential(module: SequentialNetwork) -> nn.Sequential:
    """Return the same layers under the same names as a network of torch's own classes alone."""
    return nn.Sequential(OrderedDict(module.named_children())).train(module.training)


def _other_channels(module: nn.Module, network: PlainNetwork) -> tuple[str, nn.Conv2d] | None:
    """Return the name of the first convolution, and one that takes the network's channels, where it must be another.

    timm's networks are built for their channels.
    """
    channels = network.input_spec.channels
    if network.arch.library == "timm" or channels == 3:
        return None
    name, old = next((name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        kernel_size=old.kernel_size,  # type: ignore[arg-type]  # a pair
        stride=old.stride,  # type: ignore[arg-type]  # a pair
        padding=old.padding,  # type: ignore[arg-type]  # a pair
        bias=old.bias is not None,
    )
    return name, new


def _change_head(module: nn.Module, network: PlainNetwork) -> None:
    """Append to the classifier or replace it; a swapped one was built by the library."""
    if network.head == "swap":
        return
    path = classifier_paths(module, network.arch)[0]
    old = module.get_submodule(path)
    assert isinstance(old, nn.Linear)
    if network.head == "append" and (parent := _ends_with(module, path, network.arch)):
        module.get_submodule(parent).add_module(APPENDED, nn.Linear(old.out_features, network.outputs))
    elif network.head == "append":
        module.set_submodule(path, nn.Sequential(old, nn.Linear(old.out_features, network.outputs)))
    else:
        width = min(MLP_WIDTH, old.in_features)
        first, last = nn.Linear(old.in_features, width), nn.Linear(width, network.outputs)
        module.set_submodule(path, nn.Sequential(first, nn.ReLU(), nn.Dropout(MLP_DROPOUT), last))


def _head_code(module: nn.Module, network: PlainNetwork) -> list[str]:
    """Return the lines that do what `_change_head` does."""
    if network.head == "swap":
        return []
    path = classifier_paths(module, network.arch)[0]
    old = module.get_submodule(path)
    assert isinstance(old, nn.Linear)
    place = _attribute(path)
    added = f"torch.nn.Linear({old.out_features}, {network.outputs})"
    if network.head == "append" and (parent := _ends_with(module, path, network.arch)):
        return [f'{_attribute(parent)}.add_module("{APPENDED}", {added})']
    if network.head == "append":
        return [f"{place} = torch.nn.Sequential({place}, {added})"]
    width = min(MLP_WIDTH, old.in_features)
    return [
        f"{place} = torch.nn.Sequential(",
        f"{INDENT}torch.nn.Linear({old.in_features}, {width}),",
        f"{INDENT}torch.nn.ReLU(),",
        f"{INDENT}torch.nn.Dropout({MLP_DROPOUT}),",
        f"{INDENT}torch.nn.Linear({width}, {network.outputs}),",
        ")",
    ]


def _ends_with(module: nn.Module, path: str, arch: Arch) -> str:
    """Return the name of the Sequential that ends with a layer and is called as a whole; empty if there is none."""
    parent_path, _, child = path.rpartition(".")
    parent = module.get_submodule(parent_path)
    whole = arch.library == "torchvision" and isinstance(parent, nn.Sequential)
    return parent_path if whole and list(parent._modules)[-1] == child else ""


def _attribute(path: str) -> str:
    """Return the expression for a module by its name."""
    return "model" + "".join(f"[{part}]" if part.isdigit() else f".{part}" for part in path.split("."))


def _sequential_code(module: nn.Sequential, indent: str = "") -> str:
    """Return the expression for a Sequential of torch's own layers."""
    inner = indent + 2 * INDENT
    if all(name.isdigit() for name, _ in module.named_children()):
        return f"nn.Sequential({', '.join(_layer_code(layer, inner) for layer in module)})"
    rows = [f"{inner}{name}={_layer_code(layer, inner)}," for name, layer in module.named_children()]
    return "\n".join(["nn.Sequential(", f"{indent}{INDENT}OrderedDict(", *rows, f"{indent}{INDENT})", f"{indent})"])


def _layer_code(layer: nn.Module, indent: str) -> str:
    return _sequential_code(layer, indent) if isinstance(layer, nn.Sequential) else f"nn.{layer!r}"
