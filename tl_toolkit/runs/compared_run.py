"""A run or a model as `tl compare` sees it: what it was trained with, and what it measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import ToolkitError
from tl_toolkit.inference.loading import find_model_file
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.files import display_data, display_path, is_file
from tl_toolkit.io.own_files import CONFIG_FILE, MODEL_FILE
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import ModelMetadata, read_metadata
from tl_toolkit.runs.folder import find_run, locate_run
from tl_toolkit.runs.predictions_file import PREDICTIONS_FILE, read_predictions
from tl_toolkit.runs.summary import SUMMARY_FILE, read_summary

FACTS = ("arch", "weights", "data", "task", "classes")
"""Of a summary, in the place of settings such as `arch: auto`."""

CIRCUMSTANCES = ("device", "precision", "threads")
"""As they turned out to be; the settings are mostly "auto"."""

UNIMPORTANT = (
    "out", "workers", "checkpoint_every", "download", "data_root", "report", "tensorboard", "save", "feature_cache",
    "cache_size",
)  # fmt: skip
"""Settings that neither the weights nor their results depend on."""

MAX_VALUE = 40
"""Characters of a value in the table of differences."""


@dataclass(frozen=True)
class ComparedRun:
    """A run folder, or a model file.

    Attributes:
        place: Its path, to show.
        settings: Those of the run, with the defaults.
        summary: The content of summary.json; empty for a run that is not finished, and for a model file.
        model: The model file; None if the run has none yet.
        metadata: Of the model.
        folder: The run folder; None for a model file.
    """

    place: str
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    model: Path | None
    metadata: ModelMetadata | None
    folder: Path | None

    @property
    def refit_on_val(self) -> bool:
        """Whether the model learned from val after val was scored."""
        note = self.metadata.split_note if self.metadata else None
        return bool(self.summary.get("refit_on_val")) or bool(note and "val" in note.learned)

    def has_split(self, split: str) -> bool:
        """Return whether the run has measured a split."""
        found = self.summary or (self.metadata.metrics if self.metadata else {})
        return bool(found.get(f"{split}_images"))

    def facts(self) -> dict[str, str]:
        """Return what the run was trained with and from, in words by name."""
        found = {name: value for name, value in self.settings.items() if name not in CIRCUMSTANCES}
        if metadata := self.metadata:
            found |= {"arch": metadata.architecture, "weights": metadata.weights, "head": metadata.head}
            found |= {"task": metadata.task, "classes": len(metadata.class_names), "input": _input(metadata.input_spec)}
        found |= {name: self.summary[name] for name in (*FACTS, *CIRCUMSTANCES) if name in self.summary}
        if self.summary:
            found["images"] = ", ".join(f"{self.summary[f'{split}_images']} {split}" for split in self._splits())
        if isinstance(found.get("data"), str):
            found["data"] = display_data(found["data"])
        first = (*FACTS, "images")
        ordered = [*first, *(name for name in found if name not in (*first, *CIRCUMSTANCES)), *CIRCUMSTANCES]
        versions = self.summary.get("versions") or (self.metadata.versions if self.metadata else {})
        plain = {name: _shown(found[name]) for name in ordered if name in found and name not in UNIMPORTANT}
        return plain | {f"{name} version": str(version) for name, version in versions.items()}

    def _splits(self) -> list[str]:
        return [split for split in ("train", "val", "test") if self.summary.get(f"{split}_images")]

    def saved_predictions(self, split: str) -> Predictions | None:
        """Return what the finished run kept of a split; None if it kept nothing.

        Raises:
            ToolkitError: The file is damaged.
        """
        if not self.folder or not self.summary:  # Those of a run that was resumed, and is not finished, are old.
            return None
        found = (read_predictions(self.folder) or {}).get(split)
        classes = len(self.class_names)
        if found is not None and found.logits.shape[1] != classes and (found.logits.shape[1], classes) != (1, 2):
            raise ToolkitError(
                f"{self.folder / PREDICTIONS_FILE} has {found.logits.shape[1]} classes, but {SUMMARY_FILE} {classes}. "
                "Remove it, and compare the models with `tl compare RUN RUN --data DATA`."
            )
        return found

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, in the order of the logits; none where nothing says them."""
        return self.summary.get("class_names") or (self.metadata.class_names if self.metadata else ())


def read_compared(place: str) -> ComparedRun:
    """Read a run folder, by its path or its name under runs/, or a model file.

    Raises:
        UsageError: There is none.
        ToolkitError: A file is damaged.
    """
    path = locate_run(place)
    if not is_file(path / CONFIG_FILE) and (is_file(path) or is_file(path / MODEL_FILE)):
        file = find_model_file(path)
        of_file = read_metadata(file)
        return ComparedRun(display_path(file), _with_defaults(of_file.training), {}, file, of_file, None)
    folder = find_run(path)
    settings = _with_defaults(read_config_file(folder / CONFIG_FILE))
    model = folder / MODEL_FILE if is_file(folder / MODEL_FILE) else None
    metadata = read_metadata(model) if model else None
    return ComparedRun(display_path(folder), settings, read_summary(folder) or {}, model, metadata, folder)


def differing(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str]]]:
    """Return the settings and facts that differ between runs, with the values of each."""
    facts = [run.facts() for run in runs]
    names = dict.fromkeys(name for found in facts for name in found)
    known = {name: {found[name] for found in facts if name in found} for name in names}
    return [
        (name, [shortened(found.get(name, "not known")) for found in facts]) for name in names if len(known[name]) > 1
    ]


def shortened(value: str) -> str:
    """Return a value without its middle, if it is long."""
    if len(value) <= MAX_VALUE:
        return value
    kept = (MAX_VALUE - 3) // 2
    return f"{value[: MAX_VALUE - 3 - kept]}...{value[-kept:]}"


def _with_defaults(values: Mapping[Any, Any]) -> dict[str, Any]:
    return FinetuneConfig().to_dict() | {str(name): value for name, value in values.items()}


def _shown(value: object) -> str:
    """Return a setting in words."""
    if value is None or value == []:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _input(spec: InputSpec) -> str:
    return f"{spec.height}x{spec.width}, {spec.interpolation}, {spec.crop} {spec.crop_fraction:g}"
