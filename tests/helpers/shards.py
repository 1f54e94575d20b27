"""Tar files of images, and pictures to put into them."""

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def write_tar(path: Path, members: Mapping[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """Write a tar file of these members, in this order.

    Returns:
        `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def picture(number: int = 0, ending: str = "png") -> bytes:
    """A small image that is like no other."""
    pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG" if ending == "jpg" else ending.upper())
    return written.getvalue()


def labelled(key: str, label: object, number: int = 0, ending: str = "png") -> dict[str, bytes]:
    """The members of a sample whose label is a .cls."""
    return {f"{key}.cls": str(label).encode(), f"{key}.{ending}": picture(number, ending)}


def write_shards(folder: Path, shards: int, each: int) -> Path:
    """Write shards of two classes, whose images are all different.

    Returns:
        `folder`.
    """
    for shard in range(shards):
        members: dict[str, bytes] = {}
        for place in range(each):
            number = shard * each + place
            members |= labelled(f"{number:05d}", "ab"[number % 2], number)
        write_tar(folder / f"{shard:03d}.tar", members)
    return folder
