"""Files of torch.save: state_dicts, networks, checkpoints; their pickles are read as an outline, not run."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from tl_toolkit.errors import ModelFileError
from tl_toolkit.models.inspection.content import Content, StoredTensor
from tl_toolkit.models.inspection.outline import (
    CONTAINERS,
    LEGACY_PICKLES,
    REBUILT,
    STORAGES,
    Outline,
    Remembered,
    shape_of,
)
from tl_toolkit.models.weights.checkpoint_names import AVERAGED, PLAIN, PREFIXES
from tl_toolkit.models.weights.file_kinds import ZIP
from tl_toolkit.text import format_value, join_names, plural

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First of the pickles in a file of torch before 1.6 (torch/serialization.py)."""

CARD = "tl_card"
"""Attribute of a network that tl saved, with its metadata."""

RUNS = "torch.storage._load_from_bytes"
"""Of the functions that rebuild tensors, the one that loads whatever it is given."""

MAX_DEPTH = 64
"""Levels of modules; the deepest networks have a dozen."""

MAX_MODULES = 100_000
"""Modules that are visited: a file may name one in so many places that there would be no end."""

MAX_ENTRIES = 12
"""Entries of a checkpoint that are listed."""

MAX_PICKLE = 256 * 2**20
"""Bytes of a pickle without its numbers; the largest networks have a megabyte."""


def read_torch(path: Path) -> Content:
    """Read what a file of torch.save holds.

    Raises:
        ModelFileError: It is damaged; the message is only the reason.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return _read_archive(archive)
        with path.open("rb") as file:
            if file.read(len(ZIP)) == ZIP:
                raise ModelFileError("its end is missing, copy it again from where it is whole")
            file.seek(0)
            return _read_legacy(file)
    except Exception as error:  # Damaged pickles and archives raise errors of every type.
        raise ModelFileError(f"it is damaged: {str(error) or type(error).__name__}") from error


def _read_archive(archive: zipfile.ZipFile) -> Content:
    names = archive.namelist()
    pickled = next(name for name in names if name.endswith("/data.pkl"))
    if archive.getinfo(pickled).file_size > MAX_PICKLE:
        raise ValueError(f"{pickled} is larger than any network's")
    outline = Outline(io.BytesIO(archive.read(pickled)))
    loaded = outline.load()
    script = any("/code/" in name for name in names)
    return _described(loaded, outline, "TorchScript, a program" if script else "")


def _read_legacy(file: IO[bytes]) -> Content:
    outline = Outline(file)
    loaded = outline.load()
    if loaded == LEGACY_MAGIC:
        for _ in range(LEGACY_PICKLES - 1):
            loaded = outline.load()
    return _described(loaded, outline, "")


def _described(loaded: Any, outline: Outline, form: str) -> Content:
    """Return what an object of torch.save is, whatever its classes say."""
    facts: dict[str, str] = {}
    code = [name for name in outline.names if not _builds_tensors(name)]
    arch = ""
    if isinstance(loaded, dict) and not _is_state_dict(loaded):
        arch = loaded["arch"] if isinstance(loaded.get("arch"), str) else ""
        entries = [f"{key}: {_in_words(value)}" for key, value in loaded.items()]
        facts["entries"] = "; ".join(entries[:MAX_ENTRIES]) + ("; ..." if len(entries) > MAX_ENTRIES else "")
        found = next((key for key in (*PLAIN, *AVERAGED) if isinstance(loaded.get(key), dict | Remembered)), None)
        form = form or "a checkpoint of torch.save"
        if found is not None:
            facts["weights in"] = found
            loaded = loaded[found]
    card: Mapping[str, Any] = {}
    if isinstance(loaded, Remembered):
        attributes = loaded.attributes
        form = form or "a network of torch.save (a full model)"
        facts["class"] = loaded.full_name
        card = _as_dict(attributes.get(CARD))
        config = attributes.get("pretrained_cfg")
        if isinstance(config, dict) and isinstance(config.get("architecture"), str):
            arch = f"timm:{config['architecture']}"
    elif _is_state_dict(loaded):
        form = form or "a state_dict of torch.save"
    tensors = list(_tensors(loaded, "", 0, iter(range(MAX_MODULES))))
    if prefix := next((each for each in PREFIXES if tensors and all(t.name.startswith(each) for t in tensors)), None):
        facts["prefix"] = f"{prefix} of every name"
    header = {name: text for name, text in card.items() if isinstance(name, str) and isinstance(text, str)}
    form = form or f"{_in_words(loaded)} of torch.save"
    return Content(form, tensors, header.get("architecture", arch), header, facts, code)


def _is_state_dict(loaded: Any) -> bool:
    return isinstance(loaded, dict) and bool(loaded) and all(isinstance(v, StoredTensor) for v in loaded.values())


def _tensors(value: Any, prefix: str, depth: int, visits: Iterator[int]) -> Iterator[StoredTensor]:
    """Yield the tensors of a state_dict, or of a network as its state_dict would name them."""
    if depth > MAX_DEPTH or next(visits, None) is None:
        return
    if isinstance(value, dict):
        for key, tensor in value.items():
            if isinstance(tensor, StoredTensor):
                # A pickle may set the fields of any object in it.
                yield StoredTensor(f"{prefix}{key}", str(tensor.dtype), shape_of(tensor.shape))
    elif isinstance(value, Remembered):
        attributes = value.attributes
        if "_modules" not in attributes:  # TorchScript keeps tensors and modules as plain attributes.
            attributes = {"_parameters": attributes, "_modules": attributes}
        for kind in ("_parameters", "_buffers"):
            yield from _tensors(_as_dict(attributes.get(kind)), prefix, depth, visits)
        for name, module in _as_dict(attributes.get("_modules")).items():
            if isinstance(module, Remembered):
                yield from _tensors(module, f"{prefix}{name}.", depth + 1, visits)


def _as_dict(value: Any) -> dict[Any, Any]:
    return value if isinstance(value, dict) else {}


def _in_words(value: Any) -> str:
    """Return what an entry of a checkpoint is."""
    if isinstance(value, StoredTensor):
        return f"tensor {value.dtype} of {format_value(value.shape)}"
    if isinstance(value, Remembered):
        settings = join_names([str(name) for name in value.attributes], 4)
        return f"{value.full_name} ({settings})" if settings else value.full_name
    if _is_state_dict(value):
        return plural(len(value), "tensor")
    if isinstance(value, dict):
        return f"a dict of {plural(len(value), 'entry').replace('entrys', 'entries')}"
    if isinstance(value, list | tuple | set):
        return f"a {type(value).__name__} of {len(value):,}"
    if isinstance(value, type):
        return f"the name {getattr(value, 'full_name', value.__name__)}"
    return format_value(value)


def _builds_tensors(name: str) -> bool:
    """Return whether a name only serves to rebuild tensors."""
    module, _, last = name.rpartition(".")
    storage = last.removesuffix("Storage") in STORAGES and module in ("torch", "torch.storage")
    plain = module == "torch" and last in ("Size", "device", *STORAGES.values())
    return (name in REBUILT and name != RUNS) or name in CONTAINERS or storage or plain
