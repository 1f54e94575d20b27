"""Which tar files a user names: braces, a glob, one file, or a folder of them."""

import difflib
import glob
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tl_toolkit.data.sources.names import SPLIT_FOLDERS
from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.io.reader_threads import reading
from tl_toolkit.io.tar_members import COMPRESSED, ENDING, UNPACK
from tl_toolkit.text import format_value, join_names, plural

MAX_FILES = 1_000_000
GLOB = re.compile(r"[*?\[]")
RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?|([A-Za-z])\.\.([A-Za-z])(?:\.\.(-?\d+))?")
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")

INDEX_FILE = "index.json"
CLASSES_FILE = "classes.json"


@dataclass(frozen=True)
class ShardFile:
    """A tar file that a user named.

    Attributes:
        place: Its path, or its URL.
        split: The split that its folder or its name says; None if neither does.
    """

    place: str
    split: str | None

    @property
    def is_remote(self) -> bool:
        """Whether it is at a URL."""
        return is_url(self.place)


def is_url(text: str) -> bool:
    """Return whether a text is a URL rather than a path."""
    return bool(URL.match(text))


def names_shards(spec: str) -> bool:
    """Return whether a text names tar files by their ending, compressed ones too; they need not exist."""
    ending = (ENDING, *COMPRESSED)
    return spec.lower().endswith(ending) or ("{" in spec and next(expand_braces(spec)).lower().endswith(ending))


def find_shards(spec: str) -> list[ShardFile] | None:
    """Return the tar files that a text names, sorted; None if it names something else.

    Raises:
        UsageError: Files are missing, or are compressed.
        DataError: Only some of their names say a split.
    """
    if is_folder(expand_path(spec)):
        places = _of_folder(expand_path(spec))
    elif names_shards(spec):
        places = _named(spec)
    else:
        return None
    if not places:
        return None
    if compressed := [place for place in places if place.lower().endswith(COMPRESSED)]:
        raise UsageError(f"{join_names(compressed, most=2)} cannot be read in any order. {UNPACK}")
    files = [ShardFile(place, split_of(place)) for place in places]
    if any(file.split for file in files) and not all(file.split for file in files):
        without = [file.place for file in files if not file.split]
        raise DataError(
            f"The names of {plural(len(files) - len(without), 'shard')} of {spec} say a split, and those of "
            f"{join_names(without, most=3)} do not. Name each after its split, such as train-000.tar or train/000.tar, "
            "or none."
        )
    return files


def split_of(place: str) -> str | None:
    """Return the split that the folder of a shard or a word of its name says; None if neither does."""
    *_, folder, name = ["", *re.split(r"[/\\]", place)]
    if folder.lower() in SPLIT_FOLDERS:
        return SPLIT_FOLDERS[folder.lower()]
    words = {SPLIT_FOLDERS[word] for word in re.split(r"[-_.]", name.lower()) if word in SPLIT_FOLDERS}
    return words.pop() if len(words) == 1 else None


def _of_folder(folder: Path) -> list[str]:
    """Return the tar files of a folder that has no images; of its splits, if they are in folders."""
    tars, folders, others = _listed(folder)
    if tars and not folders and not others:
        return tars
    if tars or others or not folders or any(path.name.lower() not in SPLIT_FOLDERS for path in folders):
        return []
    within = [_listed(path) for path in folders]
    if any(not found or below or other for found, below, other in within):
        return []
    return [tar for found, _, _ in within for tar in found]


def _listed(folder: Path) -> tuple[list[str], list[Path], bool]:
    """Return the tar files of a folder, its folders, and whether it has other files than those that go with shards."""
    tars, folders, others = [], [], False
    try:
        with reading(folder):
            for path in sorted(folder.iterdir()):
                if path.name.startswith("."):
                    continue
                if path.is_dir():
                    folders.append(path)
                elif path.name.lower().endswith((ENDING, *COMPRESSED)):
                    tars.append(str(path))
                elif path.suffix.lower() not in (".json", ".md", ".txt"):
                    others = True
    except OSError as error:
        raise DataError(f"Cannot read the folder {folder}: {error.strerror}.") from error
    return tars, folders, others


