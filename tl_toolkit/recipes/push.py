"""Push: a trained model as a repository of the Hugging Face Hub, loaded again and compared before it is published."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent, log_event
from tl_toolkit.exports.images import images_named, images_of_run
from tl_toolkit.exports.writing import plain_copy
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.loading import find_model_file, load
from tl_toolkit.io.files import UNFINISHED, check_is_new, expand_path, format_size
from tl_toolkit.io.hub_name import check_branch, check_repository
from tl_toolkit.io.hub_upload import Upload, check_repository_is_free, find_repository, upload_folder
from tl_toolkit.runs.hub_folder import HubFolder, write_hub_folder
from tl_toolkit.runs.model_card import read_card
from tl_toolkit.version import __version__


@dataclass(frozen=True)
class Push:
    """A model for the Hub.

    Attributes:
        repository: "ORG/NAME".
        folder: What was written, and how it was checked.
        path: The folder on this machine; None if it was sent.
        upload: Where it is on the Hub; None if it was not sent.
    """

    repository: str
    folder: HubFolder
    path: Path | None
    upload: Upload | None


def push(
    model: str | Path | ImageClassifier,
    repository: str,
    *,
    dry_run: str | Path | None = None,
    private: bool = False,
    revision: str | None = None,
    verify: Any = None,
    force: bool = False,
    trust: bool = False,
    callback: Callback = log_event,
) -> Push:
    """Publish a model on the Hugging Face Hub: weights, a description that timm reads, and the model card.

    The folder is first loaded again, by timm where timm has the network, and must give the model's outputs on real
    images. It does not tell where the images of the training are.

    Args:
        model: A run folder, a model file, or a model from `load`.
        repository: "ORG/NAME"; it is created if it does not exist.
        dry_run: Write this folder, which must not exist, and send nothing.
        private: Make a new repository private.
        revision: Its branch; by default main.
        verify: Images to compare on; see `export`.
        force: Put a new commit on a branch that has files.
        trust: Load a full model even if code in it would run.
        callback: Receives decisions and warnings.

    Raises:
        UsageError: The name is none, the folder exists, or files would be replaced.
        UploadError: There is no token that can write, or the Hub cannot be reached.
        ToolkitError: The folder cannot be written, or gives other outputs than the model.
    """
    check_repository(repository)
    check_branch(revision)
    path = expand_path(dry_run) if dry_run is not None else None
    found = None
    if path:
        check_is_new(path, "dry_run")
    else:
        found = find_repository(repository, revision)
        check_repository_is_free(found, private, force)
    loaded = model if isinstance(model, ImageClassifier) else load(model, device="cpu", precision="fp32", trust=trust)
    card = None if isinstance(model, ImageClassifier) else read_card(find_model_file(model).parent)
    check = images_of_run(loaded.metadata, callback) if verify is None else images_named(verify)
    with _temporary_folder(path) as folder:
        written = write_hub_folder(plain_copy(loaded), card, repository, folder, check)
        if path:
            folder.replace(path)
        if found is None:
            return Push(repository, written, path, None)
        size = format_size(sum(written.sizes.values()))
        callback(DecisionEvent("upload", f"{size} to {repository}", "private" if private else ""))
        upload = upload_folder(folder, found, private, f"Upload model with tl_toolkit {__version__}")
    for message in upload.warnings:
        callback(WarningEvent(message))
    return Push(repository, written, None, upload)


@contextlib.contextmanager
def _temporary_folder(path: Path | None) -> Iterator[Path]:
    """Yield an empty folder, beside the path that it is to get if there is one; what is left of it is removed.

    Raises:
        ToolkitError: It cannot be written.
    """
    try:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.parent if path else None
        with tempfile.TemporaryDirectory(prefix=".tl-push-", suffix=UNFINISHED, dir=beside) as temporary:
            folder = Path(temporary) / "folder"  # Of its own, as only the user can read a temporary one.
            folder.mkdir()
            yield folder
    except OSError as error:
        raise ToolkitError(f"Cannot write {path or tempfile.gettempdir()}: {error.strerror or error}.") from error
