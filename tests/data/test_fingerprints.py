import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tl_toolkit.data import fingerprints as module
from tl_toolkit.data.fingerprints import content_fingerprints, digest_cache
from tl_toolkit.data.image_sets import ArrayImages, FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.arrays import dataset_samples


def files(folder: Path, contents: list[bytes]) -> list[str]:
    paths = [folder / str(index) for index in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return [str(path) for path in paths]


def test_fingerprints_of_files_are_those_of_their_contents(tmp_path: Path):
    paths = files(tmp_path, [b"a" * 9000, b"b" * 9000, b"a" * 9000])
    one, other, same, missing = content_fingerprints(Samples(FileImages([*paths, "nowhere"]), [0, 0, 1, 1]))
    assert one == same != other
    assert missing is None
    assert one
    assert len(one) == 5


def test_fingerprints_of_pixels_tell_type_and_shape():
    zeros = np.zeros((4, 6), np.uint8)
    prints = content_fingerprints(
        Samples(ArrayImages([zeros, zeros.copy(), zeros.reshape(6, 4), Image.fromarray(zeros)]), [0] * 4)
    )
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


def test_fingerprints_of_a_lazy_dataset_are_known_once_it_was_read():
    pixels = np.arange(48, dtype=np.uint8).reshape(2, 4, 6)
    samples, _ = dataset_samples([(pixels[0], 0), (pixels[1], 1)], deterministic=True)
    assert content_fingerprints(samples) == [None, None]
    samples.open(1, 3)
    assert content_fingerprints(samples) == [None, *content_fingerprints(Samples(ArrayImages([pixels[1]]), [1]))]
    random, _ = dataset_samples([(pixels[0], 0)])
    random.open(0, 3)
    assert content_fingerprints(random) == [None]  # It may be another when it is read again.


def test_fingerprints_of_files_that_are_known_read_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    samples = Samples(FileImages(files(tmp_path, [b"one", b"other"])), [0, 1])
    first = content_fingerprints(samples, digest_cache(tmp_path / "cache"))
    monkeypatch.setattr(module, "digest_of_file", lambda path: pytest.fail(f"{path} was read"))
    assert content_fingerprints(samples, digest_cache(tmp_path / "cache")) == first


def test_fingerprints_of_a_file_that_changed_are_new(tmp_path: Path):
    samples = Samples(FileImages(files(tmp_path, [b"one", b"other"])), [0, 1])
    first = content_fingerprints(samples, digest_cache(tmp_path / "cache"))
    Path(samples.name(0)).write_bytes(b"two")
    os.utime(samples.name(0), (1, 1))
    second = content_fingerprints(samples, digest_cache(tmp_path / "cache"))
    assert second[0] != first[0]
    assert second[1] == first[1]
    assert second == content_fingerprints(samples)


def test_fingerprints_of_what_may_never_end_are_none(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.jpg")
    [regular] = files(tmp_path, [b"one"])
    images = [str(tmp_path / "pipe.jpg"), "/dev/zero", str(tmp_path), regular]
    assert [each is None for each in content_fingerprints(Samples(FileImages(images), [0] * 4))] == [
        True,
        True,
        True,
        False,
    ]
