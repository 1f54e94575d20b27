"""The seam of export formats: what a format is. It imports no torch, so that help can name the formats."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from tl_toolkit.config.choices import EXPORT_FORMATS

if TYPE_CHECKING:
    from torch import nn

    from tl_toolkit.model_file import ModelMetadata

Layout = Literal["own", "torchvision"]


class ExportFormat(ABC):
    """A file format for a trained model, registered by its name for `tl export --to` and `--save`.

    Attributes:
        description: What the file holds, for help.
        file: Its name in a run folder.
        layouts: Names that the weights can have: the network's own, or torchvision's of the same network.
        names_classes: Whether any program finds the class names in the file; else `tl export` prints them.
    """

    description: ClassVar[str]
    file: ClassVar[str]
    layouts: ClassVar[tuple[Layout, ...]] = ("own",)
    names_classes: ClassVar[bool] = False

    @abstractmethod
    def write(self, module: "nn.Module", metadata: "ModelMetadata", path: Path, layout: Layout) -> None:
        """Write a model, replacing the file if it exists.

        Args:
            module: A network in eval mode on the CPU, which may be changed.
            metadata: Its class names, its preprocessing and its origin.
            path: The file to write; see `tl_toolkit.io.files.atomic_file`.
            layout: One of `layouts`.

        Raises:
            ToolkitError: The file cannot be written.
        """


def export_format(name: str) -> ExportFormat:
    """Return a format by its name.

    Raises:
        UnknownNameError: There is no such format.
    """
    kind: type[ExportFormat] = EXPORT_FORMATS.get(name)
    return kind()
