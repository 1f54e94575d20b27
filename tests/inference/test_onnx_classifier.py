"""Predicting from ONNX files, beside the same network of torch's."""

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

import tl_toolkit as tl
from tests.helpers.onnx_files import linear, metadata_of, save_onnx, torch_classifier, write_onnx
from tl_toolkit.errors import ImageError, ModelFileError, TrainingError, UsageError
from tl_toolkit.inference.loading import load, load_predictor, needs_torch
from tl_toolkit.inference.novelty import fit_novelty
from tl_toolkit.inference.onnx_classifier import OnnxClassifier
from tl_toolkit.inference.prediction import Prediction
from tl_toolkit.model_file import NoveltyNote

WITHOUT_TORCH = """
import json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "timm", "accelerate", "safetensors", "onnx"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv[0] = "tl"
from tl_toolkit.cli.main import main
main()
"""


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Images of several sizes and colours; more than one batch."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for number in range(40):
        height, width = generator.integers(5, 60, 2)
        pixels = (
            generator.integers(0, 256, (1, 1, 3)) * np.ones((height, width, 1)) * generator.random((height, width, 1))
        )
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    return sorted(folder.iterdir())


def close(found: list[Prediction], expected: list[Prediction]) -> None:
    """Assert that predictions name the same classes and labels, with nearly the same numbers."""
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        for kind in ("top_k", "labels"):
            ours, theirs = getattr(one, kind), getattr(other, kind)
            assert (ours is None) == (theirs is None)
            assert [each.class_name for each in ours or ()] == [each.class_name for each in theirs or ()]
            values = [each.probability for each in theirs or ()]
            assert [each.probability for each in ours or ()] == pytest.approx(values, abs=1e-5)
        assert (one.path, one.abstained, one.unknown) == (other.path, other.abstained, other.unknown)
        assert one.novelty == pytest.approx(other.novelty, abs=1e-3)


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ("abcde", {"temperature": 2.5}),
        ("abc", {"loss": "bce"}),
        ("ab", {"one_logit": True, "loss": "bce"}),
        ("abcd", {"task": "multi-label", "loss": "bce", "thresholds": (0.1, 0.9, 0.5, 0.4)}),
        ("abcd", {"task": "multi-label", "loss": "bce"}),
        ("abc", {"task": "soft"}),
    ],
    ids=["temperature", "bce", "one logit", "several labels", "thresholds of 0.5", "soft"],
)
def test_predict_gives_what_the_network_gives(names: str, changes: dict[str, Any], photos: list[Path], tmp_path: Path):
    metadata = metadata_of(*names, **changes)
    module = linear(metadata.outputs)
    model, expected = (
        OnnxClassifier(write_onnx(tmp_path / "a.onnx", module, metadata)),
        torch_classifier(module, metadata),
    )
    below = None if metadata.task == "multi-label" else 0.6
    close(model.predict(photos, 3, below), expected.predict(photos, 3, below))
    assert (model.class_names, model.task, model.input_spec) == (tuple(names), metadata.task, metadata.input_spec)
    assert not model.marks_unknown


def novelty_note(module: torch.nn.Module, classes: int) -> NoveltyNote:
    generator = torch.Generator().manual_seed(3)
    kinds = torch.arange(60) % classes
    features = torch.randn(classes, 3, generator=generator)[kinds] + 0.1 * torch.randn(60, 3, generator=generator)
    return fit_novelty("2", features[:40], kinds[:40], features[40:], module[2](features[40:]).detach())


@pytest.mark.parametrize("one_logit", [False, True])
def test_predict_marks_the_images_that_the_network_marks(one_logit: bool, photos: list[Path], tmp_path: Path):
    module = linear(1 if one_logit else 3)
    names = "ab" if one_logit else "abc"
    changes = {"one_logit": True, "loss": "bce"} if one_logit else {}
    metadata = metadata_of(*names, novelty=novelty_note(module, len(names)), **changes)
    model, expected = (
        OnnxClassifier(write_onnx(tmp_path / "a.onnx", module, metadata)),
        torch_classifier(module, metadata),
    )
    close(model.predict(photos), expected.predict(photos))
    assert model.marks_unknown
    found = model.predict(photos)
    assert metadata.novelty is not None
    assert [each.unknown for each in found] == [(each.novelty or 0) > metadata.novelty.threshold for each in found]
    assert {each.unknown for each in found} == {True, False}


