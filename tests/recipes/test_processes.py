"""Two and three processes on CPUs, against one: the same split, order, augmentation, metrics and weights."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.folders import copy_digits
from tests.helpers.processes import Group, largest_difference, train
from tests.helpers.runs import assert_same_weights, metrics

SETTINGS = (
    *("--arch", "timm:test_resnet", "--weights", "none", "--image-size", "32", "--batch-size", "12"),
    *("--precision", "fp32", "--epochs", "1", "--workers", "0", "--threads", "1", "--quiet"),
)
TOLERANCE = 1e-5
"""Of each tensor's norm, after an epoch; see docs/processes.md."""

RATE = ("--lr", "0.0001", "--optimizer", "sgd", "--weight-decay", "0.0001")
"""A step that is proportional to the gradient, so that a gradient of the wrong size shows."""

HOW: dict[str, Sequence[str]] = {
    "full": ("--tune", "full", "--norm", "batch", *RATE),
    "last-stage": ("--tune", "last-stage", "--norm", "batch", "--views", "2", *RATE),
    "dropout": ("--tune", "full", "--norm", "batch", *RATE, "--arch-options", "drop_rate=0.3", "--ema", "0.9"),
    "weights": ("--tune", "full", "--norm", "frozen", *RATE, "--class-weights", "balanced", "--clip-gradient", "0.1"),
    "mixing": ("--tune", "full", "--norm", "frozen", *RATE, "--mixup", "0.4", "--cutmix", "0.4"),
}


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """41 images of train and 10 of val: neither is divisible by anything here."""
    return copy_digits(tmp_path_factory.mktemp("processes") / "digits", ["0", "1", "7"], 17)


def assert_close(run: Path, other: Path) -> None:
    for line, expected in zip(metrics(run), metrics(other), strict=True):
        assert line.keys() == expected.keys()
        for name, value in expected.items():
            near = isinstance(value, float) and math.isclose(line[name], value, rel_tol=1e-5)
            assert near or line[name] == value, (name, line[name], value)
    assert largest_difference(run, other) < TOLERANCE


@pytest.mark.parametrize("how", [pytest.param(how, marks=[] if how == "full" else pytest.mark.slow) for how in HOW])
def test_processes_train_the_weights_of_one(how: str, digits: Path, tmp_path: Path):
    arguments = ("--data", digits, *SETTINGS, *HOW[how])
    one = train(1, tmp_path / "1", *arguments)
    for count in (2, 3):
        several = train(count, tmp_path / str(count), *arguments)
        assert_close(several, one)
        summaries = [json.loads((run / "summary.json").read_text()) for run in (several, one)]
        assert summaries[0]["val_accuracy"] == summaries[1]["val_accuracy"]
        assert summaries[0]["class_accuracy"] == summaries[1]["class_accuracy"]


def test_accumulated_parts_train_the_weights_of_whole_batches(digits: Path, tmp_path: Path):
    arguments = ("--data", digits, *SETTINGS, "--tune", "full", "--norm", "frozen", *RATE)
    whole = train(1, tmp_path / "whole", *arguments)
    assert_close(train(1, tmp_path / "parts", *arguments, "--accumulate", "3"), whole)
    assert_close(train(2, tmp_path / "both", *arguments, "--accumulate", "3"), whole)


@pytest.mark.parametrize(
    "storing", [[], pytest.param(["--cache-size", "0"], marks=pytest.mark.slow)], ids=["on disk", "in memory"]
)
def test_processes_solve_a_probe_to_the_bits_of_one(storing: list[str], digits: Path, tmp_path: Path):
    arguments = ("--data", digits, *SETTINGS, "--tune", "linear-probe", *storing)
    one, two = (train(count, tmp_path / str(count), *arguments) for count in (1, 2))
    assert metrics(two) == metrics(one)
    assert_same_weights(two, one, "last.safetensors", "model.safetensors")


def test_run_of_two_processes_stopped_goes_on_in_one_and_three(digits: Path, tmp_path: Path):
    settings = ["--data", digits, *SETTINGS, "--tune", "full", "--norm", "batch", *RATE, "--checkpoint-every", "1"]
    whole = train(1, tmp_path / "whole", *settings)
    for count in (1, 3):
        folder = tmp_path / f"stopped {count}"
        group = Group(2, folder, [*settings, "--out", folder / "run"])
        while not (folder / "run" / "checkpoint.safetensors").exists():
            assert all(process.is_alive() for process in group.processes), group.told(0)
        group.processes[1].kill()
        assert group.end(30)[0] == 1
        assert_close(train(count, folder, "--resume", folder / "run"), whole)


def refused(group: Group) -> str:
    """Return what the first process says; the others say nothing."""
    codes = group.end()
    assert None not in codes and 0 not in codes
    assert [group.told(rank) for rank in range(1, len(codes))] == [""] * (len(codes) - 1)
    return group.told(0)


def test_batch_that_cannot_be_divided_is_refused_with_sizes_that_can(digits: Path, tmp_path: Path):
    arguments = ["--data", digits, *SETTINGS, "--tune", "full", "--batch-size", "13", "--out", tmp_path / "run"]
    assert refused(Group(3, tmp_path, arguments)) == (
        "Error: --batch-size 13 is the number of images of a step over all processes, and cannot be divided among 3 "
        "processes: take 12 or 15.\n"
    )
    assert not (tmp_path / "run").exists()


def test_other_images_in_a_process_are_refused(digits: Path, tmp_path: Path):
    other = copy_digits(tmp_path / "other" / "digits", ["0", "1", "7"], 16)
    arguments = [*SETTINGS, "--tune", "full", "--out", tmp_path / "run"]
    told = refused(Group(2, tmp_path, lambda rank: ["--data", other if rank else digits, *arguments]))
    last = told.splitlines()[-1]
    assert last.startswith("Error: The processes of a run must have the same images: train is 45 images,"), told
    assert "in process 0 and 42 images" in last
    assert not (tmp_path / "run").exists()


def _older_timm(rank: int) -> None:
    if rank:
        import importlib.metadata

        version = importlib.metadata.version
        importlib.metadata.version = lambda name: "0.9" if name == "timm" else version(name)


def test_other_versions_in_a_process_are_refused(digits: Path, tmp_path: Path):
    arguments = ["--data", digits, *SETTINGS, "--tune", "full", "--out", tmp_path / "run"]
    told = refused(Group(2, tmp_path, arguments, _older_timm))
    assert told.startswith("Error: The processes of a run must have the same versions: timm is"), told
    assert told.endswith("in process 0 and 0.9 in process 1.\n")


def _bad_image(rank: int) -> None:
    if rank == 1:
        from tl_toolkit.errors import DataError
        from tl_toolkit.training import divided

        def fail(*_: object) -> None:
            raise DataError("cat.png: cannot be read any more")

        divided._loss = fail  # type: ignore[assignment]


def test_error_of_one_process_is_told_by_all_that_end(digits: Path, tmp_path: Path):
    arguments = ["--data", digits, *SETTINGS, "--tune", "full", "--out", tmp_path / "run"]
    group = Group(2, tmp_path, arguments, _bad_image)
    assert group.end(60) == [1, 1]
    assert group.told(1) == "Error: process 1: cat.png: cannot be read any more\n"
    assert group.told(0).endswith(
        "\nError: Process 1 failed: cat.png: cannot be read any more. All processes of the run end; --resume goes on "
        "from its last checkpoint, with any number of processes.\n"
    )
