"""Images inside Parquet files: each is the right one, and little of them is in memory."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from tests.helpers.parquet import png, write_parquet
from tl_toolkit.data import parquet_images
from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.images import fingerprint_image
from tl_toolkit.data.loaders import eval_loader
from tl_toolkit.data.parquet_images import ParquetPart, RowGroups
from tl_toolkit.data.quality.duplicates import digest_of_file
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.stored_images import StoredImages
from tl_toolkit.errors import ImageError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.fingerprints import fingerprint_file
from tl_toolkit.io.remote_files import RemoteFiles

SPEC = InputSpec(height=8, width=8)


def part(path: Path) -> ParquetPart:
    metadata = pq.read_metadata(path)
    counts = tuple(metadata.row_group(index).num_rows for index in range(metadata.num_row_groups))
    return ParquetPart(path.name, str(path), fingerprint_file(path) or b"", counts)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Thirty images in two files, of the values 0 to 29, in row groups of four."""
    cells = [{"bytes": png(value), "path": None} for value in range(30)]
    return [
        write_parquet(tmp_path / "a.parquet", {"image": cells[:18]}, row_group_size=4),
        write_parquet(tmp_path / "b.parquet", {"image": cells[18:]}, row_group_size=4),
    ]


@pytest.fixture(params=["in memory", "unpacked"])
def images(files: list[Path], request: pytest.FixtureRequest, tmp_path: Path) -> StoredImages:
    """Images that fit into memory, or that are unpacked into the cache of remote files."""
    size = 1000 if request.param == "in memory" else parquet_images.CACHE_BYTES + 1
    return StoredImages(RowGroups([part(path) for path in files], "image", size, RemoteFiles(tmp_path / "cache")))


def value(images: StoredImages, index: int) -> int:
    return Samples(images, [0] * len(images)).open(index, 3).getpixel((0, 0))[0]


def test_image_of_each_row_is_read_in_any_order(images: StoredImages):
    for index in (29, 0, 17, 18, 3, 4):
        assert value(images, index) == index
    assert [value(images.subset([5, 20, 1]), index) for index in range(3)] == [5, 20, 1]
    assert [value(images.subset([5, 20, 1]).subset([2, 0]), index) for index in range(2)] == [1, 5]
    both = images.subset([5]) + images.subset([7])
    assert isinstance(both, StoredImages)
    assert [value(both, 0), value(both, 1)] == [5, 7]


def test_row_groups_in_memory_stay_within_the_bound(images: StoredImages, monkeypatch: pytest.MonkeyPatch):
    group = 4 * len(png(1))
    monkeypatch.setattr(parquet_images, "CACHE_BYTES", 3 * group)
    for index in range(30):
        value(images, index)
        store = images.store
        assert isinstance(store, RowGroups)
        assert 1 <= len(store._held) <= 3


def test_row_group_is_read_once_for_its_images(images: StoredImages, monkeypatch: pytest.MonkeyPatch):
    read = []
    original = RowGroups._read
    monkeypatch.setattr(RowGroups, "_read", lambda store, group: read.append(group) or original(store, group))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda index: value(images, index), range(18))) == list(range(18))
    assert sorted(read) == [0, 1, 2, 3, 4]


def test_shards_are_row_groups_unless_all_fit_into_memory(files: list[Path]):
    parts = [part(path) for path in files]
    large = StoredImages(RowGroups(parts, "image", parquet_images.CACHE_BYTES + 1, RemoteFiles()))
    assert large.shards == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4 + [4] * 2 + [5] * 4 + [6] * 4 + [7] * 4
    assert large.subset([29, 0]).shards == [7, 0]
    assert StoredImages(RowGroups(parts, "image", parquet_images.CACHE_BYTES, RemoteFiles())).shards is None


def test_place_and_fingerprint_are_those_of_the_file_and_row(images: StoredImages, files: list[Path]):
    assert [images.name(0), images.name(18), images.subset([19]).name(0)] == [
        "a.parquet row 0",
        "b.parquet row 0",
        "b.parquet row 1",
    ]
    prints = [images.fingerprint(index) for index in range(30)]
    assert len(set(prints)) == 30
    assert images.subset([7]).fingerprint(0) == prints[7]
    files[0].touch()
    after = [images.fingerprint(index) for index in range(30)]
    assert all(one != other for one, other in zip(prints[:18], after[:18], strict=True))
    assert prints[18:] == after[18:]
    files[0].unlink()
    assert images.fingerprint(0) is None


