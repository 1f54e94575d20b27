"""Importing networks of other programs: their answers stay the same."""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.errors import UsageError, WeightsError
from tl_toolkit.io.own_files import MODEL_FILE
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.import_model import ImportedModel

NAMES = ("ant", "bee", "cat")
RESNET = "timm:test_resnet"


def made(name: str, classes: int = 3, **options: Any) -> nn.Module:
    """A network with weights that no library has."""
    torch.manual_seed(3)
    library, _, short = name.rpartition(":")
    if library == "torchvision":
        return torchvision.models.get_model(short, weights=None, num_classes=classes, **options).eval()
    return timm.create_model(short, num_classes=classes, **options).eval()


def state_in(checkpoint: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[nn.Module, Path], Path]:
    """What writes a state_dict the way a training program does."""

    def write(module: nn.Module, folder: Path) -> Path:
        torch.save(checkpoint(module.state_dict()), folder / "weights.pth")
        return folder / "weights.pth"

    return write


def as_safetensors(module: nn.Module, folder: Path) -> Path:
    save_file(module.state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def whole(module: nn.Module, folder: Path) -> Path:
    torch.save(module, folder / "network.pth")
    return folder / "network.pth"


WRITERS = {
    "state_dict": state_in(lambda state: state),
    "state_dict of torch before 1.6": lambda module, folder: _legacy(module, folder),
    "DataParallel": state_in(lambda state: {f"module.{key}": value for key, value in state.items()}),
    "torch.compile": state_in(lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}),
    "timm": state_in(lambda state: {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}),
    "torchvision": state_in(lambda state: {"model": state, "optimizer": {}, "args": argparse.Namespace(lr=0.1)}),
    "a tutorial": state_in(lambda state: {"model_state_dict": state, "loss": 0.5}),
    "Lightning": state_in(lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}}),
    "safetensors": as_safetensors,
    "network": whole,
}


def _legacy(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "old.pth", _use_new_zipfile_serialization=False)
    return folder / "old.pth"


def imported(file: Path, arch: str | None, folder: Path, **settings: Any) -> ImportedModel:
    return tl.import_model(file, arch=arch, out=folder / "run", **{"class_names": NAMES, **settings})


def logits_of(module: nn.Module, found: ImportedModel) -> tuple[torch.Tensor, torch.Tensor]:
    """The outputs of the original and of the run, for the same pixels."""
    spec = found.model.input_spec
    images = torch.randn(4, spec.channels, spec.height, spec.width)
    with torch.no_grad():
        expected = module(images)
    return expected, tl.load(found.path, device="cpu", precision="fp32").logits(images)


@pytest.mark.parametrize("writer", WRITERS)
def test_import_of_every_kind_of_file_gives_the_same_outputs(writer: str, tmp_path: Path):
    module = made(RESNET)
    found = imported(WRITERS[writer](module, tmp_path), RESNET, tmp_path)
    expected, outputs = logits_of(module, found)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)
    assert found.model.class_names == NAMES
    assert (found.network.match.missing, found.network.match.unexpected) == ((), ())
    assert (found.comparison is not None) == (writer == "network")


@pytest.mark.parametrize(
    "name",
    [
        *("torchvision:resnet18", "torchvision:squeezenet1_1", "torchvision:mobilenet_v3_small", "timm:test_vit"),
        *("timm:tf_efficientnet_lite0", "timm:lenet5"),
    ],
)
def test_import_of_a_whole_network_gives_the_same_bits(name: str, tmp_path: Path):
    found = imported(whole(made(name), tmp_path), name, tmp_path)
    assert found.comparison is not None
    assert found.comparison.identical
    assert found.comparison.images == 8


def test_import_of_googlenet_leaves_its_normalization_to_the_input_spec(tmp_path: Path):
    module = made("torchvision:googlenet", aux_logits=True, init_weights=False, transform_input=True)
    found = imported(whole(module, tmp_path), "googlenet", tmp_path)
    assert found.comparison is not None
    assert found.comparison.identical
    assert found.model.input_spec.mean == (0.5, 0.5, 0.5)
    auxiliary = sum(key.startswith("aux") for key in module.state_dict())
    assert f"{auxiliary} tensors of classifiers that only training uses left out" in found.network.steps


