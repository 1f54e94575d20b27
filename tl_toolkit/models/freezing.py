"""Freezing: the parts of a network that train."""

from collections.abc import Sequence

from torch import nn

from tl_toolkit.config.choices import Tune

TRUNK_SHARE = 0.8
"""A module with more than this share of a backbone's parameters contains the stages rather than being one.
ResNet18's layer4, the largest stage of the common networks, has 0.75."""

LAST_SHARE = 0.5
"""Share of a backbone's parameters in its last stage: layer4 of ResNets, the last two stages of EfficientNets, half of
the blocks of a vision transformer. With the last block alone, tf_efficientnet_lite0 gained a third of what two gained
on Caltech-101 (tests/benchmarks/NOTES.md)."""


def trainable_modules(module: nn.Module, head_modules: Sequence[str], tune: Tune) -> tuple[str, ...]:
    """Return the names of the modules that a policy trains.

    Args:
        module: A network with its head.
        head_modules: Names of the modules with new weights.
        tune: linear-probe trains these alone; last-stage also the last stage and everything after it;
            full and lp-ft everything ("" is the network itself).
    """
    if tune == "linear-probe":
        return tuple(head_modules)
    if tune == "last-stage":
        return (*_last_stage(module, head_modules), *_top_level(head_modules))
    return ("",)


def freeze_except(module: nn.Module, trainable: Sequence[str]) -> None:
    """Turn gradients on for the parameters of the `trainable` modules, and off for all others."""
    module.requires_grad_(False)
    for name in trainable:
        module.get_submodule(name).requires_grad_(True)


def _last_stage(module: nn.Module, head_modules: Sequence[str]) -> list[str]:
    """Return the last blocks, as many as have `LAST_SHARE` of the parameters, and everything after them."""
    units = _units(module, head_modules)
    blocks = [index for index, name in enumerate(units) if _is_block(module, name)]
    if not blocks:
        return _after_last_pooling(module, units)
    sizes = [sum(parameter.numel() for parameter in module.get_submodule(name).parameters()) for name in units]
    first = next(
        index for index in reversed(blocks) if sum(sizes[index:]) >= LAST_SHARE * sum(sizes) or index == blocks[0]
    )
    return units[first:]


def _top_level(names: Sequence[str]) -> tuple[str, ...]:
    """Return the network's own children that contain the named modules, such as VGG's whole classifier."""
    return tuple(dict.fromkeys(name.partition(".")[0] for name in names))


def _is_block(module: nn.Module, name: str) -> bool:
    """Return whether a unit contains layers, at least one of which does more than normalise."""
    part = module.get_submodule(name)
    return any(True for _ in part.children()) and any(weight.ndim > 1 for weight in part.parameters())


def _after_last_pooling(module: nn.Module, units: list[str]) -> list[str]:
    """Return the layers after the last pooling with weights behind it, for networks that are a list of layers (VGG)."""
    starts = [0] + [i + 1 for i, name in enumerate(units) if "Pool" in type(module.get_submodule(name)).__name__]
    for start in reversed(starts):
        if any(True for name in units[start:] for _ in module.get_submodule(name).parameters()):
            return units[start:]
    return units


def _units(module: nn.Module, head_modules: Sequence[str]) -> list[str]:
    """Return the parts of a backbone in order: its children, or theirs where one contains nearly all of it."""
    head = {id(p) for name in head_modules for p in module.get_submodule(name).parameters()}
    tops = _top_level(head_modules)

    def size(part: nn.Module) -> int:
        return sum(p.numel() for p in part.parameters() if id(p) not in head)

    trunk = sum(size(part) for name, part in module.named_children() if name not in tops)
    units: list[str] = []

    def add_units(prefix: str, part: nn.Module) -> None:
        for name, child in part.named_children():
            path = f"{prefix}{name}"
            if name in tops and not prefix:
                continue
            if size(child) > TRUNK_SHARE * trunk and any(True for _ in child.children()):
                add_units(f"{path}.", child)
            else:
                units.append(path)

    add_units("", module)
    return units
