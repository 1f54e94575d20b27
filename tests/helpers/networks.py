"""Networks without memory for their weights."""

from torch import nn

from tl_toolkit.models.backbones import Arch, resolve_arch
from tl_toolkit.models.summary import build_without_memory


def meta_backbone(name: str) -> tuple[nn.Module, Arch]:
    """Return a network on the meta device, and what its name stands for."""
    arch = resolve_arch(name)
    return build_without_memory(arch), arch
