"""Export: a trained model as a file for other programs, compared with the model before it is kept."""

from pathlib import Path
from typing import Any

from tl_toolkit.events import Callback, log_event
from tl_toolkit.exports.base import Dtype, ExportOptions, Layout, export_format
from tl_toolkit.exports.images import images_named, images_of_run, open_val
from tl_toolkit.exports.writing import Export, export_model
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import find_model_file, load
from tl_toolkit.io.files import expand_path


def export(
    model: str | Path | ImageClassifier,
    to: str,
    *,
    out: str | Path | None = None,
    layout: Layout = "own",
    dtype: Dtype = "fp32",
    with_preprocessing: bool = False,
    verify: Any = None,
    allow_loss: bool = False,
    force: bool = False,
    trust: bool = False,
    callback: Callback = log_event,
) -> Export:
    """Write a model in a format for other programs.

    Before the file gets its name, it is loaded again and must give the model's outputs on real images. A note beside
    it, its name with ".json", says what is in it.

    Args:
        model: A run folder, a model file, or a model from `load`.
        to: Name of the format, such as "state-dict".
        out: The file; by default one beside the model, named after the format.
        layout: Names that the weights have in the file.
        dtype: Type that they have.
        with_preprocessing: Whether the file also resizes, crops, normalises, and returns probabilities.
        verify: Images to compare on: a folder or a file of images, or anything `open_source` takes. By default 32 of
            the data that the model was trained on.
        allow_loss: Keep a quantized file that loses more than a point of accuracy.
        force: Replace a file that exists.
        trust: Load a full model even if code in it would run.
        callback: Receives decisions, warnings and progress.

    Raises:
        UnknownNameError: There is no such format.
        UsageError: The file exists, or an option is not for this format or model.
        ToolkitError: The file cannot be written, or gives other outputs than the model.
    """
    form, options = export_format(to), ExportOptions(layout, dtype, with_preprocessing, allow_loss)
    origin = "" if isinstance(model, ImageClassifier) else str(model)
    loaded = model if isinstance(model, ImageClassifier) else load(model, device="cpu", precision="fp32", trust=trust)
    form.check(to, loaded.metadata, options)
    path = expand_path(out) if out is not None else _beside(origin) / form.file
    check = images_of_run(loaded.metadata, callback) if verify is None else images_named(verify)
    val = open_val(loaded.metadata)
    return export_model(loaded, to, path, check, options, val, origin=origin, replace=force, callback=callback)


def _beside(origin: str) -> Path:
    """Return the folder of a model: that of the run or of the file; the working directory if it has neither."""
    return find_model_file(origin).parent if origin else Path()
