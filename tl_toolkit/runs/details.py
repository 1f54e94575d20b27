"""Everything that the small files of a run folder say of it, finished or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tl_toolkit.config.config_file import read_config_file
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import EvalRecord
from tl_toolkit.io.own_files import CONFIG_FILE
from tl_toolkit.runs.listing import ListedRun, look_at, size_of
from tl_toolkit.runs.metrics_log import read_metrics
from tl_toolkit.runs.summary import read_summary


@dataclass(frozen=True)
class RunDetails:
    """A run in full.

    Attributes:
        listed: What the list says of it.
        settings: Of config.yaml.
        changed: Those that are not the defaults.
        summary: Of summary.json; None for a run that is not finished.
        evaluations: On val, in their order.
        files: Names and bytes, the largest first; a folder counts with all in it.
        problems: What cannot be read, in sentences.
    """

    listed: ListedRun
    settings: Mapping[str, Any]
    changed: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    evaluations: Sequence[EvalRecord]
    files: Sequence[tuple[str, int]]
    problems: Sequence[str]


def read_details(folder: Path) -> RunDetails:
    """Read a run folder; what is damaged is left out, and told."""
    problems: list[str] = []
    settings: dict[str, Any] = {}
    summary: Mapping[str, Any] | None = None
    evaluations: list[EvalRecord] = []
    try:
        settings = {str(name): value for name, value in read_config_file(folder / CONFIG_FILE).items()}
    except ToolkitError as error:
        problems.append(str(error))
    try:
        summary = read_summary(folder)
    except ToolkitError as error:
        problems.append(str(error))
    try:
        evaluations = read_metrics(str(folder))
    except UsageError:
        pass  # Its first epoch is not over.
    except ToolkitError as error:
        problems.append(str(error))
    changed = {name: value for name, value in settings.items() if not _is_default(name, value)}
    return RunDetails(look_at(folder), settings, changed, summary, evaluations, _files(folder), problems)


def _is_default(name: str, value: object) -> bool:
    """Return whether a setting has its default, which for a folder is written as an absolute path."""
    defaults = FinetuneConfig().to_dict()
    if name == "data_root" and isinstance(value, str):
        return Path(value).name == str(defaults[name])
    return name in defaults and bool(value == defaults[name])


def _files(folder: Path) -> list[tuple[str, int]]:
    """Return what lies in a folder and its bytes; links are named with where they lead, and count nothing."""
    found = []
    try:
        for path in folder.iterdir():
            if path.is_symlink():
                found.append((f"{path.name} -> {path.readlink()}", 0))
            elif path.is_dir():
                found.append((f"{path.name}/", size_of(path)))
            elif not path.name.startswith("."):
                found.append((path.name, path.stat().st_size))
    except OSError:
        return found
    return sorted(found, key=lambda file: (-file[1], file[0]))
