"""Preprocessing without torch: the bits that torchvision and torch compute."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from tl_toolkit.data.preprocessing import Preprocessing, _crop_centre, to_array
from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.input_spec import IMAGENET_MEAN, InputSpec


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng(width * 100 + height).integers(1, 256, shape, np.uint8))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_crop_centre_cuts_and_pads_as_torchvision(mode: str):
    sizes = (1, 2, 5, 6, 7, 8, 9, 12, 13)
    for width, height in itertools.product(sizes, sizes):
        image = noise(width, height, mode)
        for wanted_width, wanted_height in ((6, 6), (7, 7), (6, 7), (9, 2)):
            expected = functional.center_crop(image, [wanted_height, wanted_width])
            assert np.array_equal(_crop_centre(image, wanted_width, wanted_height), expected)


def test_normalize_gives_the_bits_of_torch():
    every = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3).transpose(0, 3, 1, 2)
    for mean, std in (
        (IMAGENET_MEAN, (0.229, 0.224, 0.225)),
        ((0.5,) * 3, (0.5,) * 3),
        ((0.1, 1.3, -2.0), (3, 0.01, 7.7)),
    ):
        spec = InputSpec(mean=mean, std=std)
        found = Preprocessing(spec).normalize(every)
        expected = Normalize(spec)(torch.from_numpy(every.copy()))
        assert found.dtype == np.float32
        assert found.tobytes() == expected.contiguous().numpy().tobytes()


def test_eval_transform_gives_the_same_pixels_as_a_tensor():
    spec = InputSpec(height=8, width=12)
    for size in ((64, 32), (5, 70), (300, 2)):
        image = noise(*size)
        found = EvalTransform(spec)(image)
        assert (found.dtype, tuple(found.shape)) == (torch.uint8, (3, 8, 12))
        assert np.array_equal(found, Preprocessing(spec).pixels(image))


def test_to_array_of_grayscale_has_one_channel():
    assert to_array(noise(3, 2, "L")).shape == (1, 2, 3)
    assert to_array(noise(3, 2)).shape == (3, 2, 3)
