"""What is fuzzed: functions from bytes that may end in a ToolkitError and in no other way.

Each has seeds, from which mutations begin, so that they come past the first bytes.
"""

import atexit
import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ModelFileError, ToolkitError

METADATA_FORM, RAW_FORM = b"m", b"r"
"""First byte of what a safetensors target is given: metadata, to which true tensors are added, or all bytes."""

LENGTH_BYTES = 8
SMALL_SIDE = 64


@dataclass(frozen=True)
class Target:
    """Attributes:
    run: Given bytes, ends well or with a ToolkitError.
    seeds: What mutations begin with.
    json_after: Bytes before a JSON text in the data; None where there is none.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], list[bytes]]
    json_after: int | None = None


@functools.cache
def _folder() -> Path:
    """Of this process."""
    folder = tempfile.mkdtemp(prefix="tl-fuzz-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _written(name: str, data: bytes) -> Path:
    path = _folder() / f"{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


@contextlib.contextmanager
def _only_toolkit_errors() -> Iterator[None]:
    """Within the block a ToolkitError with a message that can be told is a good end."""
    try:
        yield
    except ToolkitError as error:
        assert str(error).strip()
        assert len(str(error)) < 20_000


# Settings


def config(data: bytes) -> None:
    """A config file, from its bytes to settings and back."""
    from tl_toolkit.config.finetune import FinetuneConfig, read_config_file

    path = _written("config.yaml", data)
    with _only_toolkit_errors():
        chosen = FinetuneConfig.from_values(read_config_file(path))
        for derived in ("parsed_arch_options", "probe_rate", "cache_bytes", "checkpoint_steps", "checkpoint_seconds"):
            getattr(chosen, derived)
        chosen.with_absolute_paths()
        json.dumps(chosen.parsed_arch_options)
        again = _written("again.yaml", chosen.to_yaml().encode())
        assert FinetuneConfig.from_values(read_config_file(again)) == dataclasses.replace(chosen, out=None)


def _config_seeds() -> list[bytes]:
    from tl_toolkit.config.finetune import FinetuneConfig

    examples = [path.read_bytes() for path in sorted(Path("examples").glob("*.yaml"))]
    odd = [
        b"learning_rate: 1e-3\nsave: [full-model]\narch_options: {drop_rate: 0.1, act: [1, 2]}\n",
        b"a: &a [1, 2]\nepochs: *a\n",
        b"epochs: 2001-01-01\nlr: .nan\nseed: 0x10\nviews: 1:30\n",
        b"data: !!binary aGFsbG8=\nout: !!set {a, b}\n? [1, 2]\n: 3\n",
        b'arch: "\\ud83d\\x00\\u2028"\ncheckpoint_every: 30s\ncache_size: 20GiB\nprobe_lr: auto\n',
        b"[" * 50 + b"]" * 50,
        "data: Fotos für später/\n".encode("utf-16"),
    ]
    return [FinetuneConfig().to_yaml().encode(), *examples, *odd]


# Model files


def metadata(data: bytes) -> None:
    """What a model file's header says: a JSON object whose values become text."""
    from tl_toolkit.model_file import ModelMetadata

    with _only_toolkit_errors():
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
    return [json.dumps(metadata).encode(), json.dumps(_metadata_in_layers(metadata)).encode()]


def _metadata_in_layers(metadata: dict[str, str]) -> dict[str, Any]:
    """With objects where it has JSON as text, so that mutations come to them."""
    inner = ("class_names", "input_spec", "metrics", "arch_options", "split_note")
    return {name: json.loads(value) if name in inner else value for name, value in metadata.items()}


def model(data: bytes) -> None:
    """A model.safetensors, loaded and used once."""
    import torch

    from tl_toolkit.inference.loading import load
    from tl_toolkit.model_file import read_metadata

    path = _written("model.safetensors", _whole_file(data, _model_file))
    with _only_toolkit_errors():
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

    sealed = _folder() / "sealed.safetensors"
    save_checked(sealed, {"a": torch.arange(6.0), "b": torch.zeros(2, 3, dtype=torch.bfloat16)}, _card().to_metadata())
    small = save({"a": torch.zeros(2)}, _card().to_metadata())
    true = _metadata_in_layers(_card().to_metadata())
    options = {"drop_rate": 0.1, "act_layer": "relu", "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2}
    other = {**true, "architecture": "timm:test_vit", "arch_options": options}
    bare = [json.dumps(one) for one in (true, _card().to_metadata(), other)]
    return [*(METADATA_FORM + one.encode() for one in bare), RAW_FORM + small, RAW_FORM + sealed.read_bytes()]


@functools.cache
def _model_file() -> bytes:
    """Of the smallest network."""
    import torch
    from safetensors.torch import save

    from tl_toolkit.models.backbones import resolve_arch
    from tl_toolkit.models.build import rebuild_network

    torch.manual_seed(0)
    network = rebuild_network(resolve_arch("lenet5"), 3, "swap", 10, _card().input_spec)
    return save(network.state_dict(), _card().to_metadata())


def _header_of(file: bytes) -> bytes:
    return file[LENGTH_BYTES : LENGTH_BYTES + int.from_bytes(file[:LENGTH_BYTES], "little")]


def _whole_file(data: bytes, file: Callable[[], bytes]) -> bytes:
    """The bytes as they are, or a true file with other metadata: the values of a JSON object, as text."""
    if data[:1] != METADATA_FORM:
        return data[1:]
    header = json.loads(_header_of(file()))
    try:
        given = json.loads(data[1:])
    except (ValueError, RecursionError):
        given = data[1:].decode("utf-8", "replace")
    values = given if isinstance(given, dict) else {"format": given}
    metadata = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values.items()}
    said = json.dumps({**header, "__metadata__": metadata}).encode()
    return len(said).to_bytes(LENGTH_BYTES, "little") + said + file()[LENGTH_BYTES + len(_header_of(file())) :]


