"""Sources: from what a user names to samples with class names."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from tl_toolkit.config.choices import DataTask, Task
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.names import SOURCES, candidates, may_open
from tl_toolkit.data.targets import problem_with
from tl_toolkit.errors import DataError, UnknownNameError, UsageError
from tl_toolkit.io.download import ProgressCallback


@dataclass(frozen=True)
class Source:
    """Images of known classes.

    Attributes:
        name: Short, for the name of the run.
        splits: Samples of train, val and test, as far as there are any.
        class_names: In the order of the targets.
        allow_hflip: False if a mirrored image means something else, as in writing.
        root: Folder to which reports show file names relative, if there is one.
        notes: What a user should know about how the source was read.
        task: "multi-class" for one class an image, whose index is its target. "multi-label" for any number of classes
            and "soft" for shares of classes that sum to 1; a target is then a row of numbers from 0 to 1.
        checksums: SHA-256 of files that hold the images, hexadecimal, as noted when they were written, by path.
        class_remedy: What to do about a class without readable images, where there is no folder of it to remove.
    """

    name: str
    splits: dict[str, Samples]
    class_names: tuple[str, ...]
    allow_hflip: bool = True
    root: Path | None = None
    notes: list[str] = field(default_factory=list)
    task: Task = "multi-class"
    checksums: Mapping[str, str] = field(default_factory=dict)
    class_remedy: str = ""

    def split(self, name: str) -> Samples:
        """Return the samples of a split.

        Raises:
            UnknownNameError: The source has no such split.
        """
        if name not in self.splits:
            raise UnknownNameError(f"split of {self.name}", name, self.splits)
        return self.splits[name]


@dataclass(frozen=True)
class SourceOptions:
    """How to open a source: the settings of the same names, and where progress goes.

    Attributes:
        data_root: Folder of downloaded datasets.
        download: Fetch what is missing.
        streaming: Read a dataset of a hub in parts, instead of downloading all of it first.
        path_column: Column of a table with the images; None to find it by name.
        label_column: Columns of a table with the labels; several are a column a label. Empty to find it by name.
        label_separator: What separates several labels in a cell.
        split_column: Column of a table with train, val or test; None to find it by name.
        group_column: Column of a table with what must not be divided between splits, such as a patient.
        image_root: Folder or URL that paths of a table are relative to; None for that of the table.
        task: "auto" to tell by the labels; see `Source`.
        cache_size: Bound of the cache of remote files, as text such as "10GiB"; None for the default.
        progress: Called with the progress of a download.
    """

    data_root: Path = Path("datasets")
    download: bool = False
    streaming: bool = False
    path_column: str | None = None
    label_column: tuple[str, ...] = ()
    label_separator: str | None = None
    split_column: str | None = None
    group_column: str | None = None
    image_root: str | None = None
    task: DataTask = "auto"
    cache_size: str | None = None
    progress: ProgressCallback | None = None

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], progress: ProgressCallback | None = None) -> Self:
        """Take what concerns sources from the settings of a run, by name."""
        names = {field.name for field in fields(cls)}
        values = {name: value for name, value in settings.items() if name in names}
        if "data_root" in values:
            values["data_root"] = Path(values["data_root"])
        if "label_column" in values:
            values["label_column"] = tuple(values["label_column"])
        return cls(**values, progress=progress)


TASKS: Mapping[Task, str] = {
    "multi-class": "each image has one class",
    "multi-label": "an image may have any number of labels",
    "soft": "each image has shares of the classes",
}

Opener = Callable[[Any, SourceOptions], Source | None]
"""Opens a kind of source: by a spec, or returns None for a spec of another kind."""


def open_source(spec: Any, options: SourceOptions | None = None, **settings: Any) -> Source:
    """Open images of any origin.

    Args:
        spec: A folder, "digits", "torchvision:NAME", a map-style dataset of (image, target) pairs, an
            (images, targets) pair of arrays or tensors, or "SOURCE:NAME" for a source of another package.
        options: How to open it; None to take `settings`.
        settings: The fields of `SourceOptions`.

    Raises:
        UsageError: No source answers to the spec.
        DataError: The source that answers to it is not as expected.
    """
    spec = str(spec) if isinstance(spec, Path) else spec
    options = options or SourceOptions(**settings)
    for name in candidates(spec):
        if not may_open(name, spec):
            continue
        opener: Opener = SOURCES.get(name)
        if source := opener(spec, options):
            _check_targets(source, options.task)
            return source
    raise UsageError(
        f"Data must be a folder, a name, a map-style dataset or an (images, targets) pair, not {type(spec).__name__}."
    )


def _check_targets(source: Source, task: DataTask) -> None:
    """Refuse data of another task than the user says, and targets that are not those of the source's own task."""
    if task not in ("auto", source.task):
        advice = (
            " Several labels an image are written in a table, such as labels.csv with the columns path and label."
            if source.task == "multi-class"
            else ""
        )
        raise DataError(f"{source.name} is {source.task} data, not {task}: {TASKS[source.task]}.{advice}")
    for split, samples in source.splits.items():
        if problem := problem_with(samples.targets, source.task, source.class_names):
            raise DataError(f"{split} of {source.name}: {problem}")
