"""What is in a folder: images, folders, and what is passed over."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tl_toolkit.data.images import is_image_file
from tl_toolkit.errors import DataError
from tl_toolkit.io.own_files import is_own_figure, is_own_folder
from tl_toolkit.io.reader_threads import begin_file, reading
from tl_toolkit.text import join_names

SYSTEM_FILES = {"thumbs.db", "desktop.ini"}
"""Files that Windows leaves in folders of images; hidden files are passed over anyway."""

IMAGE_ENDINGS = frozenset(
    (
        *("avif", "bmp", "dib", "gif", "heic", "heics", "heif", "heifs", "hif", "ico", "j2k", "jfif", "jp2", "jpe"),
        *("jpeg", "jpg", "jpx", "mpo", "pbm", "pcx", "pgm", "png", "pnm", "ppm", "psd", "qoi", "svg", "tga", "tif"),
        *("tiff", "webp", "xbm", "xpm"),
        *("3fr", "arw", "cr2", "cr3", "dng", "nef", "nrw", "orf", "pef", "raf", "raw", "rw2", "srw"),  # Of cameras.
    )
)
"""A file with such a name is meant to be an image: if it cannot be read, this is reported."""


@dataclass
class PassedOver:
    """Paths in a folder, or below it, that are not images of the user.

    Attributes:
        own: Run folders, caches and figures that tl wrote.
        loops: Links to a folder that contains them.
        no_images: Other files.
    """

    own: list[str] = field(default_factory=list)
    loops: list[str] = field(default_factory=list)
    no_images: list[str] = field(default_factory=list)

    def add(self, other: "PassedOver") -> None:
        """Add what was passed over elsewhere."""
        self.own += other.own
        self.loops += other.loops
        self.no_images += other.no_images

    def beside_classes(self) -> "PassedOver":
        """Return what to report beside class folders: other files are in no class there."""
        return PassedOver(self.own, self.loops)

    def notes(self) -> list[str]:
        """Return a sentence for each kind."""
        kinds = (
            (self.own, "written by tl"),
            (self.loops, "a link to a folder that it lies in"),
            (self.no_images, "no image file" if len(self.no_images) == 1 else "no image files"),
        )
        return [f"Passed over {join_names(paths)}: {what}." for paths, what in kinds if paths]


@dataclass
class Contents:
    """What is in a folder itself.

    Attributes:
        images: Names of files that have an image's name or content.
        folders: Names of folders.
        passed_over: The rest, except for hidden files.
    """

    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    passed_over: PassedOver = field(default_factory=PassedOver)


def list_folder(folder: Path) -> Contents:
    """List a folder, sorted by name; links to folders are followed, except to folders that contain them.

    Raises:
        DataError: The folder cannot be listed.
    """
    found = Contents()
    for entry in _visible(folder):
        try:
            _sort(entry, folder, found)
        except OSError:  # Reading it will report this.
            (found.folders if entry.is_dir(follow_symlinks=False) else found.images).append(entry.name)
    return found


def _sort(entry: os.DirEntry[str], folder: Path, found: Contents) -> None:
    """Sort an entry of a folder into its contents, by its name alone if possible: there may be very many."""
    if entry.is_dir():
        with reading(entry.path):
            _sort_folder(entry, folder / entry.name, found)
        return
    ending = entry.name.rpartition(".")[2].lower()
    if ending not in IMAGE_ENDINGS or ending == "png":
        if entry.name.lower() in SYSTEM_FILES:
            return
        with reading(entry.path):
            if is_own_figure(entry.path):
                found.passed_over.own.append(str(folder / entry.name))
                return
            if ending not in IMAGE_ENDINGS and not is_image_file(entry.path):
                found.passed_over.no_images.append(str(folder / entry.name))
                return
    found.images.append(entry.name)


def _sort_folder(entry: os.DirEntry[str], path: Path, found: Contents) -> None:
    if entry.is_symlink() and _leads_above(path):
        found.passed_over.loops.append(str(path))
    elif is_own_folder(path):
        found.passed_over.own.append(f"{path}{os.sep}")
    elif _is_no_copy(path):
        found.images.append(entry.name)
    else:
        found.folders.append(entry.name)


def walk(folder: Path) -> Iterator[tuple[Path, Contents]]:
    """Yield a folder and all below it, none twice, each with its contents.

    Raises:
        DataError: One cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    pending = [folder]
    while pending:
        here = pending.pop()
        try:
            with reading(here):
                status = here.stat()
        except OSError as error:
            raise DataError(f"Cannot read the folder {here}: {error.strerror}.") from error
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        found = list_folder(here)
        yield here, found
        pending += [here / name for name in reversed(found.folders)]


def images_below(folder: Path) -> tuple[list[str], PassedOver]:
    """Return the sorted paths of the images in a folder and below it, and what was passed over.

    Raises:
        DataError: A folder cannot be listed.
    """
    if _is_no_copy(folder):
        return [str(folder)], PassedOver()
    images: list[str] = []
    passed_over = PassedOver()
    for here, found in walk(folder):
        images += [str(here / name) for name in found.images]
        passed_over.add(found.passed_over)
    return sorted(images), passed_over


def _is_no_copy(folder: Path) -> bool:
    """Return whether an empty folder has the name of an image: perhaps a failed copy, which is reported."""
    return folder.suffix[1:].lower() in IMAGE_ENDINGS and not _visible(folder)


def _leads_above(link: Path) -> bool:
    """Return whether a link leads to a folder that contains it."""
    return Path(os.path.realpath(link.parent)).is_relative_to(os.path.realpath(link))


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries that are not hidden, sorted by name."""
    visible = []
    try:
        with reading(folder), os.scandir(folder) as entries:
            for entry in entries:
                begin_file(folder)  # It answered.
                if not entry.name.startswith("."):
                    visible.append(entry)
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return sorted(visible, key=lambda entry: entry.name)
