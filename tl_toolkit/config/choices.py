"""The values of settings with a fixed set of choices."""

from collections.abc import Iterator
from typing import Any, Literal

from tl_toolkit.registry import Registry

Head = Literal["swap", "append", "mlp"]
Task = Literal["multi-class", "multi-label", "soft"]
DataTask = Literal["auto", "multi-class", "multi-label", "soft"]
Tune = Literal["auto", "linear-probe", "last-stage", "full", "lp-ft"]
Norm = Literal["frozen", "batch"]
Scheduler = Literal["cosine", "one-cycle", "step", "constant"]
Augment = Literal["none", "pad-crop", "light", "strong"]
Loss = Literal["cross-entropy", "bce"]
SubsetOrder = Literal["stratified", "in-order"]
Duplicates = Literal["warn", "drop", "fail"]
Sampler = Literal["shuffle", "balanced"]
ClassWeights = Literal["none", "balanced"]
Precision = Literal["auto", "bf16", "fp32"]


EXPORT_FORMATS: Registry[Any] = Registry(
    "export format",
    "tl_toolkit.exports",
    {
        "state-dict": "tl_toolkit.exports.state_dict:StateDict",
        "full-model": "tl_toolkit.exports.full_model:FullModel",
        "safetensors": "tl_toolkit.exports.safetensors:Safetensors",
        "backbone": "tl_toolkit.exports.backbone:Backbone",
        "torch-export": "tl_toolkit.exports.torch_export:TorchExport",
        "onnx": "tl_toolkit.exports.onnx:Onnx",
    },
)
"""Classes of `tl_toolkit.exports.base.ExportFormat` by name."""


def save_formats() -> Iterator[str]:
    """Yield the formats that a run can also be saved in: all but safetensors, which every run has."""
    return (name for name in EXPORT_FORMATS if name != "safetensors")


KINDS = (
    "a folder, a table (.csv, .tsv, .jsonl or .parquet), shards (.tar), `digits`, `torchvision:NAME` or `hf:ORG/NAME`"
)
"""What a user may call data."""

DIGITS = "digits"
"""The dataset that comes with the toolkit."""

RESUMABLE = {
    "accumulate",
    "epochs",
    "workers",
    "threads",
    "checkpoint_every",
    "time_budget",
    "data",
    "data_root",
    "image_root",
    "streaming",
}
"""Settings that may change when a run resumes; the contents of its images must not."""

MAX_THREADS = 1024
"""The system would kill a process with far more."""

NAMED_WEIGHTS = ("auto", "imagenet", "package", "bundled", "none")
"""Weights that are not a file, URL or repository."""
