"""Sources: from what a user names to samples with class names."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.names import SOURCES, candidates
from tl_toolkit.errors import UnknownNameError, UsageError
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
    """

    name: str
    splits: dict[str, Samples]
    class_names: tuple[str, ...]
    allow_hflip: bool = True
    root: Path | None = None
    notes: list[str] = field(default_factory=list)

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
    """How to open a source.

    Attributes:
        data_root: Folder of downloaded datasets.
        download: Fetch what is missing.
        progress: Called with the progress of a download.
    """

    data_root: Path = Path("datasets")
    download: bool = False
    progress: ProgressCallback | None = None


Opener = Callable[[Any, SourceOptions], Source | None]
"""Opens a kind of source: by a spec, or returns None for a spec of another kind."""


def open_source(
    spec: Any, data_root: Path = Path("datasets"), download: bool = False, progress: ProgressCallback | None = None
) -> Source:
    """Open images of any origin.

    Args:
        spec: A folder, "digits", "torchvision:NAME", a map-style dataset of (image, target) pairs, an
            (images, targets) pair of arrays or tensors, or "SOURCE:NAME" for a source of another package.
        data_root: Folder of torchvision's datasets.
        download: Fetch a dataset that is not there.
        progress: Called with the progress of the download.

    Raises:
        UsageError: No source answers to the spec.
        DataError: The source that answers to it is not as expected.
    """
    spec = str(spec) if isinstance(spec, Path) else spec
    for name in candidates(spec):
        opener: Opener = SOURCES.get(name)
        if source := opener(spec, SourceOptions(data_root, download, progress)):
            return source
    raise UsageError(
        f"Data must be a folder, a name, a map-style dataset or an (images, targets) pair, not {type(spec).__name__}."
    )
