"""ONNX files of real networks, run by a program that knows only ONNX Runtime."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.exports import classifier, noise
from tl_toolkit.exports.base import ExportOptions
from tl_toolkit.exports.writing import export_model
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.models.backbones import resolve_arch

NETWORKS = ("resnet18", "vgg16", "lenet5", "tf_efficientnet_lite0", "mobilenetv3_small_100", "vit_tiny_patch16_224")
OPTIONS = ({}, {"dtype": "fp16"}, {"with_preprocessing": True})

RUN = """
import sys
class Blocked:
    def find_spec(self, name, *rest):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "tl_toolkit", "onnx"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
numpy.save(sys.argv[3], session.run(["logits"], {"images": numpy.load(sys.argv[2])})[0])
"""


def spec_of(name: str) -> InputSpec:
    """Of digits for LeNet-5, of photographs for the others."""
    if name == "lenet5":
        return InputSpec(1, 28, 28, (0.13,), (0.31,), crop_fraction=1.0)
    return InputSpec(interpolation="bicubic")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["swap", "append"])
@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_of_a_network_answers_alike_in_a_fresh_process(name: str, head: str, tmp_path: Path):
    torch.manual_seed(0)
    spec, arch = spec_of(name), str(resolve_arch(name))
    module = tl.build_model(name, 5, head=head, weights="none", in_channels=spec.channels)
    model = classifier(module, ModelMetadata(arch, head, 1000, tuple("abcde"), spec))
    images = noise(4, (300, 400))
    inputs = torch.stack([model.transform(image) for image in images.images])
    logits = model.logits(inputs)
    for options in OPTIONS:
        written = export_model(model, "onnx", tmp_path / "m.onnx", images, ExportOptions(**options), replace=True)
        inside = "with_preprocessing" in options
        np.save(tmp_path / "in.npy", np.stack(images.images) if inside else inputs.numpy())
        paths = [str(tmp_path / file) for file in ("m.onnx", "in.npy", "out.npy")]
        subprocess.run([sys.executable, "-c", RUN, *paths], check=True)
        apart = np.abs(np.load(tmp_path / "out.npy") - logits.numpy()).max() / max(1, float(logits.abs().max()))
        size = written.path.stat().st_size / 1e6
        row = f"{name} {head}: {'preprocessing inside' if inside else options.get('dtype', 'fp32')}"
        print(f"{row:<50} {size:7.1f} MB, logits within {apart:.1e}, {written.comparison.describe()}")
        assert apart <= (1e-4 if not options else 3e-2), options