def test_predict_with_the_preprocessing_inside_gives_whole_images_to_the_file(photos: list[Path], tmp_path: Path):
    metadata = metadata_of("a", "b", "c", temperature=2.0)
    module = linear(3)
    model = OnnxClassifier(write_onnx(tmp_path / "a.onnx", module, metadata, inside=True))
    found = model.predict(photos)
    for path, prediction in zip(photos, found, strict=True):
        colour = torch.from_numpy(np.array(Image.open(path))).float().mean(dim=(0, 1)) / 255
        shares = (module[2](colour).detach() / 2.0).softmax(dim=0)
        assert prediction.probability == pytest.approx(float(shares.max()), abs=1e-5)
        assert prediction.class_name == "abc"[int(shares.argmax())]
    assert model.without_calibration().predict(photos[0]).probability != found[0].probability


def test_changes_of_a_model_leave_the_model_as_it_is(photos: list[Path], tmp_path: Path):
    module = linear(3)
    calibrated = metadata_of("a", "b", "c", temperature=3.0)
    model = OnnxClassifier(write_onnx(tmp_path / "a.onnx", module, calibrated))
    before = model.predict(photos[0]).probability
    plain = torch_classifier(module, calibrated).without_calibration()
    assert model.without_calibration().predict(photos[0]).probability == pytest.approx(
        plain.predict(photos[0]).probability, abs=1e-5
    )
    assert model.predict(photos[0]).probability == before
    labels = metadata_of("a", "b", "c", task="multi-label", loss="bce")
    several = OnnxClassifier(write_onnx(tmp_path / "b.onnx", module, labels))
    assert several.with_threshold(0.0).predict(photos[0], 1).labels == several.predict(photos[0], 3).top_k
    assert several.with_threshold(1.0).predict(photos[0]).labels == ()
    with pytest.raises(UsageError, match="threshold is for models that give an image several labels"):
        model.with_threshold(0.5)
    with pytest.raises(UsageError, match="abstain_below is a probability from 0 to 1, not 2"):
        model.predict(photos[0], abstain_below=2)


def test_predict_takes_pixels_in_memory_and_refuses_what_is_no_image(photos: list[Path], tmp_path: Path):
    model = OnnxClassifier(write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b")))
    pixels = np.asarray(Image.open(photos[0]))
    found = model.predict(
        [pixels, Image.fromarray(pixels), photos[0].read_bytes(), torch.tensor(pixels).permute(2, 0, 1)]
    )
    assert [each.path for each in found] == [f"image {index}" for index in range(4)]
    assert {each.top_k for each in found} == {model.predict(photos[0]).top_k}
    assert model.predict([]) == []
    (tmp_path / "bad.png").touch()
    with pytest.raises(ImageError, match="the file is empty"):
        model.predict([photos[0], tmp_path / "bad.png"])


def test_loading_knows_an_onnx_file_by_its_content(tmp_path: Path, photos: list[Path]):
    path = write_onnx(tmp_path / "model.bin", linear(2), metadata_of("a", "b"))
    assert not needs_torch(path)
    assert isinstance(load_predictor(path, threads=1), OnnxClassifier)
    with pytest.raises(
        UsageError, match=r"is an ONNX file, which only predicts: tl predict --model .*model\.bin, or tl"
    ):
        load(path)
    assert tl.OnnxClassifier is OnnxClassifier


def other_graph(output: str) -> Any:
    return helper.make_graph(
        [helper.make_node("Identity", ["images"], [output])],
        "other",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 3, 16, 16])],
    )


def test_file_of_another_program_says_what_is_missing(tmp_path: Path):
    path = save_onnx(tmp_path / "a.onnx", other_graph("logits"), {"producer": "someone"})
    with pytest.raises(
        UsageError, match=r"a\.onnx is an ONNX file without class names and InputSpec, so nothing can be"
    ):
        OnnxClassifier(path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{", "is not a model that tl can load: its header is damaged"),
        ("[]", "its header is damaged \\(expected an object of texts\\)"),
        ('{"format": 1}', "its header is damaged \\(expected an object of texts\\)"),
        ("{}", "it was not written by tl finetune"),
        (
            json.dumps({**metadata_of("a", "b").to_metadata(), "class_names": "[]"}),
            "its class names are fewer than two",
        ),
    ],
)
def test_damaged_header_says_so(header: str, message: str, tmp_path: Path):
    path = save_onnx(tmp_path / "a.onnx", other_graph("logits"), {"tl_toolkit": header})
    with pytest.raises(ModelFileError, match=message):
        OnnxClassifier(path)


