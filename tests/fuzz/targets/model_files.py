"""Model files, and pretrained weights."""

import functools
import io
import json
import re
from typing import Any

from tests.fuzz.targets.base import (
    METADATA_FORM,
    RAW_FORM,
    Target,
    metadata_in_layers,
    only_toolkit_errors,
    own_folder,
    whole_file,
    write_file,
)

SMALL_SIDE = 64


def metadata(data: bytes) -> None:
    """Read a model file's metadata: a JSON object whose values become text."""
    from tl_toolkit.model_file import ModelMetadata

    with only_toolkit_errors():
        try:
            values = json.loads(data)
        except (ValueError, RecursionError):
            return
        if not isinstance(values, dict):
            return
        metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
        made = ModelMetadata.from_metadata(
            ModelMetadata.from_metadata(metadata).to_metadata()
        )  # JSON joins surrogates once.
        assert ModelMetadata.from_metadata(made.to_metadata()) == made or "nan" in str(made)
        assert made.input_spec.min_decode_size > 0
        if made.split_note:
            made.split_note.seen()


def _card() -> Any:
    from tl_toolkit.input_spec import InputSpec
    from tl_toolkit.model_file import ModelMetadata, SplitFingerprints

    spec = InputSpec(1, 28, 28, (0.5,), (0.5,), crop_fraction=1.0)
    note = SplitFingerprints.of({"train": [b"12345", b"abcde"], "val": []}, ("train",))
    names = ("ant", "Biene 🐝", "c")
    return ModelMetadata("timm:lenet5", "swap", 10, names, spec, metrics={"val_accuracy": 0.5}, split_note=note)


def _card_seeds() -> list[bytes]:
    metadata = _card().to_metadata()
    return [json.dumps(metadata).encode(), json.dumps(metadata_in_layers(metadata)).encode()]


def model(data: bytes) -> None:
    """Load a model.safetensors and use it once."""
    import torch

    from tl_toolkit.inference.loading import load
    from tl_toolkit.model_file import read_metadata

    path = write_file("model.safetensors", whole_file(data, _model_file))
    with only_toolkit_errors():
        options = str(read_metadata(path).arch_options)
        # Options are a program for memory and time: that a depth of a billion takes both is not tried.
        if re.search("[1-9][0-9]{2}|[0-9]e", options):
            return
        loaded = load(path, device="cpu", precision="fp32")
        spec = loaded.input_spec
        if max(spec.height, spec.width) <= SMALL_SIDE and spec.crop_fraction > 0.5:
            loaded.predict(torch.zeros(9, 7, dtype=torch.uint8).numpy())


def _model_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    from tl_toolkit.io.safetensors_file import save_checked

    sealed = own_folder() / "sealed.safetensors"
    save_checked(sealed, {"a": torch.arange(6.0), "b": torch.zeros(2, 3, dtype=torch.bfloat16)}, _card().to_metadata())
    small = save({"a": torch.zeros(2)}, _card().to_metadata())
    true = metadata_in_layers(_card().to_metadata())
    options = {"drop_rate": 0.1, "act_layer": "relu", "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2}
    other = {**true, "architecture": "timm:test_vit", "arch_options": options}
    bare = [json.dumps(one) for one in (true, _card().to_metadata(), other)]
    return [*(METADATA_FORM + one.encode() for one in bare), RAW_FORM + small, RAW_FORM + sealed.read_bytes()]


@functools.cache
def _model_file() -> bytes:
    """Return a model file of the smallest network."""
    import torch
    from safetensors.torch import save

    from tl_toolkit.models.backbones import resolve_arch
    from tl_toolkit.models.build import rebuild_network

    torch.manual_seed(0)
    network, _ = rebuild_network(resolve_arch("lenet5"), 3, "swap", 10, _card().input_spec)
    return save(network.state_dict(), _card().to_metadata())


def weights(data: bytes) -> None:
    """Read a file for --weights, as safetensors or torch.save write it, and load it as a full model."""
    from tl_toolkit.inference.loading import load
    from tl_toolkit.models.weights.files import read_weight_file

    path = write_file("weights.safetensors" if data[:1] == b"s" else "weights.pth", data[1:])
    with only_toolkit_errors():
        read_weight_file(path)
        load(path, device="cpu", precision="fp32")


def inspected(data: bytes) -> None:
    """Tell what is inside a file, without running it."""
    from tl_toolkit.recipes.inspect import inspect

    path = write_file("inspected.safetensors" if data[:1] == b"s" else "inspected.pth", data[1:])
    with only_toolkit_errors():
        json.dumps(inspect(path).to_dict())


def _weights_seeds() -> list[bytes]:
    import torch
    from safetensors.torch import save

    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 3))
    network.tl_card = _card().to_metadata()
    state = {"module.weight": torch.zeros(2, 3), "module.bias": torch.arange(2)}
    seeds = [b"s" + save(state)]
    for content in (state, {"state_dict": state, "epoch": 3}, network):
        for zipped in (True, False):
            file = io.BytesIO()
            torch.save(content, file, _use_new_zipfile_serialization=zipped)
            seeds.append(b"p" + file.getvalue())
    return seeds


TARGETS = {
    "card": Target(metadata, _card_seeds, json_after=0),
    "model": Target(model, _model_seeds, json_after=1),
    "weights": Target(weights, _weights_seeds),
    "inspected": Target(inspected, _weights_seeds),
}
