"""Files of torch.save that hold more than tensors: whole networks, loaded only where no code in them can run."""

import logging
import pickle
import re
import threading
import warnings
from pathlib import Path
from typing import Any

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from tl_toolkit.errors import ModelFileError, UnsafeFileError
from tl_toolkit.models.pickles.allowlist import CALLED, Allowed, allowed_globals, is_kind_of_tensor
from tl_toolkit.models.pickles.scan import named_globals
from tl_toolkit.text import join_names, named

CARD_ATTRIBUTE = "tl_card"
"""Attribute of a saved network that holds its model card: names and texts, as in the header of a model.safetensors."""

TORCHS_REASON = re.compile(r"^(?:WeightsUnpickler error: )?((?:Unsupported|Trying to|Can only) .*)", re.MULTILINE)
"""Within much advice."""


log = logging.getLogger("tl_toolkit")
_allowing = threading.Lock()


def load_pickled(path: Path, trust: bool = False) -> Any:
    """Loads what torch.save wrote: tensors, or a network of torch's, torchvision's, timm's or tl_toolkit's classes.

    Args:
        path: The file.
        trust: Load anything else too, which can run code that is in the file.

    Raises:
        UnsafeFileError: Without `trust`, the file does more than put a network together.
        ModelFileError: The file is damaged.
    """
    try:
        allowed = _look_through(path)
        with _allowing, safe_globals(allowed), warnings.catch_warnings():  # All three are one for the process.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return _torch_load(path, weights_only=True)
    except (UnsafeFileError, pickle.UnpicklingError) as error:
        if trust:
            return _load_trusted(path)
        reason = _reason(error)
        names = [name for name in named_globals(path) if name not in CALLED and not is_kind_of_tensor(name)]
        if not names and not isinstance(error, UnsafeFileError):
            raise ModelFileError(f"{path} is damaged or no file of torch.save: {reason}") from error
        naming = f" It names {join_names(names)}." if names and not any(name in reason for name in names) else ""
        raise UnsafeFileError(
            f"{path} is refused, as loading it could run code: {reason}{naming} tl takes pickled networks of "
            "torch's, torchvision's, timm's and its own classes alone. Save the state_dict() and give that, or, if you "
            f"trust whoever wrote the file, say {named('trust', True)}."
        ) from error
    except Exception as error:  # Damaged pickles and archives fail with errors of every type.
        raise ModelFileError(f"{path} is damaged or no file of torch.save: {_reason(error)}") from error


def metadata_of(loaded: Any) -> dict[str, str]:
    """What a saved network says about itself; nothing where it says nothing, or not in plain text."""
    metadata = getattr(loaded, "__dict__", {}).get(CARD_ATTRIBUTE)
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        return {}
    return metadata


def _look_through(path: Path) -> Allowed:
    """What must be allowed for a file beside tensors: nothing for most."""
    try:
        unknown = get_unsafe_globals_in_checkpoint(path)
    except ValueError as error:
        if "torchscript" in str(error):
            raise UnsafeFileError("it is a TorchScript program") from error
        return []  # torch before 1.6 wrote no archives; of theirs, torch.load reads tensors.
    if not unknown:
        return []
    return allowed_globals(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl"), unknown)


def _torch_load(path: Path, weights_only: bool) -> Any:
    """torch.load, which goes by the name of a file: a pickle that is called .safetensors it would not read."""
    if path.suffix != ".safetensors":
        return torch.load(path, map_location="cpu", weights_only=weights_only)
    with path.open("rb") as file:
        return torch.load(file, map_location="cpu", weights_only=weights_only)


def _load_trusted(path: Path) -> Any:
    log.warning("%s is loaded because you said trust: code that is in it runs now, with all your rights.", path)
    try:
        return _torch_load(path, weights_only=False)
    except Exception as error:
        raise ModelFileError(f"{path} cannot be loaded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first sentence of what a library says, or of torch's own reason within it."""
    torchs = TORCHS_REASON.search(str(error))
    text = torchs[1] if torchs else (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split(". ")[0].rstrip(".") + "."