def test_damaged_file_says_so(tmp_path: Path):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelFileError, match=r"a\.onnx is not a model that tl can load: .+[^.]\.$"):
        OnnxClassifier(path)


def test_outputs_that_do_not_fit_the_header_are_an_error(tmp_path: Path, photos: list[Path]):
    header = {"tl_toolkit": json.dumps(metadata_of("a", "b").to_metadata())}
    with pytest.raises(
        ModelFileError, match="has the inputs images and the outputs scores; expected images and logits"
    ):
        OnnxClassifier(save_onnx(tmp_path / "a.onnx", other_graph("scores"), header))
    other = OnnxClassifier(save_onnx(tmp_path / "b.onnx", other_graph("logits"), header))
    with pytest.raises(ModelFileError, match=r"gives \(1, 3, 16, 16\) for 1 images; expected \(1, 2\), as it says"):
        other.predict(photos[0])
    small = dataclasses.replace(metadata_of("a", "b"), input_spec=tl.InputSpec(height=8, width=8))
    strict = OnnxClassifier(write_onnx(tmp_path / "c.onnx", linear(2), small))
    with pytest.raises(ModelFileError, match="does not take the images that it describes"):
        strict.predict(photos[0])


def test_device_and_precision_that_are_not_there_are_refused(tmp_path: Path):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    with pytest.raises(UsageError, match="ONNX Runtime computes on cpu here, not on 'mps'"):
        OnnxClassifier(path, device="mps")
    with pytest.raises(UsageError, match='computes in the type that it was exported with: leave precision="bf16" out'):
        OnnxClassifier(path, precision="bf16")
    assert OnnxClassifier(path, device="cpu", precision="fp32").predict(Image.new("RGB", (9, 9))).path == "image 0"


def test_missing_onnx_runtime_names_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = write_onnx(tmp_path / "a.onnx", linear(2), metadata_of("a", "b"))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(UsageError, match=r"needs the package onnxruntime.*: pip install 'tl_toolkit\[onnx\]'"):
        OnnxClassifier(path)


def run_without_torch(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_TORCH, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_tl_predicts_where_torch_is_not_installed(photos: list[Path], tmp_path: Path):
    metadata = metadata_of("a", "b", "c", temperature=2.0)
    module = linear(3)
    path = write_onnx(tmp_path / "a.onnx", module, metadata)
    done = run_without_torch("predict", photos[0].parent, "--model", path, "-f", "json")
    assert (done.returncode, done.stderr.split()[0]) == (0, "model"), done.stderr
    found = json.loads(done.stdout)
    expected = [each.to_dict() for each in OnnxClassifier(path).predict(photos)]
    assert found == expected
    drawn = run_without_torch("predict", photos[0], "--model", path, "--grid", tmp_path / "grid.png")
    assert (drawn.returncode, (tmp_path / "grid.png").exists()) == (0, True)


def test_tl_without_torch_says_what_needs_it(tmp_path: Path, photos: list[Path]):
    (tmp_path / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    done = run_without_torch("predict", photos[0], "--model", tmp_path / "model.safetensors")
    assert done.returncode == 1
    assert done.stderr.startswith("Error: This needs the package torch, which is not installed: pip install tl_toolkit")
    assert "Traceback" not in done.stderr


def test_logits_that_are_not_finite_are_an_error(tmp_path: Path, photos: list[Path]):
    module = linear(3)
    module[2].weight.data[1, 1] = torch.nan
    path = write_onnx(tmp_path / "a.onnx", module, metadata_of("a", "b", "c"))
    expected = re.escape(f"{path} gives no finite numbers (NaN or infinity) for 2 of 2 images, the first of them")
    with pytest.raises(TrainingError, match=expected):
        OnnxClassifier(path).predict(photos[:2])
