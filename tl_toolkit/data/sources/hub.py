"""What the Hugging Face Hub says of a dataset, and fetching it with the library `datasets` into the Hub's own cache."""

import contextlib
import functools
import re
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

from tl_toolkit.data.sources.base import SourceOptions
from tl_toolkit.data.sources.hub_name import HubName
from tl_toolkit.errors import DataError, ToolkitError, UnknownNameError
from tl_toolkit.io.download import ANSWER_SECONDS, call_with_timeout
from tl_toolkit.system.extras import import_extra
from tl_toolkit.text import join_names, named

PROGRESS_SECONDS = 0.5
COMMIT = re.compile(r"[0-9a-f]{40}")
LOGIN = "`hf auth login`, or HF_TOKEN in the environment,"
CONVERTED = "refs/convert/parquet"
"""The branch on which the Hub keeps what it converted to Parquet."""


class HubFile(NamedTuple):
    """A file of the Hub: its bytes, and a digest of its content."""

    size: int
    content: str


@dataclass(frozen=True)
class HubAnswer:
    """What the Hub says of a dataset.

    Attributes:
        commit: The commit that the revision is; None if the Hub cannot be asked.
        files: Its files, by path.
        silence: Why the Hub cannot be asked; empty if it answered.
    """

    commit: str | None
    files: Mapping[str, HubFile] = field(default_factory=dict)
    silence: str = ""


