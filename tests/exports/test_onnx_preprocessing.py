"""The pixels that an ONNX graph makes of images, beside those of `tl`."""

from itertools import product

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.exports.onnx_graph import OPSET
from tl_toolkit.exports.onnx_preprocessing import add_preprocessing
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.metrics.logits import probabilities
from tl_toolkit.model_file import ModelMetadata

CROPS, FILTERS = ("center", "squash", "border"), ("nearest", "bilinear", "bicubic")
SIZES = ((1, 1), (7, 1), (40, 30), (64, 64), (97, 31), (300, 201), (128, 128))
"""Widths and heights: smaller than the input, as large, in steps of whole pixels, and larger. None is reduced far more
in height than in width, when Pillow 13 begins with the height and rounds otherwise."""


def session_of(spec: InputSpec, **settings: object) -> onnxruntime.InferenceSession:
    """A graph whose network returns its input as the logits."""
    values = spec.channels * spec.height * spec.width
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["normalized"], ["logits"])],
        "network",
        [
            helper.make_tensor_value_info(
                "normalized", TensorProto.FLOAT, ["batch", spec.channels, spec.height, spec.width]
            )
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", values])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    metadata = ModelMetadata("timm:lenet5", "swap", 10, **{"class_names": ("a", "b"), **settings}, input_spec=spec)
    add_preprocessing(model, metadata)
    onnx.checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # It is right that there are not as many classes as pixels.
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def run(session: onnxruntime.InferenceSession, images: np.ndarray, spec: InputSpec) -> np.ndarray:
    """What the graph gives a network of images (N, H, W, C): (N, C, H, W)."""
    return session.run(["logits"], {"images": images})[0].reshape(-1, spec.channels, spec.height, spec.width)


def pixels_of(spec: InputSpec, image: Image.Image) -> np.ndarray:
    """What the graph gives a network of an image, with the normalization undone (C, H, W)."""
    mean, std = (np.array(values).reshape(-1, 1, 1) for values in (spec.mean, spec.std))
    return (run(session_of(spec), np.asarray(image)[None], spec)[0] * std + mean) * 255


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """An image as coarse as a photograph."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 3 + 1, width // 3 + 1, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(("crop", "interpolation", "channels"), list(product(CROPS, FILTERS, (1, 3))))
def test_graph_resizes_and_crops_as_pillow_does(crop: str, interpolation: str, channels: int):
    for fraction, size in product((0.875, 1.0, 1.15), SIZES):
        statistics = {"mean": (0.4, 0.5, 0.6)[:channels], "std": (0.2, 0.25, 0.3)[:channels]}
        spec = InputSpec(channels, 56, 40, **statistics, interpolation=interpolation, crop=crop, crop_fraction=fraction)
        image = smooth(*size)
        shown = image.convert("L") if channels == 1 else image
        apart = np.abs(pixels_of(spec, image) - EvalTransform(spec)(shown).numpy())
        most, share = (0, 0.0) if interpolation == "nearest" else (1, 0.1)
        assert apart.max() < most + 0.01, (fraction, size)
        assert (apart > 0.5).mean() <= share, (fraction, size)


def test_graph_normalizes_with_the_same_bits():
    spec, image = InputSpec(height=32, width=32, crop_fraction=1.0), smooth(32, 32)
    found = run(session_of(spec), np.asarray(image)[None], spec)[0]
    assert np.array_equal(found, Normalize(spec)(EvalTransform(spec)(image)).numpy())


def test_graph_of_one_channel_takes_gray_pixels_too():
    spec = InputSpec(channels=1, height=28, width=28, mean=(0.1,), std=(0.3,))
    gray = (np.arange(30 * 30) % 256).astype(np.uint8).reshape(1, 30, 30, 1)
    session = session_of(spec)
    assert np.array_equal(run(session, gray, spec), run(session, np.repeat(gray, 3, axis=3), spec))


@pytest.mark.parametrize("size", [(2, 6_000), (6_000, 2)])
def test_graph_resizes_only_the_middle_of_a_strip(size: tuple[int, int]):
    spec = InputSpec(height=32, width=32)
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    pixels[size[1] * 2 // 5 : size[1] * 3 // 5 + 1, size[0] * 2 // 5 : size[0] * 3 // 5 + 1] = 200
    image = Image.fromarray(pixels)
    found = pixels_of(spec, image)
    assert np.allclose(found, EvalTransform(spec)(image).numpy(), atol=0.01)
    assert set(np.unique(found.round())) == {200}


def test_graph_takes_a_batch_of_images_of_one_size():
    spec = InputSpec(height=32, width=48)
    session = session_of(spec)
    images = np.stack([np.asarray(smooth(90, 70, seed)) for seed in range(3)])
    together = run(session, images, spec)
    assert together.shape == (3, 3, 32, 48)
    assert np.array_equal(together[1:2], run(session, images[1:2], spec))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 2.5},
        {"loss": "bce"},
        {"loss": "bce", "task": "multi-label", "temperature": 0.5},
        {"task": "soft"},
        {"one_logit": True, "loss": "bce", "class_names": ("a", "b"), "temperature": 1.5},
    ],
    ids=str,
)
def test_graph_gives_the_probabilities_of_the_task(settings: dict[str, object]):
    settings = {"class_names": ("a", "b", "c"), **settings}
    outputs = 1 if "one_logit" in settings else 3
    spec = InputSpec(channels=1, height=1, width=outputs, mean=(0.5,), std=(0.2,), crop_fraction=1.0)
    session = session_of(spec, **settings)
    pixels = np.array([20, 130, 250], np.uint8)[None, None, :outputs, None]
    shares, logits = session.run(["probabilities", "logits"], {"images": pixels})
    metadata = ModelMetadata("timm:lenet5", "swap", 10, input_spec=spec, **settings)
    expected = probabilities(torch.from_numpy(logits) / metadata.temperature, metadata.loss)
    assert [each.name for each in session.get_outputs()] == ["probabilities", "logits"]
    assert np.allclose(shares, expected.numpy(), atol=1e-6)
    assert shares.shape == (1, len(settings["class_names"]))
