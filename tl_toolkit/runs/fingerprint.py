"""What must be unchanged for a run to resume exactly."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tl_toolkit.config.choices import RESUMABLE
from tl_toolkit.data.prepare import CLASSES, contents_of
from tl_toolkit.errors import UsageError
from tl_toolkit.io.own_files import CONFIG_FILE
from tl_toolkit.text import MAX_SHOWN, join_names, names_flags


def check_resumable(kept: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Refuses to go on with a run whose images, settings or pretrained weights are no longer the same.

    Args:
        kept: The premises of its checkpoint.
        now: Some of them, or all, as they are now.
        folder: The run's.

    Raises:
        UsageError: They are not.
    """
    changed = [name for name in now if _differs(name, kept, now)]
    if not changed:
        return
    what = [f"{name} ({_cut(kept.get(name))} before, {_cut(now[name])} now)" for name in changed if name != "settings"]
    if "settings" in changed:
        before, after = _fixed(kept), now["settings"]
        differing = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        what.append(f"{join_names(differing)} in {CONFIG_FILE}")
    settings = folder / CONFIG_FILE
    anew = f"tl finetune --config {shlex.quote(str(settings))}" if names_flags() else f"its settings are in {settings}"
    raise UsageError(
        f"{folder} cannot be gone on with exactly: {' and '.join(what)} changed since its checkpoint. Put back what "
        f"was there, or train a new run: {anew}"
    )


def _differs(name: str, kept: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether a premise no longer holds. Images may have moved where their contents are the same.

    Of earlier versions' checkpoints some tell neither contents nor classes.
    """
    if name == "settings":
        return bool(_fixed(kept) != now[name])
    if name.startswith(contents_of("")) or (name == CLASSES and name not in kept):
        return False
    contents = contents_of(name)
    return bool(kept.get(name) != now[name]) and (contents not in now or kept.get(contents) != now[contents])


def _fixed(kept: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a checkpoint that may not change; earlier versions kept some that may."""
    return {name: value for name, value in kept.get("settings", {}).items() if name not in RESUMABLE}


def _cut(premise: object) -> str:
    text = str(premise)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
