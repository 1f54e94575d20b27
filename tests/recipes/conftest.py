"""Runs that are stopped on the way."""

import shutil
from pathlib import Path
from typing import Any

import pytest

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.runs import stop_after
from tl_toolkit.errors import RunInterruptedError


@pytest.fixture(scope="session")
def same_settings(tiny_data: Path) -> dict[str, Any]:
    """A run of a small network, with three steps an epoch."""
    common: dict[str, Any] = {"data": tiny_data, "arch": "timm:test_resnet", "weights": "none", "image_size": 32}
    return common | {"batch_size": 19, "log_every": 1, "arch_options": ("drop_rate=0.3",)}


@pytest.fixture
def settings(same_settings: dict[str, Any]) -> dict[str, Any]:
    """A copy of them that a test may change."""
    return dict(same_settings)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A stopped run, and its data."""
    folder = tmp_path_factory.mktemp("stopped")
    data = copy_digits(folder / "data", ["0", "1"], 12)
    with pytest.raises(RunInterruptedError):
        tl.finetune(
            data=data, arch="lenet5", weights="none", tune="full", epochs=4, out=folder / "run", callback=stop_after(2)
        )
    return folder / "run", data


@pytest.fixture
def stopped_run(stopped: tuple[Path, Path], tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(stopped[0], tmp_path / "run")
