"""Packing any source as shards, and reading them again."""

import errno
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from tests.helpers.folders import copy_digits
from tests.helpers.shards import picture
from tl_toolkit.data import packing
from tl_toolkit.data.drawing import split_names
from tl_toolkit.data.image_sets import ArrayImages
from tl_toolkit.data.packing import pack_source
from tl_toolkit.data.quality.scan import check_data
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.data.tar_writer import TarWriter
from tl_toolkit.errors import DataError, ToolkitError, UsageError
from tl_toolkit.events import Event, TaskProgress

MEGABYTE = 10**6


def pack(source: Source, folder: Path, size: int = MEGABYTE) -> Source:
    pack_source(source, folder, size, lambda _: None)
    return open_source(str(folder))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def digits(tmp_path: Path) -> Source:
    copy_digits(tmp_path / "digits" / "train", ["0", "1"], 12)
    copy_digits(tmp_path / "digits" / "test", ["0", "1"], 6, "test")
    return open_source(str(tmp_path / "digits"))


def test_packed_folder_has_the_same_images_in_the_same_order_by_the_same_names(digits: Source, tmp_path: Path):
    packed = pack(digits, tmp_path / "shards", 4000)
    assert (packed.name, packed.class_names, packed.task) == ("digits", digits.class_names, digits.task)
    assert len(list((tmp_path / "shards" / "train").glob("*.tar"))) > 3
    for split, samples in digits.splits.items():
        ours = packed.split(split)
        assert ours.names() == split_names(samples, digits)
        assert list(ours.targets) == list(samples.targets)
        assert [ours.read(i) for i in range(len(ours))] == [Path(name).read_bytes() for name in samples.names()]


def test_pack_has_the_same_bytes_each_time(digits: Source, tmp_path: Path):
    for name in ("one", "two"):
        pack(digits, tmp_path / name, 4000)
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_pack_mixes_the_classes_in_each_shard(tmp_path: Path):
    source = open_source(str(copy_digits(tmp_path / "photos", ["0", "1"], 60)))
    pack(source, tmp_path / "shards", 40_000)
    for path in sorted((tmp_path / "shards").glob("*.tar"))[:-1]:
        with tarfile.open(path) as archive:
            classes = {name.split("/")[0] for name in archive.getnames()}
        assert classes == {"0", "1"}


def test_shards_are_not_larger_than_they_may_be(tmp_path: Path):
    source = open_source(str(copy_digits(tmp_path / "photos", ["0", "1"], 60)))
    pack(source, tmp_path / "shards", 40_000)
    sizes = [path.stat().st_size for path in sorted((tmp_path / "shards").glob("*.tar"))]
    assert len(sizes) > 2
    assert max(sizes) <= 40_000 + tarfile.RECORDSIZE, "the end of a tar file is filled up"


@pytest.mark.filterwarnings("ignore")  # It leaves files open.
def test_webdataset_reads_what_was_packed(digits: Source, tmp_path: Path):
    pack(digits, tmp_path / "shards", 4000)
    urls = sorted(map(str, (tmp_path / "shards" / "train").glob("*.tar")))
    found = {
        sample["__key__"]: (sample["png"], int(sample["cls"]))
        for sample in webdataset.WebDataset(urls, shardshuffle=False)
    }
    train = digits.split("train")
    assert found == {
        str(Path(name).relative_to(digits.root / "train").with_suffix("")): (Path(name).read_bytes(), target)
        for name, target in zip(train.names(), train.targets, strict=True)
    }


def test_pixels_are_packed_as_png_that_decodes_to_the_same(tmp_path: Path):
    rng = np.random.default_rng(0)
    turned = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
    turned.getexif()[0x0112] = 6
    palette = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)).quantize(8)
    palette.info["transparency"] = 3
    items = [
        rng.integers(0, 256, (6, 9), dtype=np.uint8),
        rng.integers(0, 2**16, (6, 9), dtype=np.uint16),
        rng.random((6, 9, 3)),
        rng.integers(0, 256, (6, 9, 4), dtype=np.uint8),
        rng.random((6, 9)) > 0.5,
        turned,
        palette,
        turned.convert("CMYK"),
        turned.convert("LA"),
        Image.fromarray(rng.integers(0, 2**16, (6, 9), dtype=np.uint16)),
        turned.convert("1"),
        picture(3),
    ]
    source = Source("arrays", {"train": Samples(ArrayImages(items), [0, 1] * 6)}, ("a", "b"))
    packed = pack(source, tmp_path / "shards").split("train")
    assert packed.names() == [f"image {index}" for index in range(12)]
    for index in range(len(items)):
        for channels in (1, 3):
            ours, theirs = packed.open(index, channels), source.split("train").open(index, channels)
            assert np.array_equal(np.asarray(ours), np.asarray(theirs)), index
    assert packed.read(11) == picture(3)