def _named(spec: str) -> list[str]:
    """Return the paths or URLs of a text with braces or a glob."""
    if not is_url(spec) and is_file(expand_path(spec)):
        return [str(expand_path(spec))]
    expanded = list(itertools.islice(expand_braces(spec), MAX_FILES + 1))
    if len(expanded) > MAX_FILES:
        raise UsageError(f"{spec} names more than {MAX_FILES:,} shards. Name fewer.")
    if is_url(spec):
        return expanded
    found: list[str] = []
    missing: list[str] = []
    for text in expanded:
        path = expand_path(text)
        if is_file(path):
            found.append(str(path))
        elif GLOB.search(text) and (matches := _matches(path)):
            found += matches
        else:
            missing.append(text)
    if missing:
        raise UsageError(_not_found(spec, len(expanded), missing))
    if twice := [place for place, times in _counts(found).items() if times > 1]:
        raise UsageError(f"{spec} names {join_names(twice, most=3)} twice.")
    return found


def _matches(path: Path) -> list[str]:
    with reading(path):
        return sorted(found for found in glob.glob(str(path)) if is_file(Path(found)))  # noqa: PTH207  # as typed


def _counts(places: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for place in places:
        counts[place] = counts.get(place, 0) + 1
    return counts


def _not_found(spec: str, named: int, missing: list[str]) -> str:
    folder = expand_path(missing[0]).parent
    if not is_folder(folder):
        return f"There is no folder {format_value(str(folder))} for the shards {spec}."
    with reading(folder):
        beside = sorted(path.name for path in folder.iterdir() if path.name.lower().endswith((ENDING, *COMPRESSED)))
    there = f"The folder {format_value(str(folder))} has {_some(beside)}."
    if named == 1:
        near = difflib.get_close_matches(expand_path(spec).name, beside, n=3)
        suggestion = f"Did you mean {' or '.join(near)}?" if near else there
        return f"There is no shard {format_value(spec)}. {suggestion}"
    return (
        f"Of the {named:,} shards of {spec}, {plural(len(missing), 'shard')} {'is' if len(missing) == 1 else 'are'} "
        f"missing: {join_names(missing)}. {there} Fetch what is missing, or name those that are there."
    )


def _some(names: list[str]) -> str:
    if not names:
        return f"no {ENDING} files"
    return f"{len(names):,} of them, {names[0]} to {names[-1]}" if len(names) > 2 else join_names(names)


def expand_braces(text: str) -> Iterator[str]:
    """Yield what a text with braces stands for, as in a shell: {a,b}, {000..099}, {0..9..3}, nested or not."""
    for start, end in _braces(text):
        inner = text[start + 1 : end]
        parts = _parts(inner)
        if len(parts) > 1:
            options: Iterator[str] = itertools.chain.from_iterable(map(expand_braces, parts))
        elif found := RANGE.fullmatch(inner):
            options = _range(found)
        else:
            continue
        for option in options:
            yield from (text[:start] + option + rest for rest in expand_braces(text[end + 1 :]))
        return
    yield text


def _braces(text: str) -> Iterator[tuple[int, int]]:
    """Yield the places of each { and of the } that belongs to it, from left to right."""
    for start, sign in enumerate(text):
        if sign != "{":
            continue
        depth = 0
        for end in range(start, len(text)):
            depth += (text[end] == "{") - (text[end] == "}")
            if depth == 0:
                yield start, end
                break


def _parts(text: str) -> list[str]:
    """Return the parts of a text between commas that are in no braces of their own."""
    parts, depth = [""], 0
    for sign in text:
        depth += (sign == "{") - (sign == "}")
        if sign == "," and not depth:
            parts.append("")
        else:
            parts[-1] += sign
    return parts


def _range(found: "re.Match[str]") -> Iterator[str]:
    first, last, step, letter, last_letter, letter_step = found.groups()
    if letter:
        low, high, by = ord(letter), ord(last_letter), int(letter_step or 1)
        return (chr(code) for code in _steps(low, high, by))
    width = max(len(first), len(last)) if any(re.match(r"-?0\d", text) for text in (first, last)) else 0
    return (f"{number:0{width}d}" for number in _steps(int(first), int(last), int(step or 1)))


def _steps(first: int, last: int, step: int) -> range:
    step = max(1, abs(step))
    return range(first, last + 1, step) if last >= first else range(first, last - 1, -step)