def hub_library() -> Any:
    """Import the library `datasets`; a checkout of this package has a folder of that name, which the type checker sees.

    Raises:
        DataError: It is not installed.
    """
    return import_extra("datasets", "hf", "A dataset of Hugging Face", DataError)


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep the progress bars, the log and the warnings of `datasets` and the Hub's client from the output."""
    import huggingface_hub.utils as client

    datasets = hub_library()
    bars = [library for library in (datasets, client) if not library.are_progress_bars_disabled()]
    logs = [(library.logging, library.logging.get_verbosity()) for library in (datasets, client)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for library in bars:
                library.disable_progress_bars()
            for log, _ in logs:
                log.set_verbosity_error()
            yield
        finally:
            for library in bars:
                library.enable_progress_bars()
            for log, level in logs:
                log.set_verbosity(level)


def ask_hub(name: HubName) -> HubAnswer:
    """Ask the Hub once, so that what is wrong shows within seconds.

    Raises:
        UnknownNameError: There is no such revision.
        DataError: There is no such dataset, or it may not be read.
    """
    import huggingface_hub
    from huggingface_hub import errors

    api = huggingface_hub.HfApi(endpoint=huggingface_hub.constants.ENDPOINT)
    ask = functools.partial(
        api.dataset_info, name.repository, revision=name.revision, files_metadata=True, timeout=2 * ANSWER_SECONDS
    )
    try:
        info = call_with_timeout(ANSWER_SECONDS, ask)
        if info.gated or info.private:
            allowed = functools.partial(api.auth_check, name.repository, repo_type="dataset")
            call_with_timeout(ANSWER_SECONDS, allowed)
    except errors.RevisionNotFoundError as error:
        raise _unknown_revision(api, name) from error
    except errors.GatedRepoError as error:
        raise DataError(
            f"{name} is gated: its owner lets people in one by one. Ask for access on {name.page}, then log in with "
            f"{LOGIN} and try again."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DataError(
            f"There is no dataset {name.repository} on the Hugging Face Hub, or it is private. Look at its name; to "
            f"read a private one, log in with {LOGIN} first."
        ) from error
    except errors.HFValidationError as error:
        raise DataError(f"{name} is no name of a dataset: {_reason(error)}.") from error
    except errors.OfflineModeIsEnabled:
        return HubAnswer(None, silence="HF_HUB_OFFLINE is set")
    except Exception as error:  # noqa: BLE001  # Of the client's HTTP library, which changes.
        return HubAnswer(None, silence=_reason(error))
    files = {file.rfilename: HubFile(file.size or 0, _content(file)) for file in info.siblings or []}
    return HubAnswer(info.sha, files)


def fetch_dataset(name: HubName, answer: HubAnswer, options: SourceOptions) -> tuple[Any, list[str]]:
    """Return a DatasetDict from the Hub's cache, fetched if needed, and notes on it.

    Raises:
        DataError: It needs code, has no such config or no data, or cannot be fetched.
    """
    if answer.silence:
        return _from_cache(name, answer)
    if script := script_of(name, answer):
        converted = HubName(name.repository, CONVERTED, name.config)
        raise DataError(
            f"{name} needs the program {script} of its repository, and `datasets` runs none since version 4. If "
            f"the Hub has converted it to Parquet, that is {named('data', str(converted))}."
        )
    builder = make_builder(name, answer)
    try:
        _prepare(builder, answer, name, options)
        return builder.as_dataset(), []
    except Exception as error:
        raise not_fetched(name, error) from error


def make_builder(name: HubName, answer: HubAnswer) -> Any:
    """Return the builder of `datasets`, which knows the files of each split of the config.

    Raises:
        DataError: There is no such config, or nothing that `datasets` reads.
    """
    try:
        return hub_library().load_dataset_builder(name.repository, name.config, revision=answer.commit)
    except ValueError as error:
        raise _wrong_config(name, answer, error) from error
    except Exception as error:  # The library's errors, and those of HTTP.
        raise not_fetched(name, error) from error


def script_of(name: HubName, answer: HubAnswer) -> str | None:
    """Return the program that a dataset is, if it is one."""
    script = f"{name.repository.rpartition('/')[2]}.py"
    return script if script in answer.files and name.revision != CONVERTED else None


def _from_cache(name: HubName, answer: HubAnswer) -> tuple[Any, list[str]]:
    """Return what an earlier call has fetched."""
    import huggingface_hub.constants

    datasets = hub_library()
    before = datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        found = datasets.load_dataset(name.repository, name.config)
    except Exception as error:
        raise DataError(
            f"{name} is not in the cache of `datasets`, and the Hugging Face Hub cannot be asked ({answer.silence}). "
            f"On a machine with a network, save it by datasets.load_dataset({name.repository!r}).save_to_disk(FOLDER), "
            f"copy FOLDER here and say {named('data', 'FOLDER')}."
        ) from error
    finally:
        datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE = before
    files = [file["filename"] for dataset in found.values() for file in dataset.cache_files]
    commits = {part for file in files for part in Path(file).parts if COMMIT.fullmatch(part)}
    if name.revision is not None and name.revision not in commits:
        raise DataError(
            f"The Hugging Face Hub cannot be asked ({answer.silence}), and in the cache is the commit "
            f"{join_names(sorted(commits)) or 'of an unknown revision'} of {name.repository}: nothing says whether "
            f"{name.revision} is that."
        )
    return found, [f"{name} is taken as the cache has it: the Hugging Face Hub cannot be asked ({answer.silence})."]


def _prepare(builder: Any, answer: HubAnswer, name: HubName, options: SourceOptions) -> None:
    """Download and prepare a dataset in a thread, telling the progress by what arrives in the Hub's cache."""
    import huggingface_hub.constants

    done: Future[None] = Future()

    def run() -> None:
        try:
            done.set_result(builder.download_and_prepare())
        except BaseException as error:  # noqa: BLE001  # Raised below.
            done.set_exception(error)

    patterns = [str(file) for files in (builder.config.data_files or {}).values() for file in files]
    wanted = {file.partition("@")[2].partition("/")[2] for file in patterns}  # hf://datasets/ORG/NAME@COMMIT/PATH
    total = sum(file.size for path, file in answer.files.items() if path in wanted)
    blobs = Path(huggingface_hub.constants.HF_HUB_CACHE) / f"datasets--{name.repository.replace('/', '--')}" / "blobs"
    before = _bytes_in(blobs)
    Thread(target=run, daemon=True).start()  # Ctrl-C ends the wait for it.
    while True:
        try:
            return done.result(PROGRESS_SECONDS)
        except NotYet:
            if done.done():
                return done.result()
            if options.progress and total and (arrived := _bytes_in(blobs) - before):
                options.progress(min(arrived, total), total)


def _bytes_in(folder: Path) -> int:
    with contextlib.suppress(OSError):  # Files are renamed meanwhile.
        return sum(file.stat().st_size for file in folder.iterdir())
    return 0


def _content(file: Any) -> str:
    """Return the digest of a file's content that the Hub tells: of a large file SHA-256, else that of git."""
    return str(file.lfs["sha256"] if file.lfs else file.blob_id)


def _unknown_revision(api: Any, name: HubName) -> UnknownNameError:
    known: list[str] = []
    with contextlib.suppress(Exception):
        list_refs = functools.partial(api.list_repo_refs, name.repository, repo_type="dataset")
        refs = call_with_timeout(ANSWER_SECONDS, list_refs)
        known = [ref.name for ref in [*refs.branches, *refs.tags]]
    hint = "A revision is a branch, a tag or a commit."
    return UnknownNameError(f"revision of {name.repository}", name.revision or "", known, hint)


def _wrong_config(name: HubName, answer: HubAnswer, error: ValueError) -> ToolkitError:
    """Return the error of an unknown or a missing config."""
    try:
        known = hub_library().get_dataset_config_names(name.repository, revision=answer.commit)
    except Exception:  # noqa: BLE001  # The first error says more.
        known = []
    if not known or (name.config in known) or (name.config is None and len(known) == 1):
        return not_fetched(name, error)
    if name.config is None:
        example = HubName(name.repository, name.revision, known[0])
        return DataError(
            f"{name} has several configs: {join_names(known, 12)}. Say which one, for example "
            f"{named('data', str(example))}."
        )
    return UnknownNameError(f"config of {name.repository}", name.config, known, list_all=len(known) <= 12)


def not_fetched(name: HubName, error: Exception) -> DataError:
    """Return the error of a dataset that cannot be fetched."""
    return DataError(f"{name} cannot be fetched: {_reason(error)}.")


def _reason(error: BaseException) -> str:
    """Return the first line of an error, with what caused it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0].rstrip(".:")[:300] if lines else type(error).__name__
    if isinstance(error.__cause__, Exception) and (cause := str(error.__cause__).strip()):
        first = cause.splitlines()[0].rstrip(".")[:200]
        text = text if first in text else f"{text}: {first}"
    return text