def test_import_takes_the_network_and_the_preprocessing_of_timms_objects(tmp_path: Path):
    module = made("timm:test_vit")
    module.pretrained_cfg["mean"] = (0.1, 0.2, 0.3)
    module.pretrained_cfg["crop_pct"] = 1.0
    found = imported(whole(module, tmp_path), None, tmp_path)
    assert str(found.network.arch) == "timm:test_vit"
    assert (found.model.input_spec.mean, found.model.input_spec.crop_fraction) == ((0.1, 0.2, 0.3), 1.0)
    assert found.network.warnings == ()


@pytest.mark.parametrize("task", ["multi-label", "soft"])
def test_import_of_another_task_gives_its_probabilities(task: str, tmp_path: Path):
    found = imported(WRITERS["state_dict"](made(RESNET), tmp_path), RESNET, tmp_path, task=task)
    assert (found.model.task, found.model.metadata.loss) == (task, "bce" if task == "multi-label" else "cross-entropy")
    image = torch.randint(0, 255, (40, 40, 3), dtype=torch.uint8).numpy()
    shares = [each.probability for each in found.model.predict(image, top_k=3).top_k]
    assert (abs(sum(shares) - 1) < 1e-5) == (task == "soft")


def test_import_of_one_output_separates_two_classes(tmp_path: Path):
    file = WRITERS["state_dict"](made(RESNET, 1), tmp_path)
    found = imported(file, RESNET, tmp_path, class_names=("no", "yes"))
    assert (found.model.metadata.one_logit, found.model.metadata.loss) == (True, "bce")
    with pytest.raises(UsageError, match="has 1 output \\(fc\\), so it separates two classes. Give a name for each"):
        tl.import_model(file, arch=RESNET, class_names=NAMES, out=tmp_path / "other")
    with pytest.raises(UsageError, match="which separates two classes: it is of no multi-label data"):
        tl.import_model(file, arch=RESNET, class_names=("a", "b"), task="multi-label", out=tmp_path / "other")


def tutorials_vgg() -> nn.Module:
    """The tutorial's head: a Linear after the thousand outputs."""
    module = torchvision.models.vgg11(weights=None, init_weights=False)
    module.classifier.add_module("Linear", nn.Linear(1000, 3))
    return module.eval()


def appended_resnet() -> nn.Module:
    module = made("torchvision:resnet18", 10)
    module.fc = nn.Sequential(module.fc, nn.Linear(10, 3))
    return module.eval()


def dropout_resnet() -> nn.Module:
    module = made("torchvision:resnet18")
    module.fc = nn.Sequential(nn.Dropout(0.5), nn.Linear(512, 3))
    return module.eval()


def mlp_resnet() -> nn.Module:
    module = made("torchvision:resnet18")
    module.fc = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 3))
    return module.eval()


@pytest.mark.parametrize(
    ("build", "arch", "head", "layer", "base"),
    [
        (tutorials_vgg, "vgg11", "append", "classifier.Linear", 1000),
        (appended_resnet, "resnet18", "append", "fc.1", 10),
        (dropout_resnet, "resnet18", "swap", "fc.1", 3),
        (mlp_resnet, "resnet18", "mlp", "fc.3", 3),
    ],
)
def test_import_of_a_changed_head_gives_the_same_outputs(
    build: Callable[[], nn.Module], arch: str, head: str, layer: str, base: int, tmp_path: Path
):
    module = build()
    found = imported(WRITERS["state_dict"](module, tmp_path), arch, tmp_path)
    assert (found.network.head, found.network.layer, found.network.base_classes) == (head, layer, base)
    expected, outputs = logits_of(module, found)
    torch.testing.assert_close(outputs, expected, rtol=1e-5, atol=1e-5)


def test_import_of_a_lone_linear_in_a_sequential_says_what_it_takes_for_granted(tmp_path: Path):
    found = imported(WRITERS["state_dict"](dropout_resnet(), tmp_path), "resnet18", tmp_path)
    assert found.network.warnings[0] == (
        "fc.1 is taken for the classifier fc: layers before it in its Sequential, such as Dropout, have no tensors, "
        "and are taken to change nothing in prediction"
    )


def test_import_of_a_network_with_another_activation_is_refused(tmp_path: Path):
    module = made("torchvision:resnet18")
    module.relu = nn.Sigmoid()
    with pytest.raises(WeightsError, match="The network in the file is no plain torchvision:resnet18: with the same"):
        imported(whole(module, tmp_path), "resnet18", tmp_path)
    assert not (tmp_path / "run").exists()


