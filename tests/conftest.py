"""Fixtures that many tests share, and how many processes run them. No test reaches beyond this machine."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # Read by huggingface_hub when it is imported.
os.environ.pop("COLUMNS", None)  # Read by rich when it is imported; pytest-xdist sets it.
# Read by torch when it is imported: threads of several processes would wait for each other.
os.environ.update({"OMP_NUM_THREADS": "1", **os.environ} if "PYTEST_XDIST_WORKER" in os.environ else {})

import time
import urllib.error
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import hypothesis
import pytest
import torch

import tl_toolkit as tl
from tests.corpus import Kind, write_corpus
from tests.helpers.browser import CHROMIUM, LAUNCH, find_chromium, unavailable
from tests.helpers.folders import copy_digits
from tl_toolkit.io import download
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs import contention as pace
from tl_toolkit.system.cores import bound_cores
from tl_toolkit.system.cpu_usage import Usage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# The same examples in every run; for other ones, and more of them: --hypothesis-profile=long.
hypothesis.settings.register_profile("fixed", derandomize=True, max_examples=50, deadline=None, database=None)
hypothesis.settings.register_profile("long", max_examples=1_000, deadline=None)
hypothesis.settings.load_profile("fixed")

REAL_DATA = os.environ.get("TL_REAL_DATA")
MAX_PROCESSES = 8
"""Each holds about a gigabyte, and trains the models that tests share once more."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Run the whole fast suite in a process per core, and what someone picked from it in this process.

    Importing torch costs a process some seconds, and a worker's prints are not shown: neither suits a single file, a
    slow test or a benchmark. `-n 0` and `-n NUMBER` overrule it.
    """
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    picked = config.option.keyword or config.option.markexpr != "not slow" or config.option.capture == "no"
    return min(bound_cores(), MAX_PROCESSES) if whole and not picked else 0


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file that share a costly fixture in one process, and those with a browser in another."""
    for item in items:
        definitions = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        if any(found[-1].scope == "module" for found in definitions):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
        elif isinstance(item, pytest.Function) and "browser" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Requests to other machines fail as they do offline; torch.hub's and the Hub's caches are empty."""
    real_open = download.open_url

    def local_only(url: str) -> object:
        if urllib.parse.urlsplit(url).hostname not in download.LOCAL_HOSTS:
            raise urllib.error.URLError("no network in tests")
        return real_open(url)

    monkeypatch.setattr(download, "open_url", local_only)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch_home")))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub_cache")))


@pytest.fixture(autouse=True)
def _calm_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run tells does not depend on what else this machine does."""
    monkeypatch.setattr(pace, "usage", lambda: Usage(time.perf_counter(), None))
    monkeypatch.setattr(pace, "load_per_core", lambda: 0.0)


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are not flushed to the disk, which no test takes the power from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests' cache is not the developer's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images, or a skip that says how to have it."""
    if not REAL_DATA:
        pytest.skip("needs real images: set TL_REAL_DATA to their folder (see CONTRIBUTING.md)")
    return Path(REAL_DATA)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Ten images of each of three classes, without splits."""
    return copy_digits(tmp_path / "photos", ["0", "1", "7"], 10)


@pytest.fixture(scope="session")
def tiny_settings() -> dict[str, object]:
    """A run of a few seconds."""
    network = {"arch": "resnet18", "weights": "bundled", "image_size": 32}
    return {**network, "tune": "lp-ft", "epochs": 1, "probe_epochs": 4, "views": 2, "batch_size": 16}


@pytest.fixture(scope="session")
def small_settings(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> dict[str, object]:
    """A run of half a second, on a network of 0.5 M parameters whose pretrained weights are the same for every seed."""
    network = {"arch": "timm:test_resnet", "image_size": 32, "batch_size": 16}
    out = tmp_path_factory.mktemp("small") / "run"
    run = tl.finetune(data=tiny_data, out=out, weights="none", tune="full", epochs=1, **network)
    weights = str(run.path / "model.safetensors")
    return {**network, "weights": weights, "tune": "lp-ft", "epochs": 1, "probe_epochs": 4, "views": 2}


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes with train and test splits."""
    folder = tmp_path_factory.mktemp("data") / "zeros ünd ones"
    copy_digits(folder / "train", ["0", "1", "7"], 20)
    copy_digits(folder / "test", ["0", "1", "7"], 6, "test")
    return folder


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path, tiny_settings: dict[str, object]) -> Run:
    """A finished run that no test changes."""
    out = tmp_path_factory.mktemp("runs") / "run"
    return tl.finetune(data=tiny_data, out=out, save=("state-dict", "full-model"), **tiny_settings)


@pytest.fixture(scope="session")
def judged_run(tmp_path_factory: pytest.TempPathFactory, tiny_data: Path) -> Run:
    """A finished run with enough images in val for a temperature and for unknown images; no test changes it."""
    out = tmp_path_factory.mktemp("judged") / "run"
    network = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32}
    settings = {"tune": "linear-probe", "val_split": 0.4, "save": ("state-dict", "full-model")}
    return tl.finetune(data=tiny_data, out=out, **network, **settings)


@pytest.fixture
def write_weights(tmp_path: Path) -> Callable[[torch.nn.Module, str], Path]:
    """Saves a module's state_dict to a file of that name."""

    def write(module: torch.nn.Module, name: str) -> Path:
        path = tmp_path / name
        torch.save(module.state_dict(), path)
        return path

    return write


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory."""
    folder = tmp_path / "working directory"
    folder.mkdir()
    monkeypatch.chdir(folder)
    yield folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    """Every kind of image file, by its path, in a class folder of a train split; another class has digits."""
    folder = tmp_path_factory.mktemp("corpus") / "train"
    copy_digits(folder, ["0"], 30)
    return write_corpus(folder / "odd")


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    """A browser: the system's Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable('playwright is not installed: pip install -e ".[dev]"')
    found = find_chromium()
    if found is None:
        unavailable(f"no Chromium on the PATH: none of {', '.join(CHROMIUM)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=LAUNCH)
        yield started
        started.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder for screenshots; TL_SCREENSHOTS names one that is kept."""
    folder = Path(os.environ.get("TL_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
