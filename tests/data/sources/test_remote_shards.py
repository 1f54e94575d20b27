"""Tar shards of a server: what is fetched, in which order, and what is wrong with them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tl_toolkit as tl
from tests.helpers.runs import assert_same_run, stop_after
from tests.helpers.servers import FileServer, serve_files
from tests.helpers.shards import picture, write_shards
from tl_toolkit.data.packing import pack_source
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.errors import DataError, RemoteFileError, RunInterruptedError, ToolkitError
from tl_toolkit.sampling import order

NETWORK: dict[str, Any] = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32, "batch_size": 5}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Six shards of twelve images, as another program wrote them."""
    return write_shards(tmp_path / "pets", 6, 12)


@pytest.fixture
def packed(pets: Path, tmp_path: Path) -> Path:
    """The same images, packed with an index."""
    pack_source(open_source(str(pets)), tmp_path / "packed", 10_000, lambda _: None)
    return tmp_path / "packed"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FileServer]:
    with serve_files(tmp_path) as server:
        yield server


def fetched(server: FileServer) -> list[str]:
    """What was fetched, once for each time."""
    return sorted(path for (method, path), times in server.requests.items() if method == "GET" for _ in range(times))


def contents(source: Source) -> dict[str, tuple[object, int]]:
    train = source.split("train")
    return {train.name(index): (train.read(index), train.targets[index]) for index in range(len(train))}


def shards_of(packed: Path) -> str:
    return f"{packed.name}/{{000..{len(list(packed.glob('*.tar'))) - 1:03d}}}.tar"


def test_packed_shards_of_a_server_are_fetched_when_they_are_read(packed: Path, server: FileServer):
    source = open_source(f"{server.url}/{shards_of(packed)}")
    assert fetched(server) == ["packed/index.json"]
    assert contents(source) == contents(open_source(str(packed)))
    assert fetched(server) == sorted(["packed/index.json", *(f"packed/{path.name}" for path in packed.glob("*.tar"))])
    assert source.name == "pets"


def test_other_shards_of_a_server_are_fetched_for_their_headers_once(pets: Path, server: FileServer, tmp_path: Path):
    spec = f"{server.url}/pets/{{000..005}}.tar"
    first = contents(open_source(spec))
    assert first == {f"{number:05d}.png": (picture(number), number % 2) for number in range(72)}
    assert len([path for path in fetched(server) if path.endswith(".tar")]) == 6
    shutil.rmtree(tmp_path / "cache" / "remote")
    again = open_source(spec)
    assert len([path for path in fetched(server) if path.endswith(".tar")]) == 6, "the headers are remembered"
    assert contents(again) == first


def test_shards_of_a_server_are_read_a_few_at_a_time(pets: Path, server: FileServer):
    assert open_source(f"{server.url}/pets/000.tar").split("train").images.shards == [0] * 12
    assert open_source(str(pets)).split("train").images.shards is None


def test_fingerprints_of_a_servers_images_change_with_their_shard(pets: Path, server: FileServer, tmp_path: Path):
    spec = f"{server.url}/pets/{{000..001}}.tar"
    before = open_source(spec).split("train").identities()
    assert len(set(before)) == 24
    shutil.rmtree(tmp_path / "cache")
    assert open_source(spec).split("train").identities() == before
    shutil.rmtree(tmp_path / "cache")
    os.utime(pets / "001.tar", (1, 1))
    after = open_source(spec).split("train").identities()
    assert (after[:12], set(after[12:]) & set(before)) == (before[:12], set())


def test_missing_shard_of_a_server_is_named(packed: Path, server: FileServer):
    (packed / "001.tar").unlink()
    with pytest.raises(DataError) as error:
        open_source(f"{server.url}/packed/{{000..002}}.tar")
    assert str(error.value) == (
        f"Of 3 shards, 1 cannot be fetched; the first is {server.url}/packed/001.tar: the server answered 404 Not "
        "Found. Name those that are there, or see whether the server has them."
    )


def test_shard_of_a_server_that_is_cut_short_is_refused(pets: Path, server: FileServer):
    (pets / "000.tar").write_bytes((pets / "000.tar").read_bytes()[:1024])
    with pytest.raises(DataError) as error:
        open_source(f"{server.url}/pets/000.tar")
    assert str(error.value) == (
        f"{server.url}/pets/000.tar is cut short: it ends at byte 1,024 without the empty block that ends a tar file. "
        "Copy it again."
    )


def test_shard_of_a_server_that_does_not_fit_its_index_cannot_be_read(packed: Path, server: FileServer):
    (packed / "000.tar").write_bytes((packed / "000.tar").read_bytes()[:-512])
    train = open_source(f"{server.url}/packed/000.tar").split("train")
    with pytest.raises(ToolkitError, match=r"packed/000\.tar changed since it was indexed; start again$"):
        train.read(0)


def test_index_that_the_server_cannot_send_is_no_missing_index(packed: Path, server: FileServer):
    server.answers["packed/index.json"] = 500
    with pytest.raises(RemoteFileError, match=r"packed/index\.json: the server answered 500"):
        open_source(f"{server.url}/packed/000.tar")


@pytest.mark.parametrize("workers", [0, 2])
def test_run_on_shards_of_a_server_that_is_killed_ends_with_the_same_bits(
    packed: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
):
    monkeypatch.setattr(order, "BUFFER_SAMPLES", 1)
    monkeypatch.setattr(order, "BUFFER_SHARDS", 2)
    data = f"{server.url}/{shards_of(packed)}"
    settings = NETWORK | {"data": data, "tune": "full", "epochs": 2, "workers": workers, "log_every": 1}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    with pytest.raises(RunInterruptedError):
        tl.finetune(out=tmp_path / "stopped", callback=stop_after(18), **settings)
    assert_same_run(tl.resume(tmp_path / "stopped").path, whole.path)
    assert len(fetched(server)) == 1 + len(list(packed.glob("*.tar"))), "each file once for all three"


def test_run_with_a_cache_smaller_than_the_shards_ends_with_the_same_bits(
    packed: Path, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(order, "BUFFER_SAMPLES", 1)
    monkeypatch.setattr(order, "BUFFER_SHARDS", 1)
    settings = NETWORK | {"data": f"{server.url}/{shards_of(packed)}", "tune": "full", "epochs": 1}
    whole = tl.finetune(out=tmp_path / "whole", **settings)
    once = len(fetched(server))
    shutil.rmtree(tmp_path / "cache")
    small = tl.finetune(out=tmp_path / "small", cache_size="80KB", **settings)
    assert_same_run(small.path, whole.path)
    assert len(fetched(server)) > 2 * once
    kept = sum(path.stat().st_size for path in (tmp_path / "cache" / "remote").glob("*/*"))
    assert kept <= 80_000


def test_probe_on_shards_of_a_server_has_the_split_of_the_files(packed: Path, server: FileServer, tmp_path: Path):
    settings = NETWORK | {"tune": "linear-probe", "probe_epochs": 2}
    here = tl.finetune(data=packed, out=tmp_path / "here", **settings)
    there = tl.finetune(data=f"{server.url}/{shards_of(packed)}", out=tmp_path / "there", **settings)
    notes = [run.model.metadata.split_note for run in (here, there)]
    assert notes[0] is not None
    assert notes[1] is not None
    assert notes[0].fingerprints("val") == notes[1].fingerprints("val")
