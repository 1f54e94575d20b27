"""What the README says of accuracy, on real photographs: choices were made on val, and test is only looked at here."""

import statistics
import tarfile
from pathlib import Path

import pytest

import tl_toolkit as tl
from tl_toolkit.data.sources.folder import digits_folder

SEEDS = (0, 1, 2)


@pytest.fixture(scope="session")
def photographs(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """caltech101/ and hymenoptera/, unpacked."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("caltech101", "hymenoptera"):
        with tarfile.open(real_data / f"{name}.tar") as archive:
            archive.extractall(folder, filter="data")
    return folder


def accuracies(data: Path, out: Path, score: str, **settings: object) -> list[float]:
    """The score of each seed, printed with mean and spread."""
    scores: list[float] = []
    seconds: list[float] = []
    for seed in SEEDS:
        run = tl.finetune(data=data, seed=seed, out=out / str(seed), **settings)
        scores.append(run.summary[score])
        seconds.append(run.summary["seconds"])
    spread = statistics.stdev(scores)
    each = ", ".join(f"{value:.4f}" for value in scores)
    took = f"median {statistics.median(seconds):.0f} s"
    print(f"{data.name} {settings}: {score} {statistics.mean(scores):.4f} ± {spread:.4f} ({each}), {took}")
    return scores


SMALL = {"arch": "resnet18", "weights": "bundled", "image_size": 64}
"""The bundled ResNet18 at its own size."""


@pytest.mark.slow
def test_defaults_on_caltech101_reach_their_floor(photographs: Path, tmp_path: Path):
    assert statistics.mean(accuracies(photographs / "caltech101", tmp_path, "test_accuracy")) >= 0.92


@pytest.mark.slow
def test_five_minutes_on_caltech101_reach_their_floor(photographs: Path, tmp_path: Path):
    scores = accuracies(photographs / "caltech101", tmp_path, "test_accuracy", time_budget="5m")
    assert statistics.mean(scores) >= 0.93


@pytest.mark.slow
def test_linear_probe_at_160_px_on_caltech101_reaches_its_floor(photographs: Path, tmp_path: Path):
    settings = {"arch": "tf_efficientnet_lite0", "image_size": 160, "tune": "linear-probe"}
    assert statistics.mean(accuracies(photographs / "caltech101", tmp_path, "test_accuracy", **settings)) >= 0.915


@pytest.mark.slow
def test_defaults_on_ants_and_bees_reach_their_floor(photographs: Path, tmp_path: Path):
    assert statistics.mean(accuracies(photographs / "hymenoptera", tmp_path, "val_accuracy")) >= 0.945


@pytest.mark.slow
def test_defaults_on_digits_reach_their_floor(tmp_path: Path):
    assert statistics.mean(accuracies(digits_folder(), tmp_path, "test_accuracy")) >= 0.985


@pytest.mark.slow
def test_probe_of_the_bundled_network_reaches_its_floor(photographs: Path, tmp_path: Path):
    scores = accuracies(photographs / "caltech101", tmp_path, "test_accuracy", tune="linear-probe", **SMALL)
    assert statistics.mean(scores) >= 0.60


@pytest.mark.slow
def test_finetuning_of_the_bundled_network_leaves_random_weights_behind(photographs: Path, tmp_path: Path):
    caltech, tune = photographs / "caltech101", {"tune": "lp-ft"}
    bundled = accuracies(caltech, tmp_path / "bundled", "test_accuracy", **tune, **SMALL)
    random = accuracies(caltech, tmp_path / "none", "test_accuracy", **tune, **SMALL | {"weights": "none"})
    assert statistics.mean(bundled) >= 0.63
    assert statistics.mean(bundled) - statistics.mean(random) >= 0.20


def test_ants_and_bees_are_read_with_their_stray_gif(photographs: Path, tmp_path: Path):
    run = tl.finetune(data=photographs / "hymenoptera", tune="linear-probe", views=2, out=tmp_path / "run", **SMALL)
    assert (run.summary["train_images"], run.summary["val_images"], run.summary["test_images"]) == (245, 153, 0)
    assert run.summary["test_accuracy"] is None
    assert run.summary["bad_images"] == []
    assert run.summary["val_accuracy"] > 0.75