def test_content_hash_is_that_of_the_image_as_a_file(images: StoredImages, tmp_path: Path):
    (tmp_path / "image.png").write_bytes(png(6))
    assert images.content_hash(6) == digest_of_file(str(tmp_path / "image.png"))
    assert images.subset([6]).content_hash(0) == fingerprint_image(png(6))


def test_plain_bytes_are_images_too(tmp_path: Path):
    path = write_parquet(tmp_path / "a.parquet", {"image": [png(3), png(4)]})
    images = StoredImages(RowGroups([part(path)], "image", 100, RemoteFiles()))
    assert [value(images, 0), value(images, 1)] == [3, 4]


def test_path_without_bytes_is_a_file_beside_the_table_and_no_cell_is_an_error(tmp_path: Path):
    (tmp_path / "image.png").write_bytes(png(9))
    cells = [{"bytes": None, "path": "image.png"}, {"bytes": None, "path": None}, None, {"bytes": b"x", "path": "a"}]
    path = write_parquet(tmp_path / "a.parquet", {"image": cells})
    images = StoredImages(RowGroups([part(path)], "image", 100, RemoteFiles()))
    samples = Samples(images, [0] * 4)
    assert value(images, 0) == 9
    reasons = []
    for index in (1, 2, 3):
        with pytest.raises(ImageError) as error:
            samples.open(index, 3)
        reasons.append(str(error.value))
    assert reasons == [
        "a.parquet row 1: the cell is empty",
        "a.parquet row 2: the cell is empty",
        "a.parquet row 3: not an image that Pillow can read",
    ]
    assert images.content_hash(2) is None


@pytest.mark.parametrize("in_memory", [True, False])
def test_damaged_row_group_is_told_for_its_images_alone_and_read_once(
    files: list[Path], in_memory: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    content = bytearray(files[0].read_bytes())
    chunk = pq.read_metadata(files[0]).row_group(1).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    files[0].write_bytes(content)
    size = 1000 if in_memory else parquet_images.CACHE_BYTES + 1
    images = StoredImages(RowGroups([part(path) for path in files], "image", size, RemoteFiles(tmp_path / "cache")))
    with pytest.raises(ImageError, match=r"^a\.parquet row 5: ") as first:
        value(images, 5)
    with monkeypatch.context() as patch, pytest.raises(ImageError, match=r"^a\.parquet row 4: ") as second:
        patch.setattr(RowGroups, "_read", None)
        value(images, 4)
    assert first.value.reason == second.value.reason
    assert value(images, 8) == 8
    assert value(images, 20) == 20


def test_file_that_was_changed_since_it_was_listed_is_refused(files: list[Path], images: StoredImages):
    write_parquet(files[0], {"image": [{"bytes": png(200), "path": None}] * 18}, row_group_size=4)
    with pytest.raises(ImageError) as error:
        value(images, 0)
    assert str(error.value) == "a.parquet row 0: a.parquet was changed or removed while it was read"


@pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes:UserWarning")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_the_same_images(images: StoredImages, start: str):
    samples = Samples(images.subset([3, 25, 14, 7]), [0, 1, 2, 3])
    dataset = eval_images(samples, SPEC)
    alone = torch.cat([pixels for pixels, _ in eval_loader(dataset, 2, 0)])
    loader = eval_loader(dataset, 2, 2)
    loader.multiprocessing_context = multiprocessing.get_context(start)
    together = torch.cat([pixels for pixels, _ in loader])
    assert alone[:, 0, 0, 0].tolist() == [3, 25, 14, 7]
    assert torch.equal(alone, together)


def test_copy_for_another_process_is_small_whatever_was_read(images: StoredImages):
    before = len(pickle.dumps(images))
    for index in range(30):
        value(images, index)
    assert len(pickle.dumps(images)) == before < 3000
    assert value(pickle.loads(pickle.dumps(images)), 11) == 11
