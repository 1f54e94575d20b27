"""Uploading a folder to a model repository of the Hugging Face Hub, in one commit."""

import contextlib
import functools
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import errors
from huggingface_hub.utils import logging as hub_logging

from tl_toolkit.errors import ToolkitError, UnknownNameError, UploadError, UsageError
from tl_toolkit.io.download import ANSWER_SECONDS, call_with_timeout
from tl_toolkit.text import join_names, named

LOGIN = "`hf auth login`, or HF_TOKEN in the environment"
TOKENS = "https://huggingface.co/settings/tokens"
MAIN = "main"
OWN_REFERENCE = "refs/"
"""Begins the names of pull requests, which are never created here."""

MADE_BY_THE_HUB = {".gitattributes"}
"""What a new repository holds."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Repository:
    """A model repository, which may not exist yet.

    Attributes:
        name: "ORG/NAME".
        revision: The branch.
        exists: Whether the repository does.
        has_branch: Whether the branch does.
        files: Names of the files on the branch, without those that the Hub itself makes.
        private: Whether it is private; None if it does not exist.
    """

    name: str
    revision: str
    exists: bool
    has_branch: bool
    files: tuple[str, ...] = ()
    private: bool | None = None


@dataclass(frozen=True)
class Upload:
    """What was uploaded.

    Attributes:
        url: The page of the repository, or of its branch.
        commit: The commit; that of before if nothing has changed.
        private: Whether the repository is private.
        warnings: What the Hub says of the files.
    """

    url: str
    commit: str
    private: bool
    warnings: tuple[str, ...] = ()


def find_repository(name: str, revision: str | None = None) -> Repository:
    """Log in and look a repository up, so that what is wrong shows before any work.

    Args:
        name: "ORG/NAME".
        revision: A branch; None for main.

    Raises:
        UploadError: There is no token, it cannot write, or the Hub cannot be asked.
    """
    api, revision = _client(), revision or MAIN
    _check_token(name, _ask(name, api.whoami))
    try:
        info = _ask(name, functools.partial(api.repo_info, name))
    except _NotThere:
        return Repository(name, revision, exists=False, has_branch=revision == MAIN)
    refs = _ask(name, functools.partial(api.list_repo_refs, name, include_pull_requests=True))
    known = {branch.name for branch in refs.branches} | {request.ref for request in refs.pull_requests or []}
    if revision not in known:
        if revision.startswith(OWN_REFERENCE):
            raise UnknownNameError(f"pull request of {name}", revision, sorted(known))
        return Repository(name, revision, exists=True, has_branch=False, private=bool(info.private))
    of_branch = _ask(name, functools.partial(api.repo_info, name, revision=revision))
    files = [file.rfilename for file in of_branch.siblings or []]
    kept = tuple(file for file in files if file not in MADE_BY_THE_HUB)
    return Repository(name, revision, exists=True, has_branch=True, files=kept, private=bool(info.private))


def check_repository_is_free(found: Repository, private: bool, replace: bool) -> None:
    """Refuse to replace files, or to publish what is to be private.

    Args:
        found: The repository.
        private: Whether it is to be private.
        replace: Whether files may be replaced.

    Raises:
        UsageError: There are files, or the repository is public.
    """
    if private and found.private is False:
        raise UsageError(
            f"{found.name} exists and is public: {named('private', True)} is for new repositories. Make it private in "
            f"its settings on {_page(found.name)}, or choose another name."
        )
    if found.files and not replace:
        raise UsageError(
            f"{found.name} exists and has {join_names(found.files)} on {found.revision}. {named('force', True)} puts "
            f"a new commit on top, and the Hub keeps the old one; {named('revision', 'BRANCH')} makes a branch."
        )


def upload_folder(folder: Path, repository: Repository, private: bool, message: str) -> Upload:
    """Upload the files of a folder in one commit, into a repository that is created if needed.

    Args:
        folder: It holds files alone.
        repository: From `find_repository`.
        private: Make a new repository private.
        message: Of the commit.

    Raises:
        UploadError: The Hub refuses it, or cannot be reached; then no file of it is there.
    """
    api, name = _client(), repository.name
    additions = [
        huggingface_hub.CommitOperationAdd(file.name, file) for file in sorted(folder.iterdir()) if file.is_file()
    ]
    with _quiet() as told, _explained(name):
        if not repository.exists:
            api.create_repo(name, private=private or None)  # None: as the organization has it by default.
        if not repository.has_branch:
            api.create_branch(name, branch=repository.revision, exist_ok=True)
        commit = api.create_commit(name, additions, commit_message=message, revision=repository.revision)
        info = api.repo_info(name)
    page = _page(name) if repository.revision == MAIN else f"{_page(name)}/tree/{repository.revision}"
    return Upload(page, commit.oid, bool(info.private), tuple(told))


def _client() -> Any:
    from tl_toolkit.version import __version__

    endpoint = huggingface_hub.constants.ENDPOINT
    return huggingface_hub.HfApi(endpoint=endpoint, library_name="tl_toolkit", library_version=__version__)


def _page(name: str) -> str:
    return f"{huggingface_hub.constants.ENDPOINT}/{name}"


class _NotThere(Exception):  # noqa: N818  # It is no error.
    """There is no such repository, or it may not be read."""


def _ask(name: str, question: Callable[[], Answer]) -> Answer:
    """Ask the Hub something small.

    Raises:
        _NotThere: There is no such repository.
        UploadError: The Hub cannot be asked, or refuses.
    """
    try:
        with _explained(name):
            return call_with_timeout(2 * ANSWER_SECONDS, question)
    except UploadError as error:
        if isinstance(error.__cause__, errors.RepositoryNotFoundError):
            raise _NotThere from error
        raise


def _check_token(name: str, told: dict[str, Any]) -> None:
    """Refuse a token that can only read.

    Raises:
        UploadError: It can.
    """
    role = ((told.get("auth") or {}).get("accessToken") or {}).get("role")
    if role == "read":
        raise UploadError(
            f"The token of {told.get('name', 'this account')} can only read, so it cannot write {name}: make one that "
            f"can write on {TOKENS}, and log in with {LOGIN}."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[list[str]]:
    """Keep the log and the warnings of the Hub's client from the output, and bars from a log; yield the warnings."""
    told: list[str] = []
    level = hub_logging.get_verbosity()
    client: Any = huggingface_hub.utils
    unwanted = not sys.stderr.isatty() and huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS is None
    without_bars = unwanted and not client.are_progress_bars_disabled()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        hub_logging.set_verbosity(logging.ERROR)
        if without_bars:
            client.disable_progress_bars()
        try:
            yield told
        finally:
            hub_logging.set_verbosity(level)
            if without_bars:
                client.enable_progress_bars()
            told += [str(warning.message) for warning in caught if warning.category is UserWarning]


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    """Turn errors of the Hub's client into one that says what to do.

    Raises:
        UploadError: For any of them.
    """
    try:
        yield
    except ToolkitError:
        raise
    except Exception as error:  # The client passes on errors of its HTTP library, which changes.
        raise UploadError(_explain(name, error)) from error