# Pretrained weights


def weights(data: bytes) -> None:
    """A file for --weights, as safetensors or as torch.save writes it; a full model is loaded as a model too."""
    from tl_toolkit.inference.loading import load
    from tl_toolkit.models.weights.files import read_weight_file

    path = _written("weights.safetensors" if data[:1] == b"s" else "weights.pth", data[1:])
    with _only_toolkit_errors():
        read_weight_file(path)
        load(path, device="cpu", precision="fp32")


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


# Checkpoints


def checkpoint(data: bytes) -> None:
    """A checkpoint.safetensors: read, and everything restored from it."""
    import torch

    from tl_toolkit.runs.checkpoint import Checkpoint
    from tl_toolkit.runs.resuming import check_resumable
    from tl_toolkit.training import state as state_of
    from tl_toolkit.training.schedules import make_schedule

    path = _written("checkpoint.safetensors", _whole_file(data, _checkpoint_file))
    with _only_toolkit_errors():
        kept = Checkpoint.read(path)
        assert kept
        check_resumable(kept.resume_fingerprint, {"settings": {}, "train": "2 images"}, path.parent)
        module, optimizer = _learner()
        state_of.restore_weights(module, ("",), kept.state)
        state_of.check_weights(module, kept.weights_of_best())
        state_of.restore_optimizer(optimizer, kept.state)
        make_schedule(optimizer, "cosine", 10, 0.1, kept.state.step)
        position = state_of.restore_progress(kept.state, module, torch.device("cpu"))
        position.epoch(3)
        state_of.restore_random(kept.state)
        module.load_state_dict(module.state_dict() | kept.weights_of_best())
        int(torch.randint(9, ()))


def _learner() -> tuple[Any, Any]:
    from torch import nn

    from tl_toolkit.training.optimizers import make_optimizer

    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    return module, make_optimizer("adamw", module, ("2",), 0.1, 0.1, 0.1, 0.9)


@functools.cache
def _checkpoint_file() -> bytes:
    """Of a stage after a step."""
    import torch

    from tl_toolkit.events import EvalRecord
    from tl_toolkit.runs.checkpoint import Checkpoint
    from tl_toolkit.training.loop import Stage, StageProgress
    from tl_toolkit.training.losses import Criterion
    from tl_toolkit.training.plan import StageConfig
    from tl_toolkit.training.schedules import make_schedule
    from tl_toolkit.training.state import capture_state

    torch.manual_seed(0)
    module, optimizer = _learner()
    schedule = make_schedule(optimizer, "cosine", 10, 0.1)
    module(torch.rand(5, 3)).sum().backward()
    optimizer.step()
    schedule.step()
    stage = Stage("tune", module, ("",), optimizer, schedule, [], [], _same, 1, 2, Criterion(), None)
    position = StageProgress(torch.device("cpu"))
    position.step = 1
    path = _folder() / "true-checkpoint.safetensors"
    best = EvalRecord("tune", 1, 1, 1, 1, 1.0, 0.5, 1.0, 0.5, 0.1, 5, 1.0, 5.0)
    Checkpoint(
        stage=0,
        settings=StageConfig("tune", 1, "adamw", 0.1, 0.1, 0.1),
        state=capture_state(stage, position),
        best=best,
        best_weights={name: value.clone() for name, value in module.state_dict().items()},
        metrics_bytes=10,
        seconds=1.0,
        resume_fingerprint={"settings": {}, "train": "2 images"},
    ).write(path)
    return path.read_bytes()


def _same(batch: Any) -> Any:
    return batch


def _checkpoint_seeds() -> list[bytes]:
    file = _checkpoint_file()
    metadata = json.loads(_header_of(file))["__metadata__"]
    in_layers = {"checkpoint": json.loads(metadata["checkpoint"])}
    return [METADATA_FORM + json.dumps(in_layers).encode(), RAW_FORM + file]


# What a run folder says of a run


