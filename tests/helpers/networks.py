"""Networks without memory for their weights."""

from torch import nn

from tl_toolkit.models.backbones import Arch, build_without_memory, resolve_arch


def meta_backbone(name: str) -> tuple[nn.Module, Arch]:
    """Return a network on the meta device, and what its name stands for."""
    arch = resolve_arch(name)
    return build_without_memory(arch), arch
