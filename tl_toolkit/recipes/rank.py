"""Ranking networks by how well a linear probe on their frozen features does."""

from collections.abc import Sequence
from typing import Any

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import check_classes, prepare_splits
from tl_toolkit.data.sources.base import SourceOptions, open_source
from tl_toolkit.errors import UsageError
from tl_toolkit.events import Callback, log_event
from tl_toolkit.planning.ranking import RankedNetwork, largest_input, rank_networks
from tl_toolkit.planning.run_plan import for_task, settings_and_data
from tl_toolkit.training.threads import torch_threads


def rank(
    config: FinetuneConfig | None = None,
    *,
    archs: Sequence[str] = (),
    data: Any = None,
    callback: Callback = log_event,
    **settings: Any,
) -> list[RankedNetwork]:
    """Compare networks by a cross-validated linear probe on their frozen features of a sample of the images.

    Args:
        config: The settings as one object, in place of `settings`; `arch` stays open.
        archs: Names of networks; by default those that come with the toolkit.
        data: As in `finetune`.
        callback: Receives decisions, warnings and progress; by default they go to the logger "tl_toolkit".
        settings: The fields of `FinetuneConfig`.

    Returns:
        The networks at each input size, best first.

    Raises:
        ToolkitError: There is no candidate, or the images cannot be used.
    """
    config, data = settings_and_data(config, data, settings)
    if config.arch != AUTO or config.arch_options:
        raise UsageError("arch and arch_options belong to one network, but rank compares several: name them as archs.")
    with torch_threads(config.threads):
        source = open_source(config.data if data is None else data, SourceOptions.from_settings(config.to_dict()))
        config = for_task(config, source)
        check_classes(source, config)
        splits = prepare_splits(source, config, largest_input(config, archs), callback)
        return rank_networks(config, source, splits, callback, archs)