def test_pixels_without_a_range_are_refused(tmp_path: Path):
    source = Source("arrays", {"train": Samples(ArrayImages([Image.new("F", (2, 2))]), [0])}, ("a",))
    with pytest.raises(DataError) as error:
        pack(source, tmp_path / "shards")
    assert str(error.value) == (
        "image 0: pixels of mode F have no defined range; save the image with 8 or 16 bits. Mend it or take it out, "
        "and pack again."
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("task", "targets"),
    [
        ("multi-label", [[1, 0, 1], [0, 0, 0], [0, 1, 0]]),
        ("soft", [[0.25, 0.5, 0.25], [1, 0, 0], [0, 0.1, 0.9]]),
    ],
)
def test_several_labels_and_shares_are_packed(tmp_path: Path, task: str, targets: list[list[float]]):
    samples = Samples(ArrayImages([picture(number) for number in range(3)]), np.array(targets, np.float32))
    packed = pack(Source("x", {"train": samples}, ("a", "b", "c"), task=task), tmp_path / "shards")
    assert packed.task == task
    assert np.array_equal(packed.split("train").targets, samples.targets)


def test_groups_are_packed(tmp_path: Path):
    samples = Samples(ArrayImages([picture(number) for number in range(4)]), [0, 1, 0, 1], groups=["x", "y", "x", "z"])
    packed = pack(Source("x", {"train": samples}, ("a", "b")), tmp_path / "shards")
    assert list(packed.split("train").groups) == ["x", "y", "x", "z"]


def test_what_may_not_be_mirrored_stays_so(tmp_path: Path):
    samples = Samples(ArrayImages([picture(number) for number in range(2)]), [0, 1])
    packed = pack(Source("x", {"train": samples}, ("a", "b"), allow_hflip=False), tmp_path / "shards")
    assert not packed.allow_hflip


def test_names_with_dots_other_scripts_or_one_stem_keep_apart(tmp_path: Path):
    names = ["a/x.jpg", "a/x.png", "a/x.y.png", "ü nd/日本.png", "__x.png", "a/no ending", "train/z.png"]

    class Named(ArrayImages):
        def name(self, index: int) -> str:
            return names[index]

    samples = Samples(Named([picture(number) for number in range(7)]), [0, 1, 0, 1, 0, 1, 0])
    packed = pack(Source("x", {"train": samples}, ("a", "b")), tmp_path / "shards").split("train")
    assert packed.names() == names
    assert [packed.read(index) for index in range(7)] == [picture(number) for number in range(7)]
    (tmp_path / "shards" / "index.json").unlink()
    assert sorted(open_source(str(tmp_path / "shards")).split("train").names()) == sorted(
        ["a/x.jpg", "a/x-2.png", "a/x_y.png", "ü nd/日本.png", "_x.png", "a/no ending.png", "z.png"]
    )


def test_pack_of_a_pack_has_the_same_bytes(digits: Source, tmp_path: Path):
    pack(pack(digits, tmp_path / "one", 4000), tmp_path / "two", 4000)
    assert files(tmp_path / "one") == files(tmp_path / "two")


@pytest.mark.parametrize("kind", ["file", "full folder"])
def test_pack_into_what_exists_is_refused(digits: Source, tmp_path: Path, kind: str):
    out = tmp_path / "shards"
    if kind == "file":
        out.touch()
    else:
        (out / "x").mkdir(parents=True)
    with pytest.raises(UsageError) as error:
        pack(digits, out)
    what = "is a file" if kind == "file" else "has something in it"
    assert str(error.value) == f"{out} {what}; nothing is ever overwritten. Choose another out."


def test_pack_into_an_empty_folder_writes_there(digits: Source, tmp_path: Path):
    (tmp_path / "shards").mkdir()
    assert pack(digits, tmp_path / "shards").name == "digits"


class Killed(BaseException):
    """As if the process was killed."""


def test_killed_pack_leaves_nothing_that_looks_finished_and_can_be_run_again(
    digits: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def die(event: Event) -> None:
        raise Killed

    monkeypatch.setattr(
        packing.shutil, "rmtree", lambda *_arguments, **_settings: None
    )  # A killed process cleans nothing.
    with pytest.raises(Killed):
        pack_source(digits, tmp_path / "shards", 4000, die)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".shards.tmp", "digits"]
    monkeypatch.undo()
    pack(digits, tmp_path / "shards", 4000)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["digits", "shards"]
    pack(digits, tmp_path / "other", 4000)
    assert files(tmp_path / "shards") == files(tmp_path / "other")


