"""Tensors for plain PyTorch code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.errors import UsageError
from tl_toolkit.exports.base import ExportFormat, ExportOptions, ExportRequest
from tl_toolkit.text import named

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch
    from tl_toolkit.model_file import ModelMetadata


class StateDict(ExportFormat):
    """A state_dict, which loads with `strict=True` into the library's own network with the same head."""

    description = "tensors alone"
    file = "state_dict.pt"
    layouts = ("own", "torchvision")

    def check(self, name: str, metadata: "ModelMetadata", options: ExportOptions) -> None:
        """Refuse what no state_dict has, and a layout that the network does not have."""
        super().check(name, metadata, options)
        if options.layout != "own" and metadata.architecture != "timm:resnet18_digits":
            raise UsageError(
                f"{named('layout', options.layout)} is for a resnet18_digits, not for {metadata.architecture}: leave "
                "it out, torchvision's own networks have torchvision's keys."
            )

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the state_dict with torch.save."""
        from tl_toolkit.exports.writing import save_torch
        from tl_toolkit.models.classic.resnet_digits import to_torchvision

        state = request.model.module.state_dict()
        save_torch(to_torchvision(state) if request.options.layout == "torchvision" else state, path)
        return {}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor] | None":
        """Load the tensors into the library's own network."""
        import torch

        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.models.backbones import resolve_arch
        from tl_toolkit.models.build import rebuild_network

        if request.options.layout != "own":
            return None
        metadata = request.model.metadata
        module, _ = rebuild_network(
            resolve_arch(metadata.architecture, metadata.arch_options),
            metadata.outputs,
            metadata.head,  # type: ignore[arg-type]  # of a model that was loaded
            metadata.base_classes,
            metadata.input_spec,
        )
        module.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return module_outputs(module)
