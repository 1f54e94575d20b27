"""Images with a model's predictions, for a grid that shows how the model does."""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from PIL.Image import Image

from tl_toolkit.data.images import open_image
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.splits import stratified_sample
from tl_toolkit.data.targets import name_target, target_of
from tl_toolkit.errors import ImageError
from tl_toolkit.inference.prediction import Prediction
from tl_toolkit.inference.predictor import Predictor
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.report.image_grid import MAX_IMAGES, LabelledImage


def choose_sample(samples: Samples, seed: int) -> Samples:
    """Return as many images of every class as a grid holds."""
    count = min(MAX_IMAGES, len(samples))
    return samples.subset(stratified_sample(samples.targets, samples.names(), count, seed)[1])


def sample_images(model: Predictor, samples: Samples, seed: int) -> list[LabelledImage]:
    """Return images of every class with the model's predictions.

    Args:
        model: From `load`.
        samples: Their targets index the model's own classes.
        seed: Another seed chooses other images.
    """
    chosen = choose_sample(samples, seed)
    channels = model.input_spec.channels
    open_one = partial(call_with_stall_guard, chosen.open) if chosen.are_encoded else chosen.open
    images: list[LabelledImage] = []
    for index in range(len(chosen)):
        try:
            image = open_one(index, channels)
        except ImageError:
            continue  # The check of the split, or the evaluation, reports it.
        prediction = model.predict(image, top_k=1)
        target = target_of(chosen.targets, index)
        if model.task == "soft" and not isinstance(target, int):
            target = max(target, key=lambda share: share[1])[0]
        images.append(_labelled(model, image, prediction, name_target(target, model.class_names)))
    return images


def _labelled(model: Predictor, image: Image, prediction: Prediction, truth: str | None) -> LabelledImage:
    """Return an image with its prediction; several labels are in the order of the model's classes, as the truth is."""
    if prediction.labels is None:
        return LabelledImage(image, prediction.class_name, prediction.probability, truth)
    given = {label.class_name for label in prediction.labels}
    target = tuple((index, 1.0) for index, name in enumerate(model.class_names) if name in given)
    return LabelledImage(image, name_target(target, model.class_names), None, truth)


def predicted_images(model: Predictor, predictions: Iterable[Prediction]) -> list[LabelledImage]:
    """Return the images of predictions; the name of an image's folder is the truth if it names a class."""
    images: list[LabelledImage] = []
    for prediction in predictions:
        folder = Path(prediction.path).absolute().parent.name
        truth = folder if folder in model.class_names and model.task != "multi-label" else None
        image = call_with_stall_guard(open_image, prediction.path, model.input_spec.channels)
        images.append(_labelled(model, image, prediction, truth))
    return images
