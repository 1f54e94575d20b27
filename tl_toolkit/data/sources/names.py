"""What a user may call data, looked up before anything is opened or torch is imported."""

import difflib
from pathlib import Path

from tl_toolkit.config.choices import DIGITS
from tl_toolkit.data.sources.catalogue import CATALOGUE, find_entry
from tl_toolkit.errors import UsageError
from tl_toolkit.io.files import expand_path, is_file, is_folder
from tl_toolkit.io.reader_threads import call_with_stall_guard

PREFIX = "torchvision:"
PYTHON_PREFIX = "python:"
"""What a run notes as its data where it was given Python objects."""

KINDS = "a folder of class folders, `digits` or `torchvision:NAME`"


def check_name(spec: str) -> None:
    """Looks whether something answers to a name; what is in it is another matter.

    Raises:
        UsageError: Nothing does.
    """
    if spec.startswith(PREFIX):
        find_entry(spec.removeprefix(PREFIX))
    elif spec != DIGITS and not spec.startswith(PYTHON_PREFIX):
        call_with_stall_guard(find_folder, spec)


def find_folder(spec: str) -> Path:
    """The folder of that name.

    Raises:
        UsageError: There is none.
    """
    folder = expand_path(spec)
    if not is_folder(folder):
        raise UsageError(_not_found(spec, folder))
    return folder


def _not_found(spec: str, folder: Path) -> str:
    if is_file(folder):
        return f"Data must be a folder of class folders, but {spec} is a file."
    if spec.lower() in CATALOGUE:
        return f"There is no folder {spec!r}. For torchvision's dataset say `torchvision:{spec.lower()}`."
    beside = [path.name for path in folder.parent.iterdir() if is_folder(path)] if is_folder(folder.parent) else []
    near = difflib.get_close_matches(folder.name, [*beside, DIGITS], n=3)
    suggestion = f" Did you mean {' or '.join(near)}?" if near else ""
    return f"There is no folder {spec!r}.{suggestion} Data can be {KINDS}."
