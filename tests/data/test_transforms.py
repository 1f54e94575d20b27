import numpy as np
import torch
from PIL import Image

from tl_toolkit.data.transforms import EvalTransform, Normalize, PadCrop, RandomCrop, train_transform
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.sampling.rng import keyed_uniform


def gradient(width: int, height: int) -> Image.Image:
    columns = np.linspace(0, 255, width).astype(np.uint8)
    return Image.fromarray(np.repeat(np.tile(columns, (height, 1))[:, :, None], 3, axis=2))


def draws(count: int) -> np.ndarray:
    return keyed_uniform((0,), range(count), 6)


def test_random_crop_of_given_numbers_takes_that_area():
    crop = RandomCrop(InputSpec(height=8, width=8), (0.25, 1.0), allow_hflip=True)
    whole = np.array([1 - 1e-9, 0.5, 0.0, 0.0, 0.9])
    assert torch.equal(
        crop(gradient(64, 64), whole), EvalTransform(InputSpec(height=8, width=8, crop_fraction=1.0))(gradient(64, 64))
    )
    assert torch.equal(
        crop(gradient(64, 64), np.array([1 - 1e-9, 0.5, 0.0, 0.0, 0.1])), crop(gradient(64, 64), whole).flip(2)
    )
    quarter = crop(gradient(64, 64), np.array([0.0, 0.5, 1.0, 0.0, 0.9]))
    assert 110 < quarter[0, 4, 0] < 150  # the right half
    assert quarter[0, 4, -1] > 230


def test_random_crop_of_a_strip_stays_inside():
    crop = RandomCrop(InputSpec(height=8, width=8), (0.35, 1.0), allow_hflip=False)
    for row in draws(20):
        assert crop(gradient(300, 3), row).shape == (3, 8, 8)


def test_eval_transform_center_crops_the_resized_short_side():
    pixels = EvalTransform(InputSpec(height=8, width=8, crop_fraction=0.5))(gradient(64, 32))
    assert pixels.shape == (3, 8, 8)
    assert 85 < pixels[0, 0, 0] < pixels[0, 0, -1] < 170  # a quarter of the width is left


def test_eval_transform_squash_keeps_the_whole_width():
    pixels = EvalTransform(InputSpec(height=8, width=8, crop="squash", crop_fraction=1.0))(gradient(64, 32))
    assert pixels[0, 0, 0] < 30
    assert pixels[0, 0, -1] > 225


def test_eval_transform_border_pads_the_short_side():
    pixels = EvalTransform(InputSpec(height=8, width=8, crop="border", crop_fraction=1.0))(
        Image.new("RGB", (64, 32), (255, 255, 255))
    )
    assert pixels[0, 0].sum() == 0
    assert pixels[0, 4].min() == 255


def test_eval_transform_of_extreme_shapes_gives_the_size():
    for size in ((1, 1), (1, 3000), (3000, 1)):
        assert EvalTransform(InputSpec(height=16, width=16))(Image.new("RGB", size)).shape == (3, 16, 16)


def test_random_transform_without_mirror_never_mirrors():
    transform = train_transform(InputSpec(height=8, width=8), "light", allow_hflip=False)
    assert all(pixels[0, 4, 0] < pixels[0, 4, -1] for pixels in (transform(gradient(64, 64), row) for row in draws(40)))


def test_random_transform_with_mirror_sometimes_mirrors():
    transform = train_transform(InputSpec(height=8, width=8), "strong", allow_hflip=True)
    mirrored = [bool(p[0, 4, 0] > p[0, 4, -1]) for p in (transform(gradient(64, 64), row) for row in draws(60))]
    assert 10 < sum(mirrored) < 50


def test_normalize_applies_mean_and_std():
    spec = InputSpec(channels=1, mean=(0.5,), std=(0.25,))
    assert torch.equal(
        Normalize(spec)(torch.tensor([[[[0, 255]]]], dtype=torch.uint8)), torch.tensor([[[[-2.0, 2.0]]]])
    )


def test_pad_crop_shifts_by_up_to_an_eighth_and_mirrors():
    transform = PadCrop(InputSpec(height=16, width=24), allow_hflip=True)
    images = torch.arange(1, 16 * 24 * 3 + 1).reshape(1, 3, 16, 24)
    still = torch.tensor([[0.5, 0.5, 0.9]])
    assert torch.equal(transform(images, still), images)
    assert torch.equal(transform(images, torch.tensor([[0.5, 0.5, 0.1]])), images.flip(3))
    up = transform(images, torch.tensor([[0.999, 0.5, 0.9]]))  # two rows of black come in below
    assert torch.equal(up[:, :, :14], images[:, :, 2:])
    assert up[:, :, 14:].sum() == 0
    right = transform(images, torch.tensor([[0.5, 0.0, 0.9]]))
    assert torch.equal(right[..., 3:], images[..., :-3])
    assert right[..., :3].sum() == 0


def test_pad_crop_without_mirroring_never_mirrors():
    images = torch.arange(64).reshape(1, 1, 8, 8)
    assert torch.equal(
        PadCrop(InputSpec(height=8, width=8), allow_hflip=False)(images, torch.tensor([[0.5, 0.5, 0.0]])), images
    )
