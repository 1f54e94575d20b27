"""Datasets of Hugging Face: from a stand-in for the Hub, and from folders that the library saved."""

import os
import shutil
import socket
import sys
import tarfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.hub import StandInHub, serve_hub
from tests.helpers.parquet import image_cells, write_folder
from tests.helpers.runs import assert_same_weights
from tl_toolkit.data import parquet_images
from tl_toolkit.data.sources import hub as hub_source
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import ToolkitError

CLASSES = ["0", "1", "7"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What the library prints while a test writes is not what is tested."""
    with warnings.catch_warnings(), hub_source.quiet_libraries():
        yield


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInHub]:
    with serve_hub(monkeypatch, tmp_path / "hub_cache") as served:
        yield served


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    return copy_digits(tmp_path / "digits", CLASSES, 8)


def make_dataset(folder: Path, **columns: list[Any]) -> datasets.Dataset:
    """The images of a folder with class folders, as `datasets` has them."""
    cells = image_cells(folder)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    values: dict[str, list[Any]] = {
        "image": [image for image, _ in cells],
        "label": [CLASSES.index(kind) for _, kind in cells],
    }
    if not columns:
        return datasets.Dataset.from_dict(values, features=datasets.Features(features))
    return datasets.Dataset.from_dict(values | columns)


def problem(spec: object, **settings: Any) -> str:
    with pytest.raises(ToolkitError) as error:
        open_source(spec, **settings)
    return str(error.value)


def pixels(source: Source, split: str = "train") -> list[bytes]:
    samples = source.split(split)
    return [samples.open(index, 3).tobytes() for index in range(len(samples))]


def names(source: Source, split: str = "train") -> list[str]:
    prefix = f"{source.root}/" if source.root else ""
    return [name.removeprefix(prefix) for name in source.split(split).names()]


def test_saved_folder_has_the_images_names_and_classes_of_the_class_folders(tmp_path: Path, digits: Path):
    make_dataset(digits).save_to_disk(tmp_path / "saved")
    folder, saved = open_source(digits), open_source(tmp_path / "saved")
    assert (saved.name, saved.class_names, saved.task, saved.notes) == ("saved", tuple(CLASSES), "multi-class", [])
    assert list(saved.split("train").targets) == list(folder.split("train").targets)
    assert names(saved) == names(folder)
    assert pixels(saved) == pixels(folder)


def test_saved_splits_have_the_names_of_a_folder_of_splits(tmp_path: Path, digits: Path):
    for split in ("train", "test"):
        shutil.copytree(digits, tmp_path / "divided" / split)
    whole = make_dataset(digits)
    datasets.DatasetDict({"train": whole, "test": whole}).save_to_disk(tmp_path / "saved")
    folder, saved = open_source(tmp_path / "divided"), open_source(tmp_path / "saved")
    assert [names(saved, split) for split in ("train", "test")] == [names(folder, split) for split in ("train", "test")]
    assert names(saved)[0].startswith("train/")


def test_saved_splits_are_train_val_and_test(tmp_path: Path, digits: Path):
    whole = make_dataset(digits)
    parts = {"train": whole, "validation": whole.select([0, 9]), "test": whole.select([3]), "extra": whole}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    source = open_source(tmp_path / "saved")
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 24, "val": 2, "test": 1}
    assert source.notes == [f"Passed over extra of {tmp_path}/saved: neither train, validation nor test."]
    assert pixels(source, "val") == [pixels(source)[0], pixels(source)[9]]


def test_saved_images_are_known_by_the_dataset_and_row_wherever_it_is(tmp_path: Path, digits: Path):
    dataset = make_dataset(digits)
    dataset.save_to_disk(tmp_path / "saved")
    prints = open_source(tmp_path / "saved").split("train").identities()
    assert None not in prints
    assert len(set(prints)) == 24
    shutil.move(tmp_path / "saved", tmp_path / "elsewhere")
    assert open_source(tmp_path / "elsewhere").split("train").identities() == prints
    dataset.select(range(23, -1, -1)).save_to_disk(tmp_path / "other")  # Files of the same names and sizes.
    assert not set(open_source(tmp_path / "other").split("train").identities()) & set(prints)


def test_images_saved_from_their_paths_are_those_of_the_files(tmp_path: Path, digits: Path):
    files = sorted(str(path) for path in digits.rglob("*.png"))
    dataset = datasets.Dataset.from_dict({"image": files, "label": [0, 1] * 12})
    dataset = dataset.cast_column("image", datasets.Image())
    assert pixels(source_of(dataset, tmp_path)) == pixels(open_source(digits))


def source_of(dataset: datasets.Dataset, folder: Path) -> Source:
    dataset.save_to_disk(folder / "saved")
    return open_source(folder / "saved")


def test_lists_of_labels_are_several_labels_an_image(tmp_path: Path, digits: Path):
    labels = datasets.List(datasets.ClassLabel(names=["a", "b"]))
    features = datasets.Features({"image": datasets.Image(), "objects": labels})
    cells = [image for image, _ in image_cells(digits)]
    dataset = datasets.Dataset.from_dict({"image": cells, "objects": [[0], [0, 1], []] * 8}, features=features)
    source = source_of(dataset, tmp_path)
    assert (source.task, source.class_names) == ("multi-label", ("a", "b"))
    assert source.split("train").targets[:3].tolist() == [[1, 0], [1, 1], [0, 0]]


def test_damaged_saved_folder_says_so(tmp_path: Path, digits: Path):
    make_dataset(digits).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:100])
    message = problem(tmp_path / "saved")
    assert message.startswith(
        f"{tmp_path}/saved cannot be read as a dataset that `datasets` saved: it is damaged or incomplete ("
    )
    assert message.endswith("). Save or copy it again.")


def test_folder_parquet_and_saved_dataset_give_the_same_split_and_weights(
    tmp_path: Path, real_data: Path, small_settings: dict[str, object]
):
    photos = tmp_path / "photos"
    with tarfile.open(real_data / "hymenoptera.tar") as archive:
        wanted = [m for m in archive.getmembers() if m.isfile() and "/val/" in m.name and m.name.endswith(".jpg")]
        for kind in ("ants", "bees"):
            for member in sorted((m for m in wanted if f"/{kind}/" in m.name), key=lambda m: m.name)[:12]:
                target = photos / kind / Path(member.name).name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    cells = image_cells(photos)
    features = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["ants", "bees"])}
    columns = {"image": [image for image, _ in cells], "label": [["ants", "bees"].index(kind) for _, kind in cells]}
    saved = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    saved.save_to_disk(tmp_path / "saved")
    saved.to_parquet(tmp_path / "hub.parquet")
    write_folder(tmp_path / "photos.parquet", photos, row_group_size=5)
    settings = {**small_settings, "tune": "lp-ft", "epochs": 1, "workers": 0}
    runs = [
        tl.finetune(data=tmp_path / name, out=tmp_path / f"run-{name}", **settings)
        for name in ("photos", "photos.parquet", "hub.parquet", "saved")
    ]
    for run in runs[1:]:
        assert_same_weights(runs[0].path, run.path, "model.safetensors", "last.safetensors")


def put_on_hub(hub: StandInHub, digits: Path, tmp_path: Path, name: str = "team/digits", **more: Any) -> Path:
    """Put the digits on the stand-in as push_to_hub does, with a split of one image."""
    folder = tmp_path / "repositories" / name
    (folder / "data").mkdir(parents=True)
    whole = make_dataset(digits)
    whole.to_parquet(folder / "data/train-00000-of-00001.parquet")
    whole.select([0]).to_parquet(folder / "data/test-00000-of-00001.parquet")
    hub.add(name, folder, **more)
    return folder


def test_dataset_of_the_hub_has_the_images_of_the_class_folders(hub: StandInHub, digits: Path, tmp_path: Path):
    put_on_hub(hub, digits, tmp_path)
    source, folder = open_source("hf:team/digits"), open_source(digits)
    assert (source.name, source.class_names, source.notes) == ("digits", tuple(CLASSES), [])
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 24, "test": 1}
    assert names(source) == names(folder)
    assert pixels(source) == pixels(folder)
    again = open_source("hf:team/digits@main")
    assert again.split("train").identities() == source.split("train").identities()
    assert hub.sent("train-00000-of-00001.parquet") > 0


def test_dataset_of_the_hub_comes_from_its_cache_without_a_network(
    hub: StandInHub, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    put_on_hub(hub, digits, tmp_path)
    online = open_source("hf:team/digits")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    offline = open_source("hf:team/digits")
    assert offline.split("train").identities() == online.split("train").identities()
    assert offline.notes == [
        "hf:team/digits is taken as the cache has it: the Hugging Face Hub cannot be asked ([Errno 111] Connection "
        "refused)."
    ]
    assert "nothing says whether v1 is that." in problem("hf:team/digits@v1")


def test_output_has_nothing_of_the_library(
    hub: StandInHub, digits: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    put_on_hub(hub, digits, tmp_path)
    capfd.readouterr()
    open_source("hf:team/digits")
    assert capfd.readouterr() == ("", "")


def test_progress_of_a_download_is_told_in_bytes(
    hub: StandInHub, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = put_on_hub(hub, digits, tmp_path)
    monkeypatch.setattr(hub_source, "PROGRESS_SECONDS", 0.001)
    told: list[tuple[int, int | None]] = []
    open_source("hf:team/digits", progress=lambda done, total: told.append((done, total)))
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    assert told
    assert all(0 < done <= size == total for done, total in told)


def test_names_that_the_hub_does_not_know_are_refused(hub: StandInHub, digits: Path, tmp_path: Path):
    put_on_hub(hub, digits, tmp_path)
    assert problem("hf:team/digit") == (
        "There is no dataset team/digit on the Hugging Face Hub, or it is private. Look at its name; to read a private "
        "one, log in with `hf auth login`, or HF_TOKEN in the environment, first."
    )
    assert problem("hf:team/digits@mian") == (
        "No revision of team/digits is named 'mian'. Did you mean main? A revision is a branch, a tag or a commit."
    )
    assert problem("hf:team/digits:fine") == "No config of team/digits is named 'fine'. Choose from default."


def test_dataset_with_several_configs_asks_which(hub: StandInHub, digits: Path, tmp_path: Path):
    folder = put_on_hub(hub, digits, tmp_path)
    shutil.move(folder / "data", folder / "fine")
    shutil.copytree(folder / "fine", folder / "coarse")
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: fine\n  data_files:\n  - split: train\n    path: fine/train-*\n"
        "- config_name: coarse\n  data_files:\n  - split: train\n    path: coarse/train-*\n---\n"
    )
    assert problem("hf:team/digits") == (
        'hf:team/digits has several configs: fine, coarse. Say which one, for example data="hf:team/digits:fine".'
    )
    assert problem("hf:team/digits:corse") == (
        "No config of team/digits is named 'corse'. Did you mean coarse? Choose from fine, coarse."
    )
    assert len(open_source("hf:team/digits:coarse").split("train")) == 24


def test_gated_dataset_says_how_to_be_let_in(hub: StandInHub, digits: Path, tmp_path: Path):
    put_on_hub(hub, digits, tmp_path, gated="manual", allowed=False)
    assert problem("hf:team/digits") == (
        "hf:team/digits is gated: its owner lets people in one by one. Ask for access on "
        "https://huggingface.co/datasets/team/digits, then log in with `hf auth login`, or HF_TOKEN in the "
        "environment, and try again."
    )


def test_dataset_that_is_a_program_is_refused(hub: StandInHub, digits: Path, tmp_path: Path):
    (put_on_hub(hub, digits, tmp_path) / "digits.py").write_text("raise SystemExit")
    assert problem("hf:team/digits") == (
        "hf:team/digits needs the program digits.py of its repository, and `datasets` runs none since version 4. If "
        'the Hub has converted it to Parquet, that is data="hf:team/digits@refs/convert/parquet".'
    )


def test_dataset_without_data_says_so(hub: StandInHub, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty/README.md").write_text("# Nothing\n")
    hub.add("team/empty", tmp_path / "empty")
    assert problem("hf:team/empty").startswith("hf:team/empty cannot be fetched: ")


def test_hub_that_never_answers_is_given_up_within_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(hub_source, "ANSWER_SECONDS", 0.5)
    with serve_hub(monkeypatch, tmp_path), socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        start = time.monotonic()
        message = problem("hf:team/digits")
    assert time.monotonic() - start < 5
    assert message == (
        "hf:team/digits is not in the cache of `datasets`, and the Hugging Face Hub cannot be asked (no answer within "
        "0 s). On a machine with a network, save it by datasets.load_dataset('team/digits').save_to_disk(FOLDER), copy "
        "FOLDER here and say data=FOLDER."
    )


def test_without_datasets_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, digits: Path):
    make_dataset(digits).save_to_disk(tmp_path / "saved")
    monkeypatch.setitem(sys.modules, "datasets", None)
    expected = "A dataset of Hugging Face needs the package datasets: pip install 'tl_toolkit[hf]'."
    assert problem(tmp_path / "saved") == problem("hf:team/digits") == expected


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No set is so small that its row groups stay in memory; the cache of remote files is empty."""
    monkeypatch.setattr(parquet_images, "CACHE_BYTES", 1000)
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("large")
def test_streamed_dataset_is_the_downloaded_one_fetched_file_by_file(hub: StandInHub, digits: Path, tmp_path: Path):
    folder = put_on_hub(hub, digits, tmp_path)
    padding = datasets.Dataset.from_dict({"image": [{"bytes": os.urandom(2**20), "path": "x.png"}], "label": [0]})
    padding = padding.cast(make_dataset(digits).features)
    whole = datasets.concatenate_datasets(
        [make_dataset(digits), padding]
    )  # Behind the labels of the digits, a megabyte.
    whole.to_parquet(folder / "data/train-00000-of-00001.parquet", batch_size=24)
    hub.asked.clear()
    source = open_source("hf:team/digits", streaming=True)
    assert hub.sent(".parquet") < 2**18, "only the ends of the files and the labels should be read"
    assert (source.name, source.class_names) == ("digits", tuple(CLASSES))
    samples = source.split("train")
    assert samples.images.shards == [0] * 25
    assert names(source)[:24] == names(open_source(digits))
    assert [samples.open(index, 3).tobytes() for index in range(24)] == pixels(open_source(digits))
    assert hub.sent("test-00000-of-00001.parquet") < 2**17
    assert hub.sent("train-00000-of-00001.parquet") < 1.5 * 2**20, "a file should be fetched once"
    again = open_source("hf:team/digits", streaming=True)
    assert again.split("train").identities() == samples.identities()


@pytest.mark.usefixtures("large")
def test_streamed_dataset_gives_the_weights_of_the_folder(
    hub: StandInHub, digits: Path, tmp_path: Path, small_settings: dict[str, object]
):
    folder = tmp_path / "repositories" / "whole"
    (folder / "data").mkdir(parents=True)
    make_dataset(digits).to_parquet(folder / "data/train-00000-of-00001.parquet")
    hub.add("team/whole", folder)
    settings = {**small_settings, "tune": "linear-probe", "workers": 0}
    plain = tl.finetune(data=digits, out=tmp_path / "plain", **settings)
    streamed = tl.finetune(data="hf:team/whole", streaming=True, out=tmp_path / "streamed", **settings)
    assert_same_weights(plain.path, streamed.path, "model.safetensors")


def test_dataset_of_other_files_is_streamed_as_the_hub_has_converted_it(hub: StandInHub, digits: Path, tmp_path: Path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/own.py").write_text("raise SystemExit")
    for split, rows in (("train", range(24)), ("partial-test", range(3))):
        folder = tmp_path / "converted/default" / split
        folder.mkdir(parents=True)
        make_dataset(digits).select(rows).to_parquet(folder / "0000.parquet")
    hub.add("team/own", tmp_path / "own", converted=tmp_path / "converted")
    source = open_source("hf:team/own", streaming=True)
    assert {split: len(samples) for split, samples in source.splits.items()} == {"train": 24, "test": 3}
    assert pixels(source) == pixels(open_source(digits))
    assert source.notes == ["Of team/own the Hub has converted only the beginning to Parquet: the rest is left out."]
    assert problem("hf:team/own:fine", streaming=True) == "No config of team/own is named 'fine'. Choose from default."


def test_dataset_that_cannot_be_streamed_says_why(hub: StandInHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/own.py").write_text("raise SystemExit")
    hub.add("team/own", tmp_path / "own")
    assert problem("hf:team/own", streaming=True) == (
        "hf:team/own has no Parquet files, and the Hub has not converted it to such, so it cannot be streamed. Without "
        "streaming it is downloaded as a whole."
    )
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert problem("hf:team/own", streaming=True) == (
        "hf:team/own cannot be streamed: the Hugging Face Hub cannot be asked ([Errno 111] Connection refused)."
    )
