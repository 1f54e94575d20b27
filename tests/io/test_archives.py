import bz2
import gzip
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tl_toolkit.errors import DataError
from tl_toolkit.io import archives
from tl_toolkit.io.archives import decompress, unpack_tar, unpack_zip


def member(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    header = tarfile.TarInfo(name)
    header.type, header.linkname = kind, link
    header.size = len(content) if kind == tarfile.REGTYPE else 0
    return header, content


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for header, content in members:
            tar.addfile(header, io.BytesIO(content) if header.size else None)
    return path


def zip_of(path: Path, *members: tuple[str, bytes], mode: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members:
            header = zipfile.ZipInfo(name)
            header.external_attr = (mode if name == members[-1][0] else 0) << 16
            header.compress_type = zipfile.ZIP_DEFLATED
            opened.writestr(header, content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where archives are unpacked to: it holds one file of the user's."""
    folder = tmp_path / "outer" / "data"
    folder.mkdir(parents=True)
    (folder / "mine.txt").write_text("mine")
    return folder


def check_untouched(folder: Path) -> None:
    """Nothing came into the folder or out of it."""
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]
    assert (folder / "mine.txt").read_text() == "mine"
    assert [path.name for path in folder.parent.iterdir()] == ["data"]


FIFO, DEVICE, SYMLINK, HARDLINK = tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
OUTWARD = "leads out of the folder. Nothing was kept"


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../evil.txt")], rf"it holds '\.\./evil\.txt', which {OUTWARD}"),
        ([member("a/../../evil.txt")], OUTWARD),
        ([member("/tmp/evil.txt")], OUTWARD),
        ([member("..\\evil.txt")], OUTWARD),
        ([member("C:evil.txt")], OUTWARD),
        (
            [member("good.txt"), member("l", kind=SYMLINK, link="../mine.txt")],
            rf"'l', a link to '\.\./mine\.txt', which {OUTWARD}",
        ),
        ([member("l", kind=SYMLINK, link="/etc/passwd")], OUTWARD),
        ([member("l", kind=SYMLINK, link="mine.txt")], "'l', a link to 'mine.txt', which is not a file in it"),
        (
            [member("d", kind=SYMLINK, link="."), member("d/mine.txt", b"evil")],
            "a link to '.', which is not a file in it",
        ),
        ([member("l", kind=HARDLINK, link="../data/mine.txt")], OUTWARD),
        ([member("l", kind=HARDLINK, link="/etc/passwd")], OUTWARD),
        ([member("null", kind=DEVICE)], "it holds 'null', which is not a regular file, folder or link"),
        ([member("pipe", kind=FIFO)], "it holds 'pipe', which is not a regular file, folder or link"),
        ([member("twice"), member("twice", b"y")], "it holds 'twice' twice"),
        ([member("/".join("a" * 70))], "more than 64 deep"),
    ],
)
def test_unpack_tar_of_what_could_do_harm_refuses_and_keeps_nothing(
    members: list[tuple[tarfile.TarInfo, bytes]], message: str, folder: Path, tmp_path: Path
):
    archive = tar_of(tmp_path / "evil.tar.gz", member("first.txt"), *members)
    with pytest.raises(DataError, match=message):
        unpack_tar(archive, folder, ".gz")
    check_untouched(folder)


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("../evil.txt", 0, rf"it holds '\.\./evil\.txt', which {OUTWARD}"),
        ("/tmp/evil.txt", 0, OUTWARD),
        ("..\\evil.txt", 0, OUTWARD),
        ("C:/evil.txt", 0, OUTWARD),
        ("link", stat.S_IFLNK | 0o777, "it holds 'link', which is not a regular file or folder"),
        ("device", stat.S_IFCHR | 0o666, "it holds 'device', which is not a regular file or folder"),
    ],
)
def test_unpack_zip_of_what_could_do_harm_refuses_and_keeps_nothing(
    name: str, mode: int, message: str, folder: Path, tmp_path: Path
):
    with pytest.raises(DataError, match=message):
        unpack_zip(zip_of(tmp_path / "evil.zip", ("first.txt", b"x"), (name, b"/etc/passwd"), mode=mode), folder)
    check_untouched(folder)


def pack_tar(path: Path, contents: list[bytes]) -> Callable[[Path], object]:
    archive = tar_of(path / "a.tar.gz", *(member(f"{index}.txt", content) for index, content in enumerate(contents)))
    return lambda folder: unpack_tar(archive, folder, ".gz")


def pack_zip(path: Path, contents: list[bytes]) -> Callable[[Path], object]:
    archive = zip_of(path / "a.zip", *((f"{index}.txt", content) for index, content in enumerate(contents)))
    return lambda folder: unpack_zip(archive, folder)


