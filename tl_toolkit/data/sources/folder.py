"""Folders of images: one folder a class, with or without splits."""

import difflib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.image_sets import FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source, SourceOptions
from tl_toolkit.data.sources.listing import Contents, PassedOver, images_below, list_folder
from tl_toolkit.data.sources.names import PREFIX, SPLIT_FOLDERS, find_folder
from tl_toolkit.errors import DataError
from tl_toolkit.io.files import is_folder
from tl_toolkit.io.own_files import is_run_folder
from tl_toolkit.io.reader_threads import call_with_stall_guard
from tl_toolkit.text import join_names, named, plural

OTHER_SPLIT_NAMES = {
    "training": ("train",),
    "testing": ("test",),
    "dev": ("val",),
    "eval": ("val",),
    "holdout": ("test",),
}
"""Other names of the splits."""

EXPECTED = "expected FOLDER/CLASS/image.jpg, or FOLDER/train/CLASS/image.jpg beside val/ and test/"

MERGE_FOLDERS = "put their images into one folder"

MAX_DEPTH = 4
"""Levels below a folder without images that are searched for the folder that may be meant."""


PACKAGE = Path(__file__).resolve().parents[2]
IDX_FOLDERS = {"MNIST": "mnist", "FashionMNIST": "fashion-mnist", "KMNIST": "kmnist"}
"""Folders that torchvision makes for MNIST and its kin, and the names of these datasets here."""


def open_digits(spec: object, _: SourceOptions) -> Source | None:
    """Open the handwritten digits that come with the toolkit."""
    return read_folder(digits_folder(), DIGITS, allow_hflip=False) if spec == DIGITS else None


def open_folder(spec: object, _: SourceOptions) -> Source | None:
    """Open a folder of images; see `read_folder`. Any name that no other source knows is one of a folder."""
    return call_with_stall_guard(lambda: read_folder(find_folder(spec))) if isinstance(spec, str) else None


def digits_folder() -> Path:
    """Return the folder of the digits: inside an installed package, or beside it in a checkout."""
    inside = PACKAGE / "datasets" / "digits"
    return inside if inside.is_dir() else PACKAGE.parent / "datasets" / "digits"


def read_folder(folder: Path, source_name: str = "", allow_hflip: bool = True) -> Source:
    """Find the images of each class of each split; decoding shows which of them can be read.

    Args:
        folder: The folder.
        source_name: By default the name of the folder.
        allow_hflip: False if a mirrored image means something else.

    Raises:
        DataError: The classes of the images are ambiguous.
    """
    for kind, dataset in IDX_FOLDERS.items():
        if is_folder(folder / kind / "raw"):
            raise DataError(
                f"{folder} holds {kind} as torchvision stores it: say {named('data', PREFIX + dataset)} and "
                f"{named('data_root', folder)}."
            )
    if is_run_folder(folder):
        raise DataError(f"{folder} is a run folder written by tl, not a folder of images; {EXPECTED}.")
    passed_over = PassedOver()
    top = list_folder(folder)
    passed_over.add(top.passed_over.beside_classes())
    split_folders, notes = find_splits(folder, top)
    first = next(split for split in ("train", "val", "test") if split in split_folders)
    classes: dict[str, dict[str, Contents]] = {}
    for split, path in split_folders.items():
        within = top if path == folder else list_folder(path)
        if path != folder:
            passed_over.add(within.passed_over.beside_classes())
            notes += _note_loose(path, within)
        classes[split] = {name: list_folder(path / name) for name in within.folders}
        if not classes[split]:
            raise DataError(f"{path} has no class folders; {EXPECTED}.")
    _check_own_images(split_folders[first], classes[first])
    class_names = list(classes[first])
    for split, path in split_folders.items():
        _check_same_classes(first, class_names, split, list(classes[split]))
        for name, contents in classes[split].items():
            passed_over.add(contents.passed_over)
            _check_nothing_deeper(path / name, contents, passed_over)
    return Source(
        source_name or folder.resolve().name,
        {split: _samples(path, classes[split], class_names) for split, path in split_folders.items()},
        tuple(class_names),
        allow_hflip,
        folder,
        [*notes, *note_case(class_names, MERGE_FOLDERS), *passed_over.notes()],
    )


def find_splits(folder: Path, contents: Contents) -> tuple[dict[str, Path], list[str]]:
    """Return the folder of each split, and notes on what was passed over; a plain folder of classes is all "train".

    Raises:
        DataError: The folders may be classes or splits.
    """
    names = contents.folders
    if not names:
        raise DataError(f"{folder} has no folders in it; {EXPECTED}.")
    splits: dict[str, Path] = {}
    for name in names:
        split = SPLIT_FOLDERS.get(name.lower())
        if split is None:
            continue
        if split in splits:
            raise DataError(
                f"{folder} has two folders for {split}, {splits[split].name}/ and {name}/; keep one of them."
            )
        splits[split] = folder / name
    others = [name for name in names if name.lower() not in SPLIT_FOLDERS]
    notes = _note_loose(folder, contents)
    if not splits:
        _refuse_near_splits(folder, others)
        return {"train": folder}, notes
    if others and "train" not in splits:
        found = ", ".join(f"{path.name}/" for path in splits.values())
        raise DataError(
            f"{folder} has {found} beside {join_names([f'{name}/' for name in others])}: these can be splits or "
            "classes. Add train/ for a folder of splits, or rename the class."
        )
    if others:
        notes.append(f"Passed over in {folder}, no split: {join_names([f'{name}/' for name in others])}.")
    return splits, notes