def test_import_of_a_head_that_tl_does_not_build_says_what_can_be_done(tmp_path: Path):
    module = made("torchvision:resnet18")
    module.fc = nn.Sequential(nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 3))
    file = WRITERS["state_dict"](module, tmp_path)
    with pytest.raises(WeightsError) as caught:
        imported(file, "resnet18", tmp_path)
    assert str(caught.value) == (
        "weights.pth has a head of other layers than tl builds: fc.0, fc.2 in the place of fc. tl builds one Linear, "
        "one after the original classifier, or Linear-ReLU-Dropout-Linear. It can be the start of a fine-tune, which "
        "gives it a head for your classes: weights=FILE."
    )


def test_import_of_another_network_shows_both_and_names_the_one_that_fits(tmp_path: Path):
    file = WRITERS["state_dict"](made("torchvision:squeezenet1_1"), tmp_path)
    with pytest.raises(WeightsError) as caught:
        imported(file, "squeezenet1_0", tmp_path)
    first, *rows = str(caught.value).splitlines()
    assert first == (
        f"{file} does not fit torchvision:squeezenet1_0: 30 tensors matched, 12 missing from the file, 12 not in the "
        'network, 10 of another shape. It fits torchvision:squeezenet1_1: arch="torchvision:squeezenet1_1".'
    )
    assert rows[:2] == [
        "  network                                  file",
        "  features.0.weight 96x3x7x7               64x3x3x3",
    ]
    assert "  features.5.squeeze.weight                features.6.squeeze.weight" in rows
    assert rows[-1] == "  ... and 10 more"


def test_import_of_the_wrong_number_of_names_says_how_many_the_tensors_have(tmp_path: Path):
    file = WRITERS["state_dict"](made(RESNET), tmp_path).rename(tmp_path / "resnet_10_classes.pth")
    start = f'To train it for other classes it needs none: weights="{file}" of tl finetune.'
    with pytest.raises(UsageError) as caught:
        imported(file, RESNET, tmp_path, class_names=[str(number) for number in range(10)])
    assert str(caught.value) == (
        f"There are 10 class names, but {file} has 3 outputs (fc). Give a name for each, in their order. {start}"
    )
    with pytest.raises(UsageError) as caught:
        imported(file, RESNET, tmp_path, class_names=None)
    assert str(caught.value) == (
        f"{file} has 3 outputs (fc) and no class names: give 3 names in their order, classes_file=FILE with one on "
        f"each line. {start}"
    )
    assert not (tmp_path / "run").exists()


def test_import_of_infinite_weights_is_refused(tmp_path: Path):
    module = made(RESNET)
    with torch.no_grad():
        module.conv1[0].weight[0, 0, 0, 0] = torch.nan
    with pytest.raises(WeightsError, match="no finite numbers \\(NaN or infinity\\) in 1 tensor: conv1.0.weight"):
        imported(WRITERS["state_dict"](module, tmp_path), RESNET, tmp_path)


@pytest.mark.parametrize(
    ("preprocessing", "message"),
    [
        (
            {"sise": 3},
            "preprocessing has no sise. It has size, height, width, mean, std, interpolation, crop, crop_fraction.",
        ),
        ({"crop": "middle"}, "preprocessing makes no InputSpec. This InputSpec is invalid"),
        ({"size": "big"}, "preprocessing makes no InputSpec. This InputSpec is invalid"),
        ({"std": 0}, "preprocessing makes no InputSpec. This InputSpec is invalid"),
    ],
)
def test_import_with_wrong_preprocessing_says_what_there_is(
    preprocessing: dict[str, Any], message: str, tmp_path: Path
):
    with pytest.raises(UsageError) as caught:
        imported(WRITERS["state_dict"](made(RESNET), tmp_path), RESNET, tmp_path, preprocessing=preprocessing)
    assert str(caught.value).startswith(message)


def test_import_keeps_the_channels_of_the_tensors_and_the_preprocessing_of_the_user(tmp_path: Path):
    module = made(RESNET, in_chans=1)
    settings = {"preprocessing": {"size": 64, "mean": 0.5, "std": [0.25], "crop": "squash", "crop_fraction": 1}}
    found = imported(WRITERS["state_dict"](module, tmp_path), RESNET, tmp_path, **settings)
    spec = tl.load(found.path).input_spec
    assert (spec.channels, spec.height, spec.width, spec.mean, spec.std) == (1, 64, 64, (0.5,), (0.25,))
    assert (spec.crop, spec.crop_fraction, found.network.warnings) == ("squash", 1, ())
    expected, outputs = logits_of(module, found)
    torch.testing.assert_close(outputs, expected, rtol=0, atol=1e-6)