def pack_lying_zip(path: Path, contents: list[bytes]) -> Callable[[Path], object]:
    """A zip whose headers say that the files are small."""
    archive = zip_of(path / "a.zip", *((f"{index}.txt", content) for index, content in enumerate(contents)))
    packed = archive.read_bytes().replace(struct.pack("<L", len(contents[0])), struct.pack("<L", 10))
    archive.write_bytes(packed)
    return lambda folder: unpack_zip(archive, folder)


def pack_gz(path: Path, contents: list[bytes]) -> Callable[[Path], object]:
    (path / "a.txt.gz").write_bytes(gzip.compress(b"".join(contents)))
    return lambda folder: decompress(path / "a.txt.gz", folder)


@pytest.mark.parametrize("pack", [pack_tar, pack_zip, pack_gz])
@pytest.mark.parametrize("contents", [[bytes(3_000_000)], [bytes(600_000)] * 5])
def test_unpacking_of_a_bomb_ends_at_the_bound_and_keeps_nothing(
    pack: Callable[..., Callable[[Path], object]],
    contents: list[bytes],
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(archives, "MAX_BYTES", 2_000_000)
    with pytest.raises(DataError, match=r"its files take more than 1\.9 MiB\. Nothing was kept"):
        pack(tmp_path, contents)(folder)
    check_untouched(folder)


def test_unpack_zip_whose_headers_lie_about_sizes_keeps_nothing(folder: Path, tmp_path: Path):
    with pytest.raises(DataError, match="is not unpacked"):
        pack_lying_zip(tmp_path, [bytes(3_000_000)])(folder)
    check_untouched(folder)


@pytest.mark.parametrize("pack", [pack_tar, pack_zip])
def test_unpacking_of_too_many_members_refuses(
    pack: Callable[..., Callable[[Path], object]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 20)
    with pytest.raises(DataError, match="it holds more than 20 files and folders"):
        pack(tmp_path, [b"x"] * 21)(folder)
    check_untouched(folder)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_unpack_tar_with_a_huge_header_refuses_before_it_is_read(kind: bytes, folder: Path, tmp_path: Path):
    header = tarfile.TarInfo("name")
    header.type, header.size = kind, 2**40
    with gzip.open(tmp_path / "a.tar.gz", "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_000))
    with pytest.raises(DataError, match=r"it has a header of 1024\.0 GiB"):
        unpack_tar(tmp_path / "a.tar.gz", folder, ".gz")
    check_untouched(folder)


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("pack", [pack_tar, pack_zip, pack_gz])
def test_unpacking_of_a_torn_file_refuses(
    pack: Callable[..., Callable[[Path], object]], cut: float, folder: Path, tmp_path: Path
):
    unpack = pack(tmp_path, [bytes(range(256)) * 100] * 3)
    [archive] = tmp_path.glob("a.*")
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    with pytest.raises(DataError, match="is not unpacked: .* Nothing was kept"):
        unpack(folder)
    check_untouched(folder)


def test_unpack_tar_writes_files_folders_and_copies_for_links(folder: Path, tmp_path: Path):
    (folder / "a").mkdir()
    (folder / "a" / "old.txt").write_text("old")
    members = [
        member("a", kind=tarfile.DIRTYPE),
        member("a/b/one.txt", b"one"),
        member("a/hard.txt", kind=HARDLINK, link="a/b/one.txt"),
        member("a/b/soft.txt", kind=SYMLINK, link="../later.txt"),
        member("a/later.txt", b"later"),
        member("empty.txt", b""),
    ]
    unpack_tar(tar_of(tmp_path / "good.tar.gz", *members), folder, ".gz")
    found = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert found == {
        "mine.txt": "mine",
        "a/old.txt": "old",
        "a/b/one.txt": "one",
        "a/hard.txt": "one",
        "a/b/soft.txt": "later",
        "a/later.txt": "later",
        "empty.txt": "",
    }
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for path in folder.rglob("*.txt"))


def test_unpack_zip_writes_files_and_folders(folder: Path, tmp_path: Path):
    unpack_zip(zip_of(tmp_path / "good.zip", ("a/", b""), ("a/one.txt", b"one"), ("mine.txt", b"new")), folder)
    assert (folder / "a" / "one.txt").read_text() == "one"
    assert (folder / "mine.txt").read_text() == "new"


@pytest.mark.parametrize(
    ("ending", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)]
)
def test_decompress_writes_the_file_without_the_ending(
    ending: str, compress: Callable[[bytes], bytes], folder: Path, tmp_path: Path
):
    (tmp_path / f"images-ubyte{ending}").write_bytes(compress(b"pixels"))
    assert decompress(tmp_path / f"images-ubyte{ending}", folder) == folder / "images-ubyte"
    assert (folder / "images-ubyte").read_bytes() == b"pixels"