def _explain(name: str, error: Exception) -> str:
    """Return what an error of the client means, and what to do."""
    owner = name.partition("/")[0]
    error = _answered(error)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"To write {name} you have to log in: {LOGIN}. {TOKENS} makes a token that can write."
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE is set, so nothing is sent. {_by_hand(name)}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"There is no repository {name} on the Hugging Face Hub that you may write."
    if status == 401:
        return f"The Hugging Face Hub does not accept your token: it is wrong or has expired. Log in again: {LOGIN}."
    if status == 403:
        return (
            f"You may not write {name} ({_reason(error)}): {owner} is neither your name nor an organization that lets "
            f"you, or the token does not cover it. `hf auth whoami` says who you are; {TOKENS} has your tokens."
        )
    if status == 409:
        return f"Someone else created or changed {name} at the same time. Try again."
    if status is not None and status < 500:
        return f"The Hugging Face Hub refuses {name}: {_reason(error)}."
    return f"The Hugging Face Hub cannot be reached ({_reason(error)}); nothing was published. {_by_hand(name)}"


def _answered(error: Exception) -> Exception:
    """Return the cause of an error that has the Hub's answer; the error itself if none has."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Exception) and hasattr(cause, "response"):
            return cause
        cause = cause.__cause__
    return error


def _by_hand(name: str) -> str:
    return f"{named('dry_run', 'FOLDER')} writes the folder without it; `hf upload {name} FOLDER` sends it later."


def _reason(error: BaseException) -> str:
    """Return the last line of an error that says something: what the Hub itself says."""
    said = getattr(error, "server_message", None) or str(error)
    lines = [line.strip(" -.") for line in said.splitlines() if line.strip(" -.")]
    return lines[-1][:300] if lines else type(error).__name__