def metrics(data: bytes) -> None:
    """A metrics.jsonl."""
    from tl_toolkit.io.own_files import METRICS_FILE
    from tl_toolkit.runs.metrics_log import read_metrics

    folder = _folder() / f"{os.getpid()}-run"
    folder.mkdir(exist_ok=True)
    (folder / METRICS_FILE).write_bytes(data)
    with _only_toolkit_errors():
        for one in read_metrics(str(folder)):
            assert one.improves_on(None)
            assert f"{one.val_accuracy:.1%}"


def _metrics_seeds() -> list[bytes]:
    from tl_toolkit.events import EvalRecord, StepRecord

    judged = EvalRecord("tune", 1, 1, 1, 1, 1.0, 0.5, 1.0, 0.5, 0.1, 5, 1.0, 5.0)
    lines = [json.dumps(dataclasses.asdict(one)) for one in (StepRecord("tune", 1, 1, 0.5, 0.5, 0.1), judged)]
    return ["".join(f"{line}\n" for line in lines).encode(), f"{lines[1]}\n{{".encode(), f"{lines[1]}\n".encode()]


def summary(data: bytes) -> None:
    """A summary.json."""
    from tl_toolkit.io.files import format_seconds
    from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary

    folder = _folder() / f"{os.getpid()}-run"
    folder.mkdir(exist_ok=True)
    (folder / SUMMARY_FILE).write_bytes(data)
    with _only_toolkit_errors():
        read = read_summary(folder)
        assert read
        assert f"{read['val_images']:,} {read['val_accuracy']:.1%} {format_seconds(read['seconds'])}"
        if "stages" in read:
            assert read["stages"][read["best_stage"]] is not None


def _summary_seeds() -> list[bytes]:
    counts = {"epochs": 3, "val_images": 5, "test_images": 0}
    results = {"val_accuracy": 0.5, "test_accuracy": None, "seconds": 1.5, "class_accuracy": {"a": 0.5, "ü": 1}}
    early = {"run": "runs/a", "bad_images": [], **counts, **results}
    stages = {"probe": {"val_accuracy": 0.5, "epoch": 3}, "tune": 0.25}
    return [
        json.dumps(early | more).encode() for more in ({}, {"best_stage": "probe", "best_epoch": 3, "stages": stages})
    ]


# Images


def image(data: bytes) -> None:
    """An image file, in colour or not, at full or reduced size."""
    from tl_toolkit.data.images import open_image

    path = _written("image", data[1:])
    shape = data[0] if data else 0
    with _only_toolkit_errors():
        channels = 1 if shape & 1 else 3
        opened = open_image(path, channels, min_size=8 if shape & 2 else 0)
        if opened.mode != ("L" if channels == 1 else "RGB"):
            raise ModelFileError(f"mode {opened.mode}")


def _image_seeds() -> list[bytes]:
    import numpy as np
    from PIL import Image

    gradient = np.arange(24 * 16 * 3, dtype=np.uint16).reshape(24, 16, 3) * 57
    eight = (gradient // 257).astype(np.uint8)
    colour = Image.fromarray(eight)
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (colour, "PNG", {}),
        (colour, "PNG", {"exif": exif}),
        (colour.convert("P"), "PNG", {"transparency": 3}),
        (colour.convert("LA"), "PNG", {}),
        (colour.convert("1"), "PNG", {}),
        (Image.fromarray(gradient[:, :, 0]), "PNG", {}),
        (colour, "JPEG", {}),
        (colour.resize((64, 64)), "JPEG", {"exif": exif, "progressive": True}),
        (colour.convert("CMYK"), "JPEG", {}),
        (colour, "GIF", {"save_all": True, "append_images": [colour.rotate(90)]}),
        (colour, "BMP", {}),
        (colour, "TIFF", {"compression": "tiff_lzw"}),
        (colour.convert("CMYK"), "TIFF", {"exif": exif}),
        (Image.fromarray(gradient[:, :, 1]), "TIFF", {}),
        (colour.convert("RGBA"), "WEBP", {}),
        (colour, "PPM", {}),
        (colour, "TGA", {}),
        (colour, "ICO", {"sizes": [(16, 16)]}),
        (colour, "JPEG2000", {}),
    ]
    seeds = []
    for index, (picture, form, options) in enumerate(pictures):
        file = io.BytesIO()
        picture.save(file, form, **options)
        seeds.append(bytes([index % 4]) + file.getvalue())
    return seeds


TARGETS = {
    "config": Target(config, _config_seeds),
    "card": Target(metadata, _card_seeds, json_after=0),
    "model": Target(model, _model_seeds, json_after=1),
    "weights": Target(weights, _weights_seeds),
    "checkpoint": Target(checkpoint, _checkpoint_seeds, json_after=1),
    "metrics": Target(metrics, _metrics_seeds, json_after=0),
    "summary": Target(summary, _summary_seeds, json_after=0),
    "image": Target(image, _image_seeds),
}
