"""Images in tar files: read in any order, by threads and processes, with fingerprints of their own."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.shards import labelled, picture, write_shards, write_tar
from tl_toolkit.data import tar_images
from tl_toolkit.data.dataset import ImageDataset
from tl_toolkit.data.image_sets import ArrayImages
from tl_toolkit.data.loaders import eval_loader
from tl_toolkit.data.quality.duplicates import find_duplicates, with_content_hashes
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.tar_images import TarFile, TarImages
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.errors import ImageError
from tl_toolkit.input_spec import InputSpec

SPEC = InputSpec(height=8, width=8)


@pytest.fixture
def samples(tmp_path: Path) -> Samples:
    return open_source(str(write_shards(tmp_path / "pets", 12, 3))).split("train")


def images(samples: Samples) -> TarImages:
    assert isinstance(samples.images, TarImages)
    return samples.images


def test_subsets_and_sums_read_the_same_images(samples: Samples):
    part = samples.images.subset([30, 2, 7])
    both = part + samples.images.subset([5])
    assert [both.read(index) for index in range(4)] == [picture(number) for number in (30, 2, 7, 5)]
    assert [both.name(index) for index in range(4)] == ["00030.png", "00002.png", "00007.png", "00005.png"]
    assert isinstance(both, TarImages)
    other = both + ArrayImages([np.zeros((2, 2), np.uint8)])
    assert (other.read(0), other.size(0), other.size(4)) == (picture(30), len(picture(30)), None)


def test_shards_of_images_are_known_only_if_they_are_to_be_read_together(samples: Samples):
    assert samples.images.shards is None
    images(samples).by_shard = True
    part = samples.images.subset([35, 0, 1, 3])
    assert part.shards == [11, 0, 0, 1]
    assert (part + samples.images).shards == [11, 0, 0, 1, *np.repeat(range(12), 3).tolist()]


def test_shards_of_a_sum_of_sets_are_told_apart(tmp_path: Path):
    parts = []
    for name in ("x", "y"):
        part = images(open_source(str(write_shards(tmp_path / name, 2, 2))).split("train"))
        part.by_shard = True
        parts.append(part)
    assert (parts[0] + parts[1]).shards == [0, 0, 1, 1, 2, 2, 3, 3]
    assert (parts[0] + ArrayImages([np.zeros((2, 2), np.uint8)])).shards is None


def test_few_files_are_open_at_a_time(samples: Samples, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar_images, "MAX_OPEN", 2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for index in [*range(36), *range(35, -1, -1)]:
        assert samples.read(index) == picture(index)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_threads_read_the_right_images(samples: Samples, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tar_images, "MAX_OPEN", 1)
    wrong: list[int] = []

    def read(seed: int) -> None:
        drawn = np.random.default_rng(seed).integers(0, 36, 300).tolist()
        wrong.extend(index for index in drawn if samples.read(index) != picture(index))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # More workers than this machine has cores.
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_read_the_right_images(samples: Samples, workers: int):
    samples.read(0)  # This file is open already when the workers start.
    dataset = ImageDataset(samples, EvalTransform(SPEC))
    found = [pixels for batch, _ in eval_loader(dataset, 5, workers) for pixels in batch]
    assert all((pixels == dataset[index][0]).all() for index, pixels in enumerate(found))
    assert len(found) == 36


def test_images_are_the_same_in_a_spawned_process(samples: Samples):
    assert pickle.loads(pickle.dumps(samples)).read(7) == picture(7)


def test_fingerprint_changes_with_the_file(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", labelled("x", "a", 1) | labelled("y", "b", 2))
    first = open_source(str(path)).split("train").identities()
    assert len(set(first)) == 2
    assert open_source(str(path)).split("train").identities() == first
    os.utime(path, (1, 1))
    assert set(open_source(str(path)).split("train").identities()).isdisjoint(first)


def test_image_of_a_file_that_changed_is_an_error(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", labelled("x", "a", 1) | labelled("y", "b", 2))
    samples = open_source(str(path)).split("train")
    write_tar(path, labelled("x", "a", 3) | labelled("y", "b", 4) | labelled("z", "b", 5))
    with pytest.raises(ImageError) as error:
        samples.open(0, 3)
    assert str(error.value) == f"x.png: {path} changed since it was indexed; start again"


def test_image_of_a_file_that_is_gone_is_an_error(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", labelled("x", "a", 1) | labelled("y", "b", 2))
    samples = open_source(str(path)).split("train")
    path.unlink()
    with pytest.raises(ImageError) as error:
        samples.open(0, 3)
    assert str(error.value) == f"x.png: {path}: No such file or directory"
    assert samples.images.content_hash(0) is None


def test_image_beyond_the_end_of_its_file_is_an_error(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", labelled("x", "a", 1))
    end = np.array([path.stat().st_size])
    beyond = TarImages([TarFile.of(path)], np.array([0]), end - 5, np.array([10]), ["x.png"])
    with pytest.raises(OSError, match=f"^{path} ends within it$"):
        beyond.read(0)


def test_copies_in_shards_are_found_by_reading_only_images_of_one_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    members = labelled("x", "a", 1) | labelled("y", "b", 1) | labelled("z", "b", 2, "jpg")
    samples = open_source(str(write_tar(tmp_path / "x.tar", members))).split("train")
    read: list[str] = []
    real = TarImages.content_hash
    monkeypatch.setattr(
        TarImages, "content_hash", lambda self, index: (read.append(self.name(index)), real(self, index))[1]
    )
    groups = find_duplicates(with_content_hashes({"train": samples})).groups
    assert [[copy.name for copy in group] for group in groups] == [["x.png", "y.png"]]
    assert sorted(read) == ["x.png", "y.png"]
