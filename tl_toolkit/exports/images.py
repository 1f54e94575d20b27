"""Images that an exported file is compared on, and the labelled ones that some formats need."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.seen_images import EVAL_SPLITS, choose_eval_split
from tl_toolkit.data.sources.base import Source, SourceOptions, open_source
from tl_toolkit.data.sources.listing import IMAGE_ENDINGS, images_below
from tl_toolkit.data.sources.names import PYTHON_PREFIX
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import Callback, WarningEvent
from tl_toolkit.exports.comparison import CheckImages
from tl_toolkit.inference.scoring import remap_targets
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.model_file import ModelMetadata

CHECKED = 32
"""Images that a file is compared on if the user names none: spread evenly over a split."""


def check_images_of(samples: Samples, source: str, most: int | None = CHECKED) -> CheckImages:
    """Return images of a split to compare outputs on.

    Args:
        samples: The split.
        source: Where they are from, in words.
        most: Number of images, spread evenly; None for all.
    """
    step = 1 if most is None else max(1, len(samples) // most)
    indices = list(range(0, len(samples), step))[:most]
    return CheckImages([samples.read(index) for index in indices], source)


def images_of_run(metadata: ModelMetadata, callback: Callback) -> CheckImages:
    """Return images of the data that a model was trained on; without them, of the digits that come with the toolkit.

    Args:
        metadata: Of the model.
        callback: Called with a warning if the images of the run cannot be opened.
    """
    try:
        source = _data_of_run(metadata)
        split = next(name for name in (*EVAL_SPLITS, "train") if name in source.splits)
        return check_images_of(source.split(split), f"{split} of {source.name}")
    except ToolkitError as error:
        instead = "the digits that come with tl"
        callback(
            WarningEvent(f"The images of the run cannot be used to check the file: {error} It is checked on {instead}.")
        )
        return check_images_of(open_source(DIGITS).split("test"), instead)


def images_named(spec: Any) -> CheckImages:
    """Return what the user wants a file to be compared on: unlabelled images, or all of a source's best split.

    Args:
        spec: A folder or a file of images, or anything `open_source` takes.

    Raises:
        ToolkitError: It cannot be opened.
    """
    if isinstance(spec, str | Path):
        place = expand_path(spec)
        if is_file(place) and place.suffix[1:].lower() in IMAGE_ENDINGS:
            return CheckImages([place], str(spec))
        if is_folder(place) and (found := images_below(place)[0]):
            return CheckImages(found, str(spec))
    source = spec if isinstance(spec, Source) else open_source(spec, SourceOptions())
    split = next(name for name in ("test", "val", "train") if name in source.splits)
    return check_images_of(source.split(split), f"{split} of {source.name}", None)


def open_val(metadata: ModelMetadata) -> Callable[[], Samples]:
    """Return a function that returns the images of a run's val, with the model's class indices as targets.

    Its errors are a ToolkitError that says why there are none.
    """

    def opened() -> Samples:
        source = _data_of_run(metadata)
        samples = choose_eval_split(metadata, source, "val", lambda _: None).samples
        return remap_targets(samples, source.class_names, metadata.class_names)

    return opened


def _data_of_run(metadata: ModelMetadata) -> Source:
    """Return the data that a model was trained on.

    Raises:
        ToolkitError: They cannot be opened.
    """
    training: Any = metadata.training
    data = training.get("data")
    if not data or str(data).startswith(PYTHON_PREFIX):
        raise UsageError("The model file does not name them.")
    return open_source(data, SourceOptions.from_settings(training))
