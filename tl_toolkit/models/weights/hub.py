"""Weights on the Hugging Face Hub, for timm's networks."""

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
from tl_toolkit.models.weights.torch_hub import cache_path, cached_download, file_sha256
from tl_toolkit.system.libraries import timm
from tl_toolkit.text import named

WEIGHT_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Safe format first, as timm itself looks for them (timm/models/_hub.py)."""


@dataclass(frozen=True)
class TimmRepository:
    """A repository that timm's `push_to_hf_hub` wrote.

    Attributes:
        weights_file: Its weights on the disk.
        architecture: timm's name of the network.
        num_classes: Outputs of its classifier.
        input_spec: What the weights expect, where the repository says so.
        license: Of the weights, where the repository says it.
    """

    weights_file: Path
    architecture: str
    num_classes: int
    input_spec: InputSpec | None
    license: str


def timm_weights_file(name: str, progress: ProgressCallback | None) -> Path:
    """Timm's own weights of a network, from the cache or downloaded.

    Raises:
        WeightsError: They can be had from neither.
    """
    config = timm.get_pretrained_cfg(name)
    return (
        _fetch(config.hf_hub_id, _weight_names(config)) if config.hf_hub_id else cached_download(config.url, progress)
    )


def cached_timm_weights(name: str) -> Path | None:
    """Timm's own weights of a network where a cache has them; nothing is opened, so their hash is not checked."""
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    if config and config.hf_hub_id:
        return _in_cache(config.hf_hub_id, _weight_names(config))
    path = cache_path(config.url) if config and config.url else None
    return path if path and is_file(path) else None


def fetch_timm_repository(repository: str) -> TimmRepository:
    """Weights and description of a timm model on the Hub.

    Args:
        repository: "ORG/NAME".

    Raises:
        WeightsError: The repository cannot be had or is not timm's.
    """
    config_file = _fetch(repository, ("config.json",))
    try:
        config: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
        architecture, pretrained = config["architecture"], config["pretrained_cfg"]
        spec = _spec(pretrained)
        classes = int(config.get("num_classes") or pretrained["num_classes"])
    except (ValueError, KeyError, TypeError, ModelFileError) as error:
        raise WeightsError(f"hf-hub:{repository} is no timm model: its config.json lacks {error}.") from error
    stated = str(pretrained.get("license") or "")
    return TimmRepository(_fetch(repository, WEIGHT_NAMES), architecture, classes, spec, stated)


def hub_folder(repository: str) -> Path:
    """Where the Hub's cache keeps a repository."""
    return Path(huggingface_hub.constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"


def _weight_names(config: Any) -> Sequence[str]:
    return (config.hf_hub_filename,) if config.hf_hub_filename else WEIGHT_NAMES


def _spec(pretrained: dict[str, Any]) -> InputSpec | None:
    if "input_size" not in pretrained:
        return None
    channels, height, width = pretrained["input_size"]
    return InputSpec.from_dict(
        {
            "channels": channels,
            "height": height,
            "width": width,
            "mean": pretrained["mean"],
            "std": pretrained["std"],
            "interpolation": pretrained.get("interpolation", "bicubic"),
            "crop": pretrained.get("crop_mode", "center"),
            "crop_fraction": pretrained.get("crop_pct", 0.875),
        }
    )


def _fetch(repository: str, names: Sequence[str]) -> Path:
    """The first of these files that the cache or the Hub has, its hash checked either way."""
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
    except Exception as error:  # The client lets its HTTP library's errors through, and that library changes.
        raise WeightsError(_unreachable(repository, names, error)) from error
    raise WeightsError(f"hf-hub:{repository} has none of {', '.join(names)}.")


def _in_cache(repository: str, names: Sequence[str]) -> Path | None:
    """The first of these files that the cache has; the Hub is not asked."""
    cached = (huggingface_hub.try_to_load_from_cache(repository, name) for name in names)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def _on_the_hub(repository: str, name: str) -> HfFileMetadata | None:
    """One quick question: the download's own retries take half a minute without a network.

    Raises:
        DownloadError: The file would come unprotected, without a hash, or is too large.
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
    """What reckons the hash that the Hub names a file by: SHA-256 of a large one, git's SHA-1 of a small one."""
    if re.fullmatch(r"[0-9a-f]{64}", etag):
        return file_sha256
    return _git_sha1 if re.fullmatch(r"[0-9a-f]{40}", etag) else None


def _git_sha1(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _checked(path: Path, etag: str, fresh: bool = False) -> Path:
    """Refuses a file that is not what its hash says.

    Args:
        path: The file.
        etag: What the Hub said of it, or its name in the Hub's cache, which is the same where the system has links.
        fresh: Just downloaded: then nothing is kept.
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
        f"On a machine with a network run `hf download {repository}` and copy the folder "
        f"{hub_folder(repository)}, "
        f"or choose {named('weights', 'FILE')} or none."
    )
