"""Tensors for plain PyTorch code."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.errors import ModelError
from tl_toolkit.exports.base import ROUNDED, ExportFormat, ExportOptions, ExportRequest
from tl_toolkit.text import named

if TYPE_CHECKING:
    import torch

    from tl_toolkit.exports.comparison import CheckBatch
    from tl_toolkit.model_file import ModelMetadata

OTHER_OPERATIONS = 1e-5
"""Largest difference, relative as in `ROUNDED`, of a network of another library that rounds elsewhere: timm's VGG has
convolutions where torchvision's has Linear layers."""


class StateDict(ExportFormat):
    """A state_dict, which loads with `strict=True` into the library's own network with the same head."""

    description = "tensors alone"
    file = "state_dict.pt"
    layouts = ("own", "torchvision", "timm")
    dtypes = ("fp32", "fp16", "bf16")

    def check(self, name: str, metadata: "ModelMetadata", options: ExportOptions) -> None:
        """Refuse what no state_dict has, and a layout that the network does not have."""
        super().check(name, metadata, options)
        from tl_toolkit.exports.networks import plain_network

        plain_network(metadata, options.layout)

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the state_dict with torch.save."""
        from tl_toolkit.exports.networks import cast, plain_network
        from tl_toolkit.exports.writing import save_torch
        from tl_toolkit.models.layouts import renamed

        own = plain_network(request.model.metadata)
        network = plain_network(request.model.metadata, request.options.layout)
        state = request.model.module.state_dict()
        if network.arch != own.arch:
            try:
                state = renamed(state, network.build().state_dict())
            except ModelError as error:
                layout = named("layout", request.options.layout)
                raise ModelError(f"{own.arch} has no layout of {network.arch}: {error}. Leave {layout} out.") from error
        save_torch(cast(state, request.options.dtype), path)
        return {"network": str(network.arch)}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":
        """Load the tensors into the network as the library's own code builds it."""
        import torch

        from tl_toolkit.exports.comparison import module_outputs
        from tl_toolkit.exports.networks import plain_network

        module = plain_network(request.model.metadata, request.options.layout).build()
        module.load_state_dict(torch.load(path, weights_only=True), strict=True)
        return module_outputs(module)

    def tolerance(self, options: ExportOptions) -> float:
        """Return what the type of the weights rounds, and what another library's network rounds elsewhere."""
        return ROUNDED[options.dtype] or (0.0 if options.layout == "own" else OTHER_OPERATIONS)

    def code(self, request: ExportRequest, name: str) -> list[str]:
        """Return code of the library alone."""
        from tl_toolkit.exports.networks import plain_network

        network = plain_network(request.model.metadata, request.options.layout)
        return [*network.code(), f'model.load_state_dict(torch.load("{name}", weights_only=True))', "model.eval()"]
