"""Runs on images in tar shards: as on a folder of the same images, and resumed in the middle of a shard."""

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

import tl_toolkit as tl
from tests.helpers.runs import assert_same_run, assert_same_weights, metrics, stop_after
from tests.helpers.shards import write_shards
from tl_toolkit.data.packing import pack_source
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.tar_images import TarImages
from tl_toolkit.errors import RunInterruptedError, UsageError
from tl_toolkit.sampling import order


def pack(data: Path, folder: Path, size: int = 4000) -> Path:
    pack_source(open_source(str(data)), folder, size, lambda _: None)
    return folder


@pytest.fixture
def by_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards are read a few at a time, as those of a server are."""
    monkeypatch.setattr(order, "BUFFER_SAMPLES", 1)
    monkeypatch.setattr(order, "BUFFER_SHARDS", 2)
    monkeypatch.setattr(TarImages, "shards", property(lambda self: self.file.tolist()))


def test_run_on_packed_images_is_that_on_their_folder_to_the_bit(settings: dict[str, Any], tmp_path: Path):
    settings |= {"tune": "lp-ft", "probe_epochs": 3, "epochs": 2}
    packed = pack(settings["data"], tmp_path / "shards")
    one = tl.finetune(out=tmp_path / "folder", **settings)
    two = tl.finetune(out=tmp_path / "packed", **settings | {"data": packed})
    assert_same_run(one.path, two.path)
    assert one.model.metadata.split_note == two.model.metadata.split_note, "the contents of the same images"


def test_run_on_a_folder_is_evaluated_on_what_it_has_not_seen_in_shards(photos: Path, tmp_path: Path):
    run = tl.finetune(
        data=photos, arch="lenet5", weights="none", tune="full", epochs=1, val_split=0.2, out=tmp_path / "run"
    )
    found = tl.evaluate(tl.load(run.path), pack(photos, tmp_path / "shards"))
    assert (found.split, found.left_out, found.seen) == ("val", 24, 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_run_killed_in_the_middle_of_a_shard_ends_with_the_same_bits(
    by_shard: None, settings: dict[str, Any], tmp_path: Path, workers: int
):
    data = write_shards(tmp_path / "pets", 6, 12)
    settings |= {"data": data, "tune": "full", "epochs": 2, "workers": workers, "batch_size": 5, "augment": "strong"}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "stopped", callback=stop_after(7), **settings)
    resumed = tl.resume(tmp_path / "stopped")
    assert_same_run(resumed.path, whole.path)


def test_run_on_shards_a_few_at_a_time_has_another_order_than_a_shuffled_one(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
):
    settings |= {"data": write_shards(tmp_path / "pets", 6, 12), "tune": "full", "epochs": 1}
    shuffled = tl.finetune(out=tmp_path / "shuffled", **settings)
    request.getfixturevalue("by_shard")
    assert metrics(tl.finetune(out=tmp_path / "by_shard", **settings).path) != metrics(shuffled.path)


def test_probe_on_shards_a_few_at_a_time_is_that_on_shuffled_ones(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
):
    settings |= {"data": write_shards(tmp_path / "pets", 6, 12), "tune": "linear-probe", "probe_epochs": 3}
    shuffled = tl.finetune(out=tmp_path / "shuffled", **settings)
    request.getfixturevalue("by_shard")
    assert_same_run(tl.finetune(out=tmp_path / "by_shard", **settings).path, shuffled.path)


def test_probe_without_stored_features_reads_shards_a_few_at_a_time(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest
):
    data = write_shards(tmp_path / "pets", 6, 12)
    settings |= {"data": data, "tune": "linear-probe", "probe_epochs": 1, "feature_cache": False}
    shuffled = tl.finetune(out=tmp_path / "shuffled", **settings)
    request.getfixturevalue("by_shard")
    assert metrics(tl.finetune(out=tmp_path / "by_shard", **settings).path) != metrics(shuffled.path)


def test_balanced_run_on_shards_a_few_at_a_time_ends(by_shard: None, settings: dict[str, Any], tmp_path: Path):
    settings |= {"data": write_shards(tmp_path / "pets", 6, 12), "tune": "full", "epochs": 1, "sampler": "balanced"}
    assert tl.finetune(out=tmp_path / "run", **settings).summary["epochs"] == 1


def test_resume_in_another_order_is_refused(
    settings: dict[str, Any], tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    settings |= {"data": write_shards(tmp_path / "pets", 6, 12), "tune": "full", "epochs": 2}
    with monkeypatch.context() as patch:
        patch.setattr(TarImages, "shards", property(lambda self: self.file.tolist()))
        with pytest.raises(RunInterruptedError):
            tl.finetune(out=tmp_path / "run", callback=stop_after(2), **settings)
    with pytest.raises(UsageError, match=r"order of images \(by shard before, shuffled now\) changed since"):
        tl.resume(tmp_path / "run")


def test_resume_on_shards_that_are_gone_names_them(settings: dict[str, Any], tmp_path: Path):
    data = write_shards(tmp_path / "pets", 3, 12)
    settings |= {"data": f"{data}/{{000..002}}.tar", "tune": "full", "epochs": 2}
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "run", callback=stop_after(2), **settings)
    (data / "001.tar").rename(data / "moved.tar")
    with pytest.raises(UsageError) as error:
        tl.resume(tmp_path / "run")
    assert str(error.value) == (
        f"The images of {tmp_path / 'run'} are not where they were: Of the 3 shards of {data}/{{000..002}}.tar, "
        f"1 shard is missing: {data}/001.tar. The folder '{data}' has 3 of them, 000.tar to moved.tar. Fetch "
        "what is missing, or name those that are there. Say with data where they are now; they must be the same ones."
    )


def test_resume_on_shards_that_moved_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path):
    data = write_shards(tmp_path / "pets", 3, 12)
    settings |= {"data": data, "tune": "full", "epochs": 2}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "run", callback=stop_after(2), **settings)
    moved = shutil.copytree(data, tmp_path / "elsewhere", copy_function=shutil.copyfile)
    shutil.rmtree(data)
    assert_same_run(tl.resume(tmp_path / "run", data=moved).path, whole.path)


def test_run_with_an_unreadable_image_in_a_shard_leaves_it_out(settings: dict[str, Any], tmp_path: Path):
    data = write_shards(tmp_path / "pets", 2, 20)
    with tarfile.open(data / "000.tar") as archive:
        place = archive.getmember("00004.png").offset_data
    content = bytearray((data / "000.tar").read_bytes())
    content[place : place + 20] = bytes(20)
    (data / "000.tar").write_bytes(content)
    run = tl.finetune(out=tmp_path / "run", **settings | {"data": data, "tune": "full", "epochs": 1})
    assert "00004.png" in json.dumps(run.summary)


@pytest.mark.slow
def test_probe_on_packed_photographs_is_that_on_their_folder_to_the_bit(real_data: Path, tmp_path: Path):
    with tarfile.open(real_data / "hymenoptera.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    photographs = tmp_path / "hymenoptera"
    packed = pack(photographs, tmp_path / "shards", 10**7)
    settings: dict[str, Any] = {"arch": "resnet18", "weights": "bundled", "tune": "linear-probe"}
    one = tl.finetune(data=photographs, out=tmp_path / "folder", **settings)
    two = tl.finetune(data=packed, out=tmp_path / "packed", **settings)
    assert_same_weights(one.path, two.path, "model.safetensors")
    assert one.summary["val_accuracy"] == two.summary["val_accuracy"]
