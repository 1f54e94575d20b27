"""A network without its head, as the start of another fine-tune."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tl_toolkit.exports.base import ExportFormat, ExportRequest

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tl_toolkit.exports.comparison import CheckBatch
    from tl_toolkit.inference.classifier import ImageClassifier


class Backbone(ExportFormat):
    """Weights that `tl finetune --weights FILE` begins with, and the input that they expect.

    With an appended head, the classifier before it belongs to the backbone.
    """

    description = "the network without its head, for tl finetune --weights"
    file = "backbone.safetensors"

    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write the weights outside the head under the names that the library's network without it has."""
        from tl_toolkit.models.weights.backbone_files import save_backbone

        model = request.model
        head, classifier = _head(model)
        state = {
            _original_name(name, classifier): tensor
            for name, tensor in model.module.state_dict().items()
            if not any(name.startswith(f"{part}.") for part in head)
        }
        save_backbone(path, state, model.metadata.to_metadata())
        return {"network": model.metadata.architecture, "left_out": list(head)}

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor]":
        """Load the file as `tl finetune --weights` does."""
        from tl_toolkit.models.backbones import resolve_arch
        from tl_toolkit.models.heads import classifier_paths
        from tl_toolkit.models.weights.resolve import WeightsRequest, load_backbone

        metadata = request.model.metadata
        arch = resolve_arch(metadata.architecture, metadata.arch_options)
        module = load_backbone(WeightsRequest(arch, str(path))).module.eval()
        if metadata.head == "append":
            from tl_toolkit.exports.comparison import module_outputs

            return module_outputs(module)
        return _features(module, classifier_paths(module, arch)[0])

    def expected_outputs(self, request: ExportRequest, batch: "CheckBatch") -> "torch.Tensor":
        """Return what arrives at the head: features (N, D), or the logits before an appended layer."""
        return _features(request.model.module, _head(request.model)[0][0])(batch)

    def code(self, request: ExportRequest, name: str) -> list[str]:
        """Return code of the library: it leaves the classifier with random weights, if the file has none."""
        from tl_toolkit.exports.networks import plain_network, safetensors_code

        network = plain_network(request.model.metadata)
        bare = dataclasses.replace(network, head="swap", outputs=network.base_classes)
        return safetensors_code(bare, name, strict=request.model.metadata.head == "append")


def _features(module: "nn.Module", layer: str) -> "Callable[[CheckBatch], torch.Tensor]":
    """Return what computes the inputs of a layer."""
    import torch

    from tl_toolkit.training.evaluation import recorded_inputs

    def features(batch: "CheckBatch") -> torch.Tensor:
        with recorded_inputs(module.get_submodule(layer)) as inputs, torch.inference_mode():
            module(batch.inputs)
        return inputs[-1]

    return features


def _head(model: "ImageClassifier") -> tuple[tuple[str, ...], str]:
    """Return the names of the modules of a model's head, and of the classifier before an appended layer.

    The latter is empty where it has the name that the library gave it.
    """
    from tl_toolkit.models.backbones import resolve_arch
    from tl_toolkit.models.build import rebuild_network

    metadata = model.metadata
    arch = resolve_arch(metadata.architecture, metadata.arch_options)
    _, head = rebuild_network(
        arch,
        metadata.outputs,
        metadata.head,  # type: ignore[arg-type]  # of a model that was loaded
        metadata.base_classes,
        metadata.input_spec,
    )
    parent, _, last = head[0].rpartition(".")
    return head, f"{parent}.0" if metadata.head == "append" and last == "1" else ""


def _original_name(name: str, classifier: str) -> str:
    """Return the name that a tensor has where nothing is appended: `fc.weight` for `fc.0.weight`."""
    inside = f"{classifier}."
    return f"{classifier[:-2]}.{name[len(inside) :]}" if classifier and name.startswith(inside) else name
