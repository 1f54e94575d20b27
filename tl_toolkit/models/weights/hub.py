"""Weights of timm's networks on the Hugging Face Hub."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import huggingface_hub
from huggingface_hub import HfFileMetadata
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from tl_toolkit.errors import DownloadError, ModelFileError, ToolkitError, WeightsError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.download import ANSWER_SECONDS, ProgressCallback, call_with_timeout, refuse_oversized, require_https
from tl_toolkit.io.files import is_file
from tl_toolkit.models.backbones import timm_input_spec
from tl_toolkit.models.weights.torch_hub import cache_path, cached_download, file_sha256
from tl_toolkit.system.libraries import timm
from tl_toolkit.text import named

WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
"""The safe format first, as in timm (timm/models/_hub.py)."""


@dataclass(frozen=True)
class TimmRepository:
    """A repository that timm's `push_to_hf_hub` wrote.

    Attributes:
        weights_file: The weights on the disk.
        architecture: timm's name of the network.
        num_classes: Outputs of its classifier.
        input_spec: The input that the weights expect, if the repository says so.
        license: Licence of the weights; empty if the repository has none.
    """

    weights_file: Path
    architecture: str
    num_classes: int
    input_spec: InputSpec | None
    license: str


def timm_weights_file(name: str, progress: ProgressCallback | None) -> Path:
    """Return timm's own weights of a network, from the cache or by a download.

    Raises:
        WeightsError: They are not available.
    """
    config = timm.get_pretrained_cfg(name)
    if config.hf_hub_id:
        return _fetch(config.hf_hub_id, _weight_names(config))
    return cached_download(config.url, progress)


def cached_timm_weights(name: str) -> Path | None:
    """Return timm's own weights of a network in a cache, without a check of their hash; None if there are none."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config and config.hf_hub_id:
        return _in_cache(config.hf_hub_id, _weight_names(config))
    path = cache_path(config.url) if config and config.url else None
    return path if path and is_file(path) else None


def fetch_timm_repository(repository: str) -> TimmRepository:
    """Return the weights and the description of a timm model on the Hub.

    Args:
        repository: "ORG/NAME".

    Raises:
        WeightsError: The repository is not available or not timm's.
    """
    config_file = _fetch(repository, ("config.json",))
    try:
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
        architecture, pretrained = config["architecture"], config["pretrained_cfg"]
        spec = timm_input_spec(pretrained) if "input_size" in pretrained else None
        classes = int(config.get("num_classes") or pretrained["num_classes"])
    except (ValueError, KeyError, TypeError, ModelFileError) as error:
        raise WeightsError(f"hf-hub:{repository} is not a timm model: its config.json lacks {error}.") from error
    stated = str(pretrained.get("license") or "")
    return TimmRepository(_fetch(repository, WEIGHT_NAMES), architecture, classes, spec, stated)


def hub_folder(repository: str) -> Path:
    """Return the folder of a repository in the Hub's cache."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _weight_names(config: Any) -> Sequence[str]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else WEIGHT_NAMES


def _fetch(repository: str, names: Sequence[str]) -> Path:
    """Return the first of these files in the cache or on the Hub, with its hash checked either way."""
    try:
        if cached := _in_cache(repository, names):
            return _checked(cached, cached.resolve().name)
        for name in names:
            if metadata := _on_the_hub(repository, name):
                return _checked(
                    Path(huggingface_hub.hf_hub_download(repository, name)), metadata.etag or "", fresh=True
                )
    except ToolkitError as error:
        raise WeightsError(str(error)) from error
    except Exception as error:  # The client passes on errors of its HTTP library, which changes.
        raise WeightsError(_unreachable(repository, names, error)) from error
    raise WeightsError(f"hf-hub:{repository} has none of {', '.join(names)}.")


def _in_cache(repository: str, names: Sequence[str]) -> Path | None:
    """Return the first of these files in the cache, without asking the Hub."""
    cached = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def _on_the_hub(repository: str, name: str) -> HfFileMetadata | None:
    """Ask the Hub once about a file: without a network the retries of a download take half a minute.

    Raises:
        DownloadError: The transfer is not protected, the file is too large, or the Hub has no hash for it.
    """
    url = huggingface_hub.hf_hub_url(repository, name)
    require_https(url)
    ask = functools.partial(huggingface_hub.get_hf_file_metadata, url, timeout=ANSWER_SECONDS)
    try:
        metadata = call_with_timeout(ANSWER_SECONDS, ask)
    except EntryNotFoundError as error:
        if isinstance(error, LocalEntryNotFoundError):
            raise
        return None
    require_https(metadata.location, before=url)
    refuse_oversized(url, metadata.size or 0)
    if _digest(metadata.etag or "") is None:
        raise DownloadError(f"{url} is not fetched: the Hub tells no hash to check it by.")
    return metadata


def _digest(etag: str) -> Callable[[Path], str] | None:
    """Return the hash function of an etag: SHA-256 for a large file, git's SHA-1 for a small one."""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        return file_sha256
    return _git_sha1 if re.fullmatch(r"[0-9a-f]{40}", etag) else None


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _checked(path: Path, etag: str, fresh: bool = False) -> Path:
    """Return a file after a check of its hash.

    Args:
        path: The file.
        etag: Its hash on the Hub; where the system has links, also its name in the Hub's cache.
        fresh: Delete a wrong file, as it was just downloaded.

    Raises:
        WeightsError: The hash is another.
    """
    digest = _digest(etag)
    if digest is None or digest(path) == etag:
        return path
    if fresh:
        path.resolve().unlink()
        raise WeightsError(
            f"{path.name} from the Hub is not the expected file: its hash is not {etag}. It was deleted."
        )
    raise WeightsError(f"{path} is damaged: its hash is not {etag}. Delete it and try again.")


def _unreachable(repository: str, names: Sequence[str], error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"{names[0]} of hf-hub:{repository} is not in the cache, and the Hub cannot be asked ({reason}).\n"
        f"On a machine with a network run `hf download {repository}` and copy the folder {hub_folder(repository)}, or "
        f"choose {named('weights', 'FILE')} or none."
    )
