import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.corpus import Bad, Good, Kind, kinds, quarters
from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.images import open_image
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.errors import ImageError
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.text import printable
from tl_toolkit.training.device import select_device

WIDE, FLAT = InputSpec(height=32, width=32), InputSpec(channels=1, height=24, width=40, mean=(0.5,), std=(0.5,))


def outcome(read: Callable[[], Image.Image]) -> Image.Image | str:
    try:
        return read()
    except ImageError as error:
        return error.reason


def shows(image: Image.Image, expected: Good) -> bool:
    """Whether an image has the colours of its four quarters."""
    pairs = zip(quarters(image), expected.colours, strict=True)
    return all(abs(one - other) <= expected.tolerance for pair in pairs for one, other in zip(*pair, strict=True))


def is_as_expected(found: Image.Image | str, expected: Good | Bad) -> bool:
    if isinstance(found, str) or isinstance(expected, Bad):
        return isinstance(found, str) and isinstance(expected, Bad) and bool(re.fullmatch(expected.reason, found))
    return found.size == expected.size and shows(found, expected)


def test_open_image_of_every_kind_shows_it_or_says_why_not(corpus: dict[str, Kind]):
    wrong = []
    for path, kind in corpus.items():
        found = outcome(lambda path=path: open_image(path))
        told = found if isinstance(found, str) else f"{found.width} x {found.height}, {quarters(found)}"
        print(f"{printable(kind.name)[:48]:50}{printable(told)}")
        if not is_as_expected(found, kind.expected):
            wrong.append(f"{printable(kind.name)}: {told}, expected {kind.expected}")
    good = sum(isinstance(kind.expected, Good) for kind in corpus.values())
    print(f"{len(corpus)} files: {good} decoded, {len(corpus) - good} listed")
    assert wrong == []
    assert len(corpus) >= 220
    assert len(list(Path(next(iter(corpus))).parent.iterdir())) == len(corpus)


def test_kinds_have_names_of_their_own_and_reasons_where_they_are_left_out():
    names = [kind.name for kind in kinds()]
    assert len(set(names)) == len(names)
    left_out = [(kind.name, kind.needs) for kind in kinds() if kind.needs]
    print("left out:", left_out)
    assert len(left_out) <= 5


def model_of(spec: InputSpec) -> ImageClassifier:
    """A model that is all preprocessing."""
    metadata = ModelMetadata(
        architecture="timm:lenet5_cifar",
        arch_options={},
        one_logit=False,
        loss="cross-entropy",
        head="swap",
        base_classes=10,
        class_names=("a", "b"),
        input_spec=spec,
        weights="none",
        training={},
        versions={},
    )
    return ImageClassifier(torch.nn.Flatten(), metadata, select_device("cpu", "fp32"))


@pytest.mark.parametrize("spec", [WIDE, FLAT])
def test_every_kind_is_the_same_in_training_and_prediction(corpus: dict[str, Kind], spec: InputSpec):
    paths = list(corpus)
    dataset = eval_images(Samples(FileImages(paths), [0] * len(paths)), spec)
    model = model_of(spec)
    differing = []
    for index, path in enumerate(paths):
        seen = []
        for read in (lambda index=index: dataset[index][0], lambda path=path: model.to_pixels(path)):
            found = outcome(read)
            seen.append(found if isinstance(found, str) else (tuple(found.shape), found.numpy().tobytes()))
        good = isinstance(corpus[path].expected, Good)
        if seen[0] != seen[1] or isinstance(seen[0], str) == good:
            differing.append(printable(path))
        elif good:
            normalized = (torch.frombuffer(bytearray(seen[0][1]), dtype=torch.uint8).view(seen[0][0]),)
            assert torch.equal(model.transform(path), model.normalize(normalized[0]))
    assert differing == []


def test_eval_transform_of_a_strip_gives_what_resizing_all_of_it_gives():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 4000, 3), dtype=np.uint8)
    for image in (Image.fromarray(pixels), Image.fromarray(pixels.transpose(1, 0, 2))):
        spec = InputSpec(height=32, width=32)
        given = EvalTransform(spec)(image)
        short, side = min(image.size), spec.resize_to[0]
        whole = image.resize(tuple(round(length * side / short) for length in image.size), Image.Resampling.BILINEAR)
        left, top = ((length - 32) // 2 for length in whole.size)
        cropped = np.asarray(whole.crop((left, top, left + 32, top + 32))).transpose(2, 0, 1)
        assert np.abs(given.numpy().astype(int) - cropped).max() <= 1