def test_import_of_half_precision_says_that_it_converts(tmp_path: Path):
    found = imported(WRITERS["state_dict"](made(RESNET).half(), tmp_path), RESNET, tmp_path)
    assert "float16 converted to float32" in found.network.steps


def test_import_without_a_network_asks_for_one(tmp_path: Path):
    file = WRITERS["state_dict"](made(RESNET), tmp_path)
    with pytest.raises(UsageError, match="does not say which network it is of: arch=NAME, with a name from"):
        imported(file, None, tmp_path)
    torch.save({"arch": "resnet18", "state_dict": made("torchvision:resnet18").state_dict()}, file)
    with pytest.raises(UsageError, match='names resnet18, which torchvision and timm both have: arch="torchvision:'):
        imported(file, None, tmp_path)
    torch.save({"arch": "test_resnet", "state_dict": made(RESNET).state_dict()}, file)
    assert str(imported(file, None, tmp_path).network.arch) == RESNET


def test_import_of_a_model_of_tl_says_that_it_needs_none(judged_run: Run, tmp_path: Path):
    for name in (MODEL_FILE, "full_model.pt"):
        with pytest.raises(UsageError, match="is a model that tl wrote, with class names and preprocessing: use it as"):
            imported(judged_run.path / name, RESNET, tmp_path)


def test_import_writes_a_note_of_what_it_did(tmp_path: Path):
    file = WRITERS["DataParallel"](made(RESNET), tmp_path)
    found = imported(file, RESNET, tmp_path)
    note = json.loads((found.path / "import.json").read_text())
    assert (note["note"], note["file"], note["architecture"]) == ("tl_toolkit.import", str(file), RESNET)
    assert note["sha256"] == tl.inspect(file).sha256
    assert (note["matched"], note["missing"], note["unexpected"]) == (len(found.network.match.matched), [], [])
    assert note["steps"] == [f"module. removed from {len(made(RESNET).state_dict())} names"]


def test_imported_run_works_with_the_other_verbs(tmp_path: Path):
    found = imported(WRITERS["state_dict"](made(RESNET), tmp_path), RESNET, tmp_path, preprocessing={"size": 32})
    data = copy_digits(tmp_path / "data", ["0", "1", "7"], 4)
    for number, name in zip(("0", "1", "7"), NAMES, strict=True):
        (data / number).rename(data / name)
    assert tl.evaluate(found.model, str(data), "train").scores.images == 12
    assert tl.export(found.path, "state-dict", out=tmp_path / "again.pt").comparison.identical
    assert "imported" in tl.write_report(found.path, out=tmp_path / "report.html").read_text()
    assert tl.write_report(found.path, data=str(data), out=tmp_path / "judged.html").is_file()


def test_imported_run_cannot_be_resumed(tmp_path: Path):
    found = imported(WRITERS["state_dict"](made(RESNET), tmp_path), RESNET, tmp_path)
    with pytest.raises(UsageError, match="was imported, so there is no training to go on with. Train a new run from"):
        tl.resume(found.path)


@pytest.mark.parametrize("classes", [5, 1000])
def test_weights_of_any_number_of_classes_begin_a_fine_tune(classes: int, tiny_data: Path, tmp_path: Path):
    file = WRITERS["Lightning"](made(RESNET, classes), tmp_path).rename(tmp_path / "resnet_3_classes.pth")
    settings = {"arch": RESNET, "image_size": 32, "tune": "linear-probe", "probe_epochs": 1, "report": False}
    run = tl.finetune(data=tiny_data, weights=str(file), out=tmp_path / "run", **settings)
    assert (run.model.metadata.base_classes, run.model.module.fc.out_features) == (classes, 3)
    assert torch.equal(run.model.module.conv1[0].weight.cpu(), made(RESNET, classes).conv1[0].weight)


def test_imported_run_begins_a_fine_tune(tiny_data: Path, tmp_path: Path):
    found = imported(WRITERS["state_dict"](made(RESNET), tmp_path), RESNET, tmp_path, preprocessing={"size": 32})
    settings = {"arch": RESNET, "tune": "linear-probe", "probe_epochs": 1, "report": False}
    run = tl.finetune(data=tiny_data, weights=str(found.path / MODEL_FILE), out=tmp_path / "tuned", **settings)
    assert run.model.input_spec.height == 32
