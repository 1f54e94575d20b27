"""Choosing images and predicting them, for a picture of how a model does."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from tl_toolkit.data.images import open_image
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.splits import stratified_sample
from tl_toolkit.errors import ImageError
from tl_toolkit.inference.classifier import ImageClassifier, Prediction
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.report.image_grid import MAX_PICTURES, LabelledImage


def draw_sample(samples: Samples, seed: int) -> Samples:
    """As many images of every class as a picture has room for; all of them where there are no more."""
    count = min(MAX_PICTURES, len(samples))
    return samples.subset(stratified_sample(samples.targets, samples.names(), count, seed)[1])


def sample_pictures(model: ImageClassifier, samples: Samples, seed: int) -> list[LabelledImage]:
    """Images of every class, with what the model says of them.

    Args:
        model: From `load`.
        samples: Their targets are the model's own.
        seed: Another seed draws other images.
    """
    chosen = draw_sample(samples, seed)
    channels = model.input_spec.channels
    open_one = partial(call_with_stall_guard, chosen.open) if chosen.are_files else chosen.open
    pictures: list[LabelledImage] = []
    for index in range(len(chosen)):
        try:
            image = open_one(index, channels)
        except ImageError:
            continue  # It was reported when the split was checked, or is judged as unreadable elsewhere.
        said = model.predict(image, top_k=1)
        pictures.append(
            LabelledImage(image, said.class_name, said.probability, model.class_names[chosen.targets[index]])
        )
    return pictures


def predicted_pictures(model: ImageClassifier, predictions: Iterable[Prediction]) -> list[LabelledImage]:
    """The images of predictions; in a folder that has the name of a class, that is the truth."""
    pictures: list[LabelledImage] = []
    for said in predictions:
        folder = Path(said.path).absolute().parent.name
        image = call_with_stall_guard(open_image, said.path, model.input_spec.channels)
        pictures.append(
            LabelledImage(image, said.class_name, said.probability, folder if folder in model.class_names else None)
        )
    return pictures