def test_pack_beside_another_into_the_same_folder_is_refused(digits: Source, tmp_path: Path):
    seen: list[str] = []

    def pack_too(event: Event) -> None:
        with pytest.raises(UsageError) as error:
            pack_source(digits, tmp_path / "shards", 4000, lambda _: None)
        seen.append(str(error.value))

    pack_source(digits, tmp_path / "shards", 4000, pack_too)
    assert seen == [f"Another process packs into {tmp_path / 'shards'}. Wait for it, or choose another out."]


def test_pack_on_a_full_disk_says_so_and_leaves_nothing(
    digits: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    real = TarWriter.add

    def add(self: TarWriter, name: str, content: bytes) -> int:
        if self.size > 3000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, name, content)

    monkeypatch.setattr(TarWriter, "add", add)
    with pytest.raises(
        ToolkitError, match=rf"^Cannot write {tmp_path}/shards: No space left on device; .* are free\.$"
    ):
        pack(digits, tmp_path / "shards")
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_pack_into_a_folder_that_cannot_be_made_says_so(digits: Source, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ToolkitError, match=rf"^Cannot write {tmp_path}/file/shards: "):
        pack(digits, tmp_path / "file" / "shards")


def test_pack_of_an_image_that_is_gone_names_it(digits: Source, tmp_path: Path):
    first = Path(digits.split("train").name(0))
    first.unlink()
    with pytest.raises(DataError) as error:
        pack(digits, tmp_path / "shards")
    assert str(error.value) == f"{first}: No such file or directory. Mend it or take it out, and pack again."


def test_pack_reports_progress(digits: Source, tmp_path: Path):
    events: list[Event] = []
    pack_source(digits, tmp_path / "shards", MEGABYTE, events.append)
    assert events == [TaskProgress("pack", 36, 36)]


def test_check_of_a_pack_finds_bytes_that_changed(digits: Source, tmp_path: Path):
    pack(digits, tmp_path / "shards", 4000)
    shard = tmp_path / "shards" / "train" / "001.tar"
    content = bytearray(shard.read_bytes())
    content[-1] = 1  # In what fills up the end: every image is as it was.
    shard.write_bytes(content)
    found = check_data(open_source(str(tmp_path / "shards")), lambda _: None)
    assert found.wrong
    assert [warning.partition(": its")[0] for warning in found.warnings if "SHA" in warning] == [
        f"{shard} is not as it was written"
    ]
    shard.write_bytes(bytes(content[:-1]) + b"\0")
    assert not [w for w in check_data(open_source(str(tmp_path / "shards")), lambda _: None).warnings if "SHA" in w]


def index_problem(folder: Path) -> str:
    with pytest.raises(DataError) as error:
        open_source(str(folder))
    return str(error.value).replace(str(folder), "FOLDER")


def test_shard_that_does_not_fit_its_index_is_refused(tmp_path: Path):
    folder = tmp_path / "shards"
    pack(open_source(str(copy_digits(tmp_path / "photos", ["0", "1"], 10))), folder, 4000)
    remedy = "Copy both again from where they were packed, or remove FOLDER/index.json to read the shards without it."
    shard, other = folder / "000.tar", folder / "001.tar"
    whole, size = shard.read_bytes(), shard.stat().st_size
    shard.write_bytes(whole[:-512])
    assert index_problem(folder) == (f"FOLDER/000.tar has {size - 512:,} bytes, and index.json says {size:,}. {remedy}")
    shard.write_bytes(bytes(512) + whole[:-512])
    assert index_problem(folder).endswith(f"where index.json says it is. {remedy}")
    shard.write_bytes(whole)
    other.rename(folder / "999.tar")
    assert index_problem(folder) == (
        "FOLDER/index.json does not list FOLDER/999.tar. Put other shards into a folder of their own, or remove the "
        "index to read all of them without it."
    )


def test_part_of_a_pack_can_be_read(digits: Source, tmp_path: Path):
    whole = pack(digits, tmp_path / "shards", 4000)
    part = open_source(str(tmp_path / "shards" / "train" / "{000..001}.tar"))
    assert (list(part.splits), part.class_names) == (["train"], ("0", "1"))
    assert 0 < len(part.split("train")) < len(whole.split("train"))


def test_index_can_be_read_by_people(digits: Source, tmp_path: Path):
    pack(digits, tmp_path / "shards")
    index = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert {name: index[name] for name in ("name", "task", "class_names", "format")} == {
        "name": "digits",
        "task": "multi-class",
        "class_names": ["0", "1"],
        "format": 1,
    }
    assert [shard["path"] for shard in index["shards"]] == ["train/000.tar", "test/000.tar"]