def _note_loose(folder: Path, contents: Contents) -> list[str]:
    count = len(contents.images)
    return [f"Passed over in {folder}, in no class folder: {plural(count, 'image')}."] if count else []


def _refuse_near_splits(folder: Path, names: Sequence[str]) -> None:
    """Refuse folders that contain folders and are named almost like splits."""
    for name in names:
        lower = name.lower()
        near = difflib.get_close_matches(lower, SPLIT_FOLDERS, n=1, cutoff=0.7) + list(OTHER_SPLIT_NAMES.get(lower, ()))
        if near and list_folder(folder / name).folders:
            raise DataError(
                f"{folder / name} could be a class or a split: it holds folders and its name is near {near[-1]!r}. "
                f"Call it {near[-1]}/ if it is a split, or put train/ above the classes."
            )


def _check_own_images(split_folder: Path, classes: Mapping[str, Contents]) -> None:
    """Refuse class folders without images of their own in the split that defines the classes."""
    lacking = [name for name, contents in classes.items() if not contents.images]
    if not lacking:
        return
    having = [name for name in classes if name not in lacking]
    if having and any(images_below(split_folder / name)[0] for name in lacking):
        return  # `_check_nothing_deeper` reports them.
    if having:
        one = len(lacking) == 1
        raise DataError(
            f"{join_names([str(split_folder / name) for name in lacking])} {'has' if one else 'have'} no images, "
            f"beside folders that have ({join_names(having)}): a class without images can be "
            f"neither learned nor judged. Add images, or take {'it' if one else 'them'} out of {split_folder}."
        )
    meant = [str(path) for path in _data_folders_below(split_folder, list(classes))]
    what = f"{split_folder} has no images in its class folders ({join_names(lacking)})"
    if not meant:
        raise DataError(f"{what}; {EXPECTED}.")
    if len(meant) == 1:
        raise DataError(f"{what}, but {meant[0]} has folders of images: say {named('data', meant[0])}.")
    raise DataError(
        f"{what}, but each of {join_names(meant)} has folders of images. If those are classes, say one of these, such "
        f"as {named('data', meant[0])}; if not, put the images into {join_names(meant)} themselves."
    )


def _data_folders_below(folder: Path, names: Sequence[str], depth: int = 1) -> list[Path]:
    """Return the highest folders below one that have folders of images, splits taken together."""
    if depth > MAX_DEPTH:
        return []
    found: list[Path] = []
    for name in names:
        here = folder / name
        below = list_folder(here).folders
        splits = [split for split in below if split.lower() in SPLIT_FOLDERS]
        classes = [here / split / kind for split in splits for kind in list_folder(here / split).folders]
        if any(list_folder(path).images for path in [*classes, *(here / kind for kind in below)]):
            found.append(here)
        else:
            found += _data_folders_below(here, below, depth + 1)
    return found


def _check_nothing_deeper(folder: Path, contents: Contents, passed_over: PassedOver) -> None:
    """Refuse images in folders of a class folder; other files there are passed over."""
    for name in contents.folders:
        images, others = images_below(folder / name)
        passed_over.add(others)
        if images:
            what = "an image" if len(images) == 1 else f"{len(images):,} images"
            raise DataError(
                f"{folder / name} has {what} (such as {images[0]}): it is unclear whether {folder.name} is their "
                f"class. If it is, put them into {folder} itself; if not, take {name} out of it."
            )


def _check_same_classes(first: str, expected: Sequence[str], split: str, found: Sequence[str]) -> None:
    if unknown := sorted(set(found) - set(expected)):
        near = [f"{name!r} may be {nearest!r}" for name in unknown if (nearest := nearest_class(name, expected))]
        raise DataError(
            f"{split} has {'classes' if len(unknown) > 1 else 'a class'} ({join_names(unknown)}) that {first} lacks. "
            f"Class folders must have the same names in every split.{f' {join_names(near)}.' if near else ''}"
        )


def nearest_class(name: str, expected: Sequence[str]) -> str:
    """Return the class with the name nearest to `name`, in any case; empty if none is near."""
    by_lower = {known.lower(): known for known in expected}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else ""


def note_case(class_names: Sequence[str], remedy: str) -> list[str]:
    """Return a note on classes that differ in case only, if there are any; `remedy` says how to make them one."""
    alike: defaultdict[str, list[str]] = defaultdict(list)
    for name in class_names:
        alike[name.casefold()].append(name)
    groups = [" and ".join(names) for names in alike.values() if len(names) > 1]
    return [
        f"Classes that differ in case only are learned as several: {join_names(groups)}. If they are one, {remedy}."
    ] * bool(groups)


def _samples(folder: Path, classes: Mapping[str, Contents], class_names: Sequence[str]) -> Samples:
    images: list[str] = []
    targets: list[int] = []
    for target, name in enumerate(class_names):
        files = [str(folder / name / image) for image in classes[name].images] if name in classes else []
        images += files
        targets += [target] * len(files)
    return Samples(FileImages(images), targets)
