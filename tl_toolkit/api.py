"""The Python API: the recipes, with the names of the flags as keyword arguments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.events import Callback, log_event
from tl_toolkit.inference.loading import load
from tl_toolkit.models.build import build_model
from tl_toolkit.planning.ranking import RankedNetwork
from tl_toolkit.recipes import finetune as finetune_recipe
from tl_toolkit.recipes.evaluate import evaluate
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.rank import rank as rank_recipe

__all__ = ["RankedNetwork", "Run", "build_model", "evaluate", "finetune", "load", "rank", "resume"]


def finetune(*, data: Any = None, callback: Callback = log_event, trust: bool = False, **settings: Any) -> Run:
    """Fine-tunes a pretrained network and writes a run folder.

    Args:
        data: A folder, "digits", "torchvision:NAME", any map-style dataset of (image, target) pairs, or an
            (images, targets) pair of arrays or tensors. By default the digits.
        callback: Told of choices, warnings and progress; by default they go to the logger "tl_toolkit".
        trust: Read a pickled weights file even where code that is in it would run.
        settings: The fields of `FinetuneConfig`, which are the flags of `tl finetune`.

    Returns:
        The run: its path, its summary and its model.

    Raises:
        ToolkitError: Anything that keeps the run from going on; see `tl_toolkit.errors`.
    """
    config, data = _config_and_data(data, settings)
    return finetune_recipe.finetune(config, data, callback, trust=trust)


def rank(
    *, data: Any = None, archs: Sequence[str] = (), callback: Callback = log_event, **settings: Any
) -> list[RankedNetwork]:
    """Compares networks by a cross-validated linear probe on their frozen features of a sample of the images.

    Args:
        data: As in `finetune`.
        archs: Names of networks; by default those that come with the toolkit.
        callback: Told of choices, warnings and progress; by default they go to the logger "tl_toolkit".
        settings: The fields of `FinetuneConfig`.

    Returns:
        The networks at each size of their input, best first.

    Raises:
        ToolkitError: There is no candidate, or the images cannot be used.
    """
    config, data = _config_and_data(data, settings)
    return rank_recipe(config, archs, data, callback)


def _config_and_data(data: Any, settings: dict[str, Any]) -> tuple[FinetuneConfig, Any]:
    """Settings with the name of the data in them, or Python objects beside them."""
    if isinstance(data, str | Path):
        settings["data"] = str(data)
        data = None
    settings = {name: str(value) if isinstance(value, Path) else value for name, value in settings.items()}
    return FinetuneConfig.from_values(settings), data


def resume(
    run: str | Path, *, data: Any = None, callback: Callback = log_event, trust: bool = False, **changes: Any
) -> Run:
    """Goes on with a run that was stopped or killed, from its last checkpoint.

    On the same machine's CPU it ends with the bits that it would have had without the break, as long as its images,
    settings and pretrained weights are what they were.

    Args:
        run: Its folder.
        data: The same objects as before, for a run that was trained on Python objects; or where its images are now.
        callback: Told of choices, warnings and progress; by default they go to the logger "tl_toolkit".
        trust: Load its pretrained weights even where that runs code from their file.
        changes: `epochs`, to train for longer; `workers`; `threads`; `checkpoint_every`; `time_budget`; `data_root`.

    Returns:
        The run; one that was finished already is given as it is.

    Raises:
        ToolkitError: Anything that keeps the run from going on; see `tl_toolkit.errors`.
    """
    if isinstance(data, str | Path):
        changes, data = {**changes, "data": str(data)}, None
    return finetune_recipe.resume(run, changes, data, callback, trust=trust)
