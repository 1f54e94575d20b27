"""config.json of a model folder, by which timm builds the network and its preprocessing."""

from collections.abc import Mapping
from typing import Any

from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.timm_twin import TimmTwin

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
"""The names that timm looks for (timm/models/_hub.py)."""

OF_THE_NETWORK = ("fixed_input_size", "first_conv", "classifier")
"""What timm's description of a network tells, whatever its weights are."""


def timm_config(twin: TimmTwin, metadata: ModelMetadata) -> dict[str, Any]:
    """Return the description from which timm builds a network with its weights, as timm's `save_for_hf` writes it.

    Args:
        twin: timm's network.
        metadata: Of the model.
    """
    spec, known = metadata.input_spec, twin.module.pretrained_cfg
    pretrained = {
        **{name: known[name] for name in OF_THE_NETWORK if name in known},  # type: ignore[index,operator]  # timm's dict
        "tag": "tl_toolkit",
        "custom_load": False,
        "input_size": [spec.channels, spec.height, spec.width],
        "interpolation": spec.interpolation,
        "crop_pct": spec.crop_fraction,
        "crop_mode": spec.crop,
        "mean": list(spec.mean),
        "std": list(spec.std),
        "num_classes": metadata.outputs,
    }
    if metadata.weights_license:
        pretrained["license"] = metadata.weights_license
    described = {
        "architecture": twin.arch.name.partition(".")[0],
        "num_classes": metadata.outputs,
        "num_features": twin.module.num_features,
        **labels(metadata),
    }
    if twin.arch.options:
        described["model_args"] = dict(twin.arch.options)
    return {**described, "pretrained_cfg": pretrained}


def own_config(metadata: ModelMetadata) -> dict[str, Any]:
    """Return a description of a network that timm does not have, for people and the Hub's search."""
    return {
        "library_name": "tl_toolkit",
        "architecture": metadata.architecture,
        "num_classes": metadata.outputs,
        **labels(metadata),
        "input_spec": metadata.input_spec.to_dict(),
    }


def labels(metadata: ModelMetadata) -> dict[str, Any]:
    """Return the name of each output, and what they mean where that is not plain."""
    names = list(metadata.class_names)
    if metadata.outputs == len(names):
        return {"label_names": names}
    other, positive = names
    meaning = f"the sigmoid of the only output is its probability; else it is {other}"
    return {"label_names": [positive], "label_descriptions": {positive: meaning}}


def with_note(config: Mapping[str, Any], note: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description with what the toolkit adds, under a name that timm ignores."""
    return {**config, "tl_toolkit": dict(note)}
