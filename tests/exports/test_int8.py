"""ONNX in eight-bit integers: what it is, what it loses on val, and when there is none."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import tl_toolkit as tl
from tests.helpers.exports import classifier, noise
from tests.helpers.terminal import run_tl
from tl_toolkit.data.image_sets import ArrayImages, FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import ModelError, ToolkitError, UsageError
from tl_toolkit.events import TaskProgress
from tl_toolkit.exports.base import ExportOptions
from tl_toolkit.exports.images import open_val
from tl_toolkit.exports.int8_loss import Answers, compare_answers
from tl_toolkit.exports.writing import Export, export_model
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import load
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.recipes.finetune import Run

SIZE = 4
TINY = InputSpec(height=SIZE, width=SIZE, crop="squash", mean=(0.5,) * 3, std=(0.5,) * 3)


def metadata(classes: Sequence[str] = ("dark", "bright"), **fields: object) -> ModelMetadata:
    return ModelMetadata("timm:test", "swap", 1000, tuple(classes), TINY, **fields)


def shades(count: int = 40) -> Samples:
    """Dark and bright images in turn."""
    random = np.random.default_rng(0)
    pixels = [random.integers(0, 128, (SIZE, SIZE, 3), dtype=np.uint8) + 127 * (index % 2) for index in range(count)]
    return Samples(ArrayImages([image.astype(np.uint8) for image in pixels]), [index % 2 for index in range(count)])


class Uneven(nn.Module):
    """Tells dark images from bright ones by a feature beside another that is a million times larger.

    Args:
        before: Layers before that feature.
        after: Layers behind it, of which the first makes it small again.
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        first = nn.Linear(3 * SIZE * SIZE, 2, bias=False)
        first.weight.data = torch.full((2, 3 * SIZE * SIZE), 0.02)
        first.weight.data[0, 0] *= 10  # Not a multiple of the other.
        layers = [first, *(nn.Linear(2, 2, bias=False) for _ in range(before + after))]
        for layer in layers[1:]:
            layer.weight.data = torch.eye(2)
        layers[before].weight.data[0] *= 1e6
        if after:
            layers[before + 1].weight.data[0] *= 1e-6
        last = nn.Linear(2, 2, bias=False)
        last.weight.data = torch.tensor([[0.0, -1.0], [0.0, 1.0]])
        self.layers = nn.Sequential(nn.Flatten(), *layers, last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layers(images)


def export(model: ImageClassifier, path: Path, samples: Samples | Callable[[], Samples], **options: object) -> Export:
    """Export to int8, with these images as val."""
    opened = samples if callable(samples) else lambda: samples
    return export_model(model, "onnx", path, noise(), ExportOptions(dtype="int8", **options), opened)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def quantized(judged_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """A run in int8; its val has 24 images, so that a single one is more than a point."""
    out = tmp_path_factory.mktemp("int8") / "model.onnx"
    return tl.export(judged_run.path, "onnx", dtype="int8", allow_loss=True, out=out)


def test_int8_file_is_plain_onnx_with_int8_weights_for_each_output_channel(quantized: Export):
    graph = onnx.load(quantized.path)
    onnx.checker.check_model(graph, full_check=True)
    assert [each.domain for each in graph.opset_import] == [""]
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in graph.graph.node}
    weights = [each for each in graph.graph.initializer if len(each.dims) == 4]
    assert {each.data_type for each in weights} == {onnx.TensorProto.INT8}
    scales = {each.name: each for each in graph.graph.initializer if each.name.endswith("_scale")}
    per_channel = [each for each in weights if scales[each.name.replace("_quantized", "_scale")].dims == [each.dims[0]]]
    assert (
        len(per_channel) == len(weights) == quantized.note["quantization"]["layers"] - 1
    )  # The last is no convolution.


def test_int8_note_has_the_accuracy_on_val_that_onnx_runtime_alone_finds(judged_run: Run, quantized: Export):
    found = quantized.note["quantization"]
    model = load(judged_run.path, device="cpu", precision="fp32")
    val = open_val(model.metadata)()
    inputs = torch.stack([model.transform(val.read(index)) for index in range(len(val))])
    session = onnxruntime.InferenceSession(quantized.path, providers=["CPUExecutionProvider"])
    answers = session.run(["logits"], {"images": inputs.numpy()})[0].argmax(axis=1)
    before = model.logits(inputs).argmax(dim=1).numpy()
    targets = np.array(val.targets)
    assert found["images"] == len(val) == 24
    assert found["after"]["value"] == pytest.approx((answers == targets).mean())
    assert found["before"]["value"] == pytest.approx((before == targets).mean())
    assert found["agreement"] == pytest.approx((answers == before).mean())
    assert found["before"]["low"] < found["before"]["value"] < found["before"]["high"]


def test_int8_file_takes_as_many_images_of_val_for_unknown_as_the_model(judged_run: Run, quantized: Export):
    header = json.loads(next(p.value for p in onnx.load(quantized.path).metadata_props if p.key == "tl_toolkit"))
    unknown = quantized.note["quantization"]["unknown"]
    own = load(judged_run.path, device="cpu", precision="fp32")
    assert json.loads(header["novelty"])["threshold"] == unknown["new_threshold"] != own.metadata.novelty.threshold
    session = onnxruntime.InferenceSession(quantized.path, providers=["CPUExecutionProvider"])
    val = open_val(own.metadata)()
    inputs = torch.stack([own.transform(val.read(index)) for index in range(len(val))])
    logits, features = map(torch.from_numpy, session.run(["logits", "features"], {"images": inputs.numpy()}))
    novelty = own.novelty.novelty(features, logits)
    assert int((novelty > unknown["new_threshold"]).sum()) == round(unknown["before"] * 24)


def test_int8_with_preprocessing_takes_images_of_any_size(judged_run: Run, tmp_path: Path):
    path = tmp_path / "model.onnx"
    tl.export(judged_run.path, "onnx", dtype="int8", allow_loss=True, with_preprocessing=True, out=path)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = np.full((1, 50, 40, 3), 200, np.uint8)
    assert session.run(["probabilities"], {"images": image})[0].sum() == pytest.approx(1, abs=1e-5)


def test_network_that_loses_nothing_is_all_in_integers(tmp_path: Path):
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        module[0].weight.fill_(0.1)
        module[0].bias.zero_()
        module[3].weight.copy_(torch.tensor([-1.0, 1.0])[:, None].expand(2, 16))
        module[3].bias.copy_(torch.tensor([1.0, -1.0]))
    written = export(classifier(module, metadata()), tmp_path / "model.onnx", shades())
    found = written.note["quantization"]
    assert (found["after"]["value"], found["difference"]["value"]) == (1.0, 0.0)
    assert (found["layers"], found["fp32_layers"], found["attempts"]) == (2, 0, [{"fp32_layers": 0, "after": 1.0}])
    assert (found["calibration_images"], found["learned_from_val"]) == (40, None)


def test_first_layers_stay_in_fp32_until_the_loss_is_small(tmp_path: Path):
    written = export(classifier(Uneven(before=1, after=4), metadata()), tmp_path / "model.onnx", shades())
    found = written.note["quantization"]
    assert (found["layers"], found["fp32_layers"]) == (7, 4)
    assert found["difference"]["value"] == 0
    assert [(each["fp32_layers"], each["after"]) for each in found["attempts"]] == [
        (0, 0.5),
        (1, 0.5),
        (2, 0.5),
        (4, 1.0),
    ]


def test_network_that_loses_too_much_is_refused_and_nothing_is_left(tmp_path: Path):
    with pytest.raises(ToolkitError) as caught:
        export(classifier(Uneven(before=3, after=0), metadata()), tmp_path / "model.onnx", shades())
    assert str(caught.value) == (
        "In eight-bit integers the network loses 50.0 points of top-1 on 40 images of val, from 100.0 % (91 to 100 %) "
        "to 50.0 % (35 to 65 %); more than 1 point is too much. With its first 3 of 5 layers in fp32 it has 50.0 % "
        '(35 to 65 %). To keep the file all the same: allow_loss=True. dtype="fp16" halves the size of fp32, and '
        "loses next to nothing."
    )
    assert not list(tmp_path.iterdir())


def test_allowed_loss_is_written_with_all_layers_in_integers(tmp_path: Path):
    model = classifier(Uneven(before=3, after=0), metadata())
    found = export(model, tmp_path / "model.onnx", shades(), allow_loss=True).note["quantization"]
    assert (found["fp32_layers"], found["difference"]["value"], len(found["attempts"])) == (0, -0.5, 1)


@pytest.mark.parametrize(("lost", "is_small"), [(1, True), (2, False)])
def test_one_image_of_a_hundred_may_be_lost_and_not_two(lost: int, is_small: bool):
    logits = torch.tensor([[1.0, 0.0]]).repeat(100, 1)
    after = logits.clone()
    after[:lost] = after[:lost].flip(1)
    targets = torch.zeros(100, dtype=torch.long)
    model = classifier(nn.Identity(), metadata())
    found = compare_answers(model, Answers(logits, None, targets), Answers(after, None, targets), 0)
    assert (found.difference.value, found.only_before, found.only_after) == (pytest.approx(-lost / 100), lost, 0)
    assert found.is_small is is_small
    assert found.difference.low < -lost / 100 < found.difference.high


def test_one_logit_and_several_labels_have_their_own_figures():
    targets = torch.tensor([0, 1, 1, 1])
    before = Answers(torch.tensor([[-1.0], [1.0], [1.0], [-1.0]]), None, targets)
    after = dataclasses.replace(before, logits=torch.tensor([[-1.0], [-0.1], [1.0], [-1.0]]))
    one = compare_answers(classifier(nn.Identity(), metadata(one_logit=True, loss="bce")), before, after, 0)
    assert (one.figure, one.before.value, one.after.value, one.agreement) == ("accuracy", 0.75, 0.5, 0.75)

    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    several = metadata(task="multi-label", loss="bce", thresholds=(0.5, 0.5))
    right = Answers(4 * labels - 2, None, labels)
    swapped = dataclasses.replace(right, logits=right.logits[[1, 0, 2, 3]])
    found = compare_answers(classifier(nn.Identity(), several), right, swapped, 0)
    assert (found.figure, found.before.value, found.agreement) == ("mean_average_precision", 1.0, 0.5)
    assert found.after.value == 0.5  # Of each label, one right and one wrong image come first.

    rows = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    soft = compare_answers(
        classifier(nn.Identity(), metadata(task="soft")),
        Answers(rows, None, rows),
        Answers(rows.flip(1), None, rows),
        0,
    )
    assert (soft.figure, soft.before.value, soft.after.value) == ("accuracy", 1.0, 0.0)


def test_unreadable_images_of_val_are_left_out(photos: Path, tmp_path: Path):
    files = sorted(map(str, photos.rglob("*.png")))
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    samples = Samples(FileImages([str(broken), *files]), [0] * (1 + len(files)))
    model = classifier(module, metadata())
    written = export(model, tmp_path / "model.onnx", samples, allow_loss=True)
    assert written.note["quantization"]["images"] == len(files) == 30
    with pytest.raises(UsageError) as caught:
        export(model, tmp_path / "other.onnx", samples.subset([0]))
    assert str(caught.value) == 'dtype="int8" needs images of val, and none of the 1 can be read.'


def test_model_without_its_data_is_not_quantized(tmp_path: Path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    with pytest.raises(UsageError) as caught:
        export(classifier(module, metadata()), tmp_path / "model.onnx", open_val(metadata()))
    assert str(caught.value) == (
        'dtype="int8" needs the images of val that the model was trained with, to find the ranges of the numbers in '
        "the network, and to measure what it loses: The model file does not name them."
    )


def test_network_without_layers_that_multiply_is_refused(tmp_path: Path):
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ModelError) as caught:
        export(classifier(module, metadata(("red", "green", "blue"))), tmp_path / "model.onnx", shades())
    assert str(caught.value) == (
        "The network has no layer that can be quantized: no convolution and no product of matrices."
    )


class Block(nn.Module):
    """A sum that runs past a layer, perhaps normalized as in transformers."""

    def __init__(self, normalize: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(48) if normalize else nn.Identity()
        self.inner, self.head = nn.Linear(48, 48), nn.Linear(48, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows = images.flatten(1)
        return self.head(self.norm(rows + self.inner(rows)))


@pytest.mark.parametrize("transformer", [True, False])
def test_sum_of_a_transformer_stays_in_fp32(transformer: bool, tmp_path: Path):
    model = classifier(Block(transformer), metadata())
    export(model, tmp_path / "model.onnx", shades(), allow_loss=True)
    graph = onnx.load(tmp_path / "model.onnx").graph
    added = next(node for node in graph.node if node.op_type == "Add")
    readers = {node.op_type for node in graph.node if added.output[0] in node.input}
    assert readers == ({"LayerNormalization"} if transformer else {"QuantizeLinear"})


def test_quantizing_reports_its_progress(tmp_path: Path):
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    seen: list[object] = []
    options = ExportOptions(dtype="int8", allow_loss=True)
    path = tmp_path / "model.onnx"
    export_model(classifier(module, metadata()), "onnx", path, noise(), options, shades, callback=seen.append)
    done = {event.task: (event.done, event.total) for event in seen if isinstance(event, TaskProgress)}
    assert (
        done.items()
        >= {
            "calibrating": (40, 40),
            "running the model on val": (40, 40),
            "running int8 on val": (40, 40),
        }.items()
    )


def test_command_prints_what_was_lost(judged_run: Run, tmp_path: Path):
    out = tmp_path / "model.onnx"
    done = run_tl("export", judged_run.path, "--to", "onnx", "--dtype", "int8", "--allow-loss", "--out", out)
    assert done.exit_code == 0, done.output
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    note = json.loads(out.with_name("model.onnx.json").read_text())["quantization"]
    percent = f"{100 * note['after']['value']:.1f} %"
    assert rows["int8"] == f"all {note['layers']} layers"
    assert rows["top-1"].startswith(f"{percent} (")
    assert rows["top-1"].endswith(") on 24 images of val")
    assert ": int8 has " in rows["before"]
