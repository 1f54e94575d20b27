"""Heads: finding, swapping and extending the classifier of a network."""

from collections.abc import Iterable

import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.errors import ModelError
from tl_toolkit.models.backbones import Arch
from tl_toolkit.text import named

MLP_WIDTH = 512
MLP_DROPOUT = 0.5
"""Width and dropout of the mlp head: those of fastai's `create_head` (fastai/vision/learner.py)."""

APPENDED = "Linear"
"""Name of the module that the append head adds to a Sequential."""


def classifier_path(module: nn.Module, arch: Arch) -> str:
    """Return the name of the layer that computes the logits.

    Raises:
        ModelError: There are several.
    """
    paths = classifier_paths(module, arch)
    if len(paths) > 1:
        swap = named("head", "swap")
        raise ModelError(f"{arch} has several classifiers ({', '.join(paths)}); only {swap} can change them.")
    return paths[0]


def classifier_paths(module: nn.Module, arch: Arch) -> tuple[str, ...]:
    """Return the names of the layers that compute the logits: one, or two in distilled networks."""
    if arch.library == "timm":
        path = module.pretrained_cfg["classifier"]  # type: ignore[index]  # timm's dict on every network
        return (path,) if isinstance(path, str) else tuple(path)
    layers = [name for name, layer in module.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    return (str(layers[-1]),)


def attach_head(module: nn.Module, arch: Arch, head: Head, classes: int) -> tuple[str, ...]:
    """Give a network a head for `classes` classes, in place.

    Args:
        module: A network as its library builds it.
        arch: Its name and library.
        head: swap replaces the classifier; append puts a Linear after its logits, inside the network's
            own forward; mlp replaces it by Linear, ReLU, Dropout, Linear.
        classes: Number of classes.

    Returns:
        Names of the modules with new weights.

    Raises:
        ModelError: The network cannot have this head.
    """
    before = list(module.parameters())  # A reference to each, so that no new parameter gets the id of an old one.
    if head == "swap":
        _swap(module, arch, classes)
    elif head == "append":
        _append(module, arch, classes)
    else:
        inputs = _linear(module, arch, head).in_features
        width = min(MLP_WIDTH, inputs)
        mlp = nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(MLP_DROPOUT), nn.Linear(width, classes))
        module.set_submodule(classifier_path(module, arch), mlp)
    return _new_modules(module, before)


def check_head(module: nn.Module, arch: Arch, head: Head, classes: int, images: torch.Tensor) -> None:
    """Run images through a network with its new head.

    Raises:
        ModelError: The output shape is not (N, classes).
    """
    try:
        with torch.no_grad():
            shape = tuple(module.eval()(images).shape)
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:
        raise ModelError(
            f"{arch} does not work with {named('head', head)} ({str(error).splitlines()[0]}). Choose another."
        ) from error
    if shape != (len(images), classes):
        raise ModelError(f"{arch} does not work with {named('head', head)}: its output is {shape}. Choose another.")


def _swap(module: nn.Module, arch: Arch, classes: int) -> None:
    if arch.library == "timm":
        try:
            module.reset_classifier(classes)  # type: ignore[operator]  # timm's method on every network
        except (TypeError, AttributeError, RuntimeError) as error:
            raise ModelError(f"timm cannot change the classifier of {arch}: {error}") from error
        return
    path = classifier_path(module, arch)
    old = module.get_submodule(path)
    if isinstance(old, nn.Conv2d):  # SqueezeNet
        new: nn.Module = nn.Conv2d(old.in_channels, classes, old.kernel_size)  # type: ignore[arg-type]
    else:
        assert isinstance(old, nn.Linear)
        new = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    module.set_submodule(path, new)


def _append(module: nn.Module, arch: Arch, classes: int) -> None:
    """Put a Linear where the network's own forward runs it.

    A module added to a VGG itself would be saved and counted, but never called: VGG.forward calls its parts by name.
    """
    layer = _linear(module, arch, "append")
    path = classifier_path(module, arch)
    parent_path, _, child = path.rpartition(".")
    parent = module.get_submodule(parent_path)
    added = nn.Linear(layer.out_features, classes)
    # timm's networks call the parts of a Sequential head one by one; torchvision's call it as a whole.
    if arch.library == "torchvision" and isinstance(parent, nn.Sequential) and list(parent._modules)[-1] == child:
        parent.add_module(APPENDED, added)
    else:
        module.set_submodule(path, nn.Sequential(layer, added))


def _linear(module: nn.Module, arch: Arch, head: Head) -> nn.Linear:
    path = classifier_path(module, arch)
    try:
        layer = module.get_submodule(path)
    except AttributeError as error:
        raise ModelError(f"{arch} is an encoder without a classifier: it has no {path}.") from error
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"{named('head', head)} needs a network that ends in a Linear, but {arch} ends in a {type(layer).__name__} "
            f"({path}). Choose {named('head', 'swap')}."
        )
    return layer


def _new_modules(module: nn.Module, before: Iterable[nn.Parameter]) -> tuple[str, ...]:
    """Return the names of the outermost modules with new parameters only."""
    old = {id(parameter) for parameter in before}
    new: list[str] = []
    for name, part in module.named_modules():
        parameters = list(part.parameters())
        inside = any(name.startswith(f"{found}.") for found in new)
        if parameters and not inside and not any(id(parameter) in old for parameter in parameters):
            new.append(name)
    return tuple(new)
