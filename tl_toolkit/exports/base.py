"""The seam of export formats: what a format is. It imports no torch, so that help can name the formats."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from tl_toolkit.config.choices import EXPORT_FORMATS
from tl_toolkit.errors import UsageError
from tl_toolkit.events import Callback, log_event
from tl_toolkit.system.extras import check_extra
from tl_toolkit.text import join_names, named

if TYPE_CHECKING:
    import torch

    from tl_toolkit.data.samples import Samples
    from tl_toolkit.exports.comparison import CheckBatch
    from tl_toolkit.inference.classifier import ImageClassifier
    from tl_toolkit.model_file import ModelMetadata

Layout = Literal["own", "torchvision", "timm"]
Dtype = Literal["fp32", "fp16", "bf16", "int8"]


@dataclass(frozen=True)
class ExportOptions:
    """How a model is written; a format refuses what it cannot do.

    Attributes:
        layout: Names that the weights have: the network's own, or those of the library's same network.
        dtype: Type of the weights.
        with_preprocessing: Whether the file also holds resizing, cropping, normalisation and softmax.
        allow_loss: Whether a file is kept that loses more than a point of accuracy on val.
    """

    layout: Layout = "own"
    dtype: Dtype = "fp32"
    with_preprocessing: bool = False
    allow_loss: bool = False


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written.

    Attributes:
        model: A copy of the model on the CPU, in fp32 and eval mode, which may be changed.
        options: How.
        open_val: Returns the images of val, with the model's class indices as targets.
        callback: Called with what takes long, and with decisions.
    """

    model: "ImageClassifier"
    options: ExportOptions
    open_val: Callable[[], "Samples"]
    callback: Callback = log_event


class ExportFormat(ABC):
    """A file format for a trained model, registered by its name for `tl export --to` and `--save`.

    Attributes:
        description: What the file holds, for help.
        file: Its name in a run folder.
        layouts: Names that the weights can have.
        dtypes: Types that they can have.
        preprocessing: Whether the file can hold the preprocessing.
        names_classes: Whether any program finds the class names in the file; else `tl export` prints them.
        needs: Packages that the format needs and the toolkit does not, each with the extra that brings it.
    """

    description: ClassVar[str]
    file: ClassVar[str]
    layouts: ClassVar[tuple[Layout, ...]] = ("own",)
    dtypes: ClassVar[tuple[Dtype, ...]] = ("fp32",)
    preprocessing: ClassVar[bool] = False
    names_classes: ClassVar[bool] = False
    needs: ClassVar[Mapping[str, str]] = {}

    def check(self, name: str, metadata: "ModelMetadata", options: ExportOptions) -> None:
        """Refuse options that the format does not have, before any work.

        Args:
            name: The format's name.
            metadata: Of the model.
            options: What is asked for.

        Raises:
            UsageError: An option is not for this format or this model, or a library is not installed.
        """
        del metadata
        for package, extra in self.needs.items():
            check_extra(package, extra, f"The export format {name}")
        if options.dtype not in self.dtypes:
            raise UsageError(f"{name} has weights of {join_names(self.dtypes)}, not {named('dtype', options.dtype)}.")
        if options.with_preprocessing and not self.preprocessing:
            able = [each for each in EXPORT_FORMATS if export_format(each).preprocessing]
            raise UsageError(
                f"{name} cannot hold the preprocessing: leave {named('with_preprocessing')} out, or choose "
                f"{join_names(able)}."
            )
        if options.layout not in self.layouts:
            raise UsageError(
                f"{name} has the layout {join_names(self.layouts)} of the weights' names, not "
                f"{named('layout', options.layout)}."
            )

    @abstractmethod
    def write(self, request: ExportRequest, path: Path) -> Mapping[str, Any]:
        """Write a model to a new file.

        Args:
            request: The model, and how to write it.
            path: The file, which does not exist; it gets its name after its outputs were compared with the model's.

        Returns:
            What the note beside the file says of it, as plain values for JSON.

        Raises:
            ToolkitError: The file cannot be written.
        """

    def open_outputs(self, request: ExportRequest, path: Path) -> "Callable[[CheckBatch], torch.Tensor] | None":
        """Load the file again, as the programs do that it is for, and return what computes its outputs.

        Args:
            request: What `write` has written.
            path: The file.

        Returns:
            A function from images to outputs (N, classes), to be compared with `expected_outputs`; None if nothing can
            be compared.

        Raises:
            ToolkitError: The file cannot be loaded.
        """
        del request, path
        return None

    def code(self, request: ExportRequest, name: str) -> list[str]:
        """Return lines of Python that load the file without the toolkit, for the note beside it.

        Args:
            request: What is written.
            name: The file's name.
        """
        del request, name
        return []

    def expected_outputs(self, request: ExportRequest, batch: "CheckBatch") -> "torch.Tensor":
        """Return what the file is to compute: the model's logits (N, classes), float32."""
        return request.model.logits(batch.inputs)

    def tolerance(self, options: ExportOptions) -> float | None:
        """Return the largest difference that an output may have; None if any may, and the note says how large it is.

        Where the model's largest output is above 1, it is a share of that one. By default there must be no difference:
        the same bits.
        """
        del options
        return 0.0


ROUNDED = {"fp32": 0.0, "fp16": 0.01, "bf16": 0.1}
"""Largest difference of an output, as a share of the largest one where that is above 1, by the type of the weights."""


def export_format(name: str) -> ExportFormat:
    """Return a format by its name.

    Raises:
        UnknownNameError: There is no such format.
    """
    kind: type[ExportFormat] = EXPORT_FORMATS.get(name)
    return kind()
