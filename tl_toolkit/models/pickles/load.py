"""Loading files of torch.save, whole networks included, only if no code in them can run."""

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
from tl_toolkit.models.pickles.allowlist import CALLED, Allowed, allowed_globals, is_tensor_type
from tl_toolkit.models.pickles.scan import named_globals
from tl_toolkit.text import join_names, named

METADATA_ATTRIBUTE = "tl_card"
"""Attribute of a saved network with its metadata: names and texts, as in the header of a model.safetensors."""

TORCHS_REASON = re.compile(r"^(?:WeightsUnpickler error: )?((?:Unsupported|Trying to|Can only) .*)", re.MULTILINE)
"""torch's reason, which stands within much advice."""

log = logging.getLogger("tl_toolkit")
_allowing = threading.Lock()


def load_pickled(path: Path, trust: bool = False) -> Any:
    """Load what torch.save wrote: tensors, or a network of torch's, torchvision's, timm's or tl_toolkit's classes.

    Args:
        path: The file.
        trust: Load anything else too, which can run code in the file.

    Raises:
        UnsafeFileError: Without `trust`, the file does more than build a network.
        ModelFileError: The file is damaged.
    """
    try:
        allowed = find_allowed(path)
        with _allowing, safe_globals(allowed), warnings.catch_warnings():  # All three affect the whole process.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            return _torch_load(path, weights_only=True)
    except (UnsafeFileError, pickle.UnpicklingError) as error:
        if trust:
            return _load_trusted(path)
        reason = _reason(error)
        names = [name for name in named_globals(path) if name not in CALLED and not is_tensor_type(name)]
        if not names and not isinstance(error, UnsafeFileError):
            raise ModelFileError(f"{path} is damaged or no file of torch.save: {reason}") from error
        naming = f" It names {join_names(names)}." if names and not any(name in reason for name in names) else ""
        raise UnsafeFileError(
            f"{path} is refused, as loading it could run code: {reason}{naming} tl takes pickled networks of "
            "torch's, torchvision's, timm's and its own classes alone. Save the state_dict() and give that, or, if you "
            f"trust whoever wrote the file, say {named('trust', True)}."
        ) from error
    except Exception as error:  # Damaged pickles and archives raise errors of every type.
        raise ModelFileError(f"{path} is damaged or no file of torch.save: {_reason(error)}") from error


def metadata_of(loaded: Any) -> dict[str, str]:
    """Return the metadata of a saved network; empty if it has none, or not in plain text."""
    metadata = getattr(loaded, "__dict__", {}).get(METADATA_ATTRIBUTE)
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for pair in metadata.items() for text in pair):
        return {}
    return metadata


def find_allowed(path: Path) -> Allowed:
    """Return what to allow for a file beside tensors: nothing for most."""
    try:
        unknown = get_unsafe_globals_in_checkpoint(path)
    except ValueError as error:
        if "torchscript" in str(error):
            raise UnsafeFileError("it is a TorchScript program") from error
        return []  # torch before 1.6 wrote no archives; from its files torch.load reads tensors.
    if not unknown:
        return []
    return allowed_globals(torch._C.PyTorchFileReader(str(path)).get_record("data.pkl"), unknown)


def _torch_load(path: Path, weights_only: bool) -> Any:
    """Call torch.load, whatever the file's name: by itself it would not read a pickle named .safetensors."""
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
    """Return the first sentence of a library's message, or of torch's reason within it."""
    torchs = TORCHS_REASON.search(str(error))
    text = torchs[1] if torchs else (str(error).strip() or type(error).__name__).splitlines()[0]
    return text.split(". ")[0].rstrip(".") + "."
