"""Where the members of tar files lie, and what is wrong with files that are none."""

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.shards import write_tar
from tl_toolkit.errors import DataError
from tl_toolkit.io.tar_members import TarMember, read_members


def members(path: Path, with_content: Callable[[str, int], bool] = lambda _name, _size: False) -> list[TarMember]:
    return list(read_members(path, with_content))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_members_lie_where_they_say_in_each_format(tmp_path: Path, form: int):
    contents = {"a/b.jpg": b"x" * 700, "a/empty": b"", "c.cls": b"3"}
    path = write_tar(tmp_path / "x.tar", contents, form)
    whole = path.read_bytes()
    found = {member.name: whole[member.offset : member.offset + member.size] for member in members(path)}
    assert found == contents


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_with_long_names_and_other_scripts_keep_them(tmp_path: Path, form: int):
    names = ["long/" * 60 + "x.jpg", "ünd/日本.jpg"]
    assert [m.name for m in members(write_tar(tmp_path / "x.tar", dict.fromkeys(names, b"1"), form))] == names


def test_members_have_the_content_that_was_asked_for(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"image", "a.cls": b"3"})
    assert [m.content for m in members(path, lambda name, size: name.endswith("cls") and size < 9)] == [None, b"3"]


def test_members_are_files_alone(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        folder = tarfile.TarInfo("a")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        archive.addfile(tarfile.TarInfo("a/b"), io.BytesIO())
    assert [member.name for member in members(tmp_path / "x.tar")] == ["a/b"]


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as error:
        members(path)
    return str(error.value).replace(str(path), "X")


def test_tar_cut_within_a_member_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1", "b.jpg": b"x" * 2000})
    path.write_bytes(path.read_bytes()[:2000])
    assert refusal(path) == "X is cut short: b.jpg ends at byte 3,536, and the file has 2,000. Copy it again."


def test_tar_cut_between_members_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1", "b.jpg": b"2"})
    path.write_bytes(path.read_bytes()[:1024])
    assert refusal(path) == (
        "X is cut short: it ends at byte 1,024 without the empty block that ends a tar file. Copy it again."
    )


def test_tar_with_a_damaged_header_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1", "b.jpg": b"2"})
    damaged = bytearray(path.read_bytes())
    damaged[1024 + 20] ^= 1
    path.write_bytes(damaged)
    assert refusal(path) == "X is damaged: there is no header of a file at byte 1,024. Copy it again."


def test_tar_files_one_after_the_other_are_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1"})
    path.write_bytes(path.read_bytes()[:2048] + path.read_bytes())
    assert refusal(path) == (
        "X goes on after its end, at byte 1,536: several tar files one after the other are read as the first alone. "
        "Keep them apart, or join them with `tar --concatenate`."
    )


def test_tar_that_is_compressed_is_refused(tmp_path: Path):
    path = write_tar(tmp_path / "x.tar", {"a.jpg": b"1"})
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert refusal(path) == (
        "X is compressed with gzip. Only plain .tar files can be read at any place: unpack it with `gzip -d`, "
        "`bzip2 -d`, `xz -d` or `zstd -d`. Images are compressed already."
    )


def test_file_that_is_no_tar_is_refused(tmp_path: Path):
    (tmp_path / "x.tar").write_bytes(b"no tar file" * 99)
    assert refusal(tmp_path / "x.tar").startswith("X is no tar file, or is damaged (")


def test_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "x.tar").touch()
    assert refusal(tmp_path / "x.tar") == "X is empty. Copy it again."


def test_links_in_a_tar_are_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "b.jpg"
        archive.addfile(link)
    assert refusal(tmp_path / "x.tar") == (
        "X stores a.jpg as a link to b.jpg. Write it with `tar --dereference --hard-dereference -cf`, which stores the "
        "files themselves."
    )


def test_sparse_members_are_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("a.jpg")
        member.size = 512
        member.pax_headers = {"GNU.sparse.map": "0,512", "GNU.sparse.size": "9000"}
        archive.addfile(member, io.BytesIO(bytes(512)))
    assert refusal(tmp_path / "x.tar") == (
        "X stores a.jpg as a sparse file, in pieces. Write it with plain `tar --format=pax -cf`."
    )
