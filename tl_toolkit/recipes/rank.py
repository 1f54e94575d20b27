"""Ranking networks: a cross-validated linear probe on each one's frozen features of a sample of the images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tl_toolkit.config.checks import AUTO
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import check_classes, prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import UsageError
from tl_toolkit.events import Callback, log_event
from tl_toolkit.planning.ranking import RankedNetwork, largest_input, rank_networks
from tl_toolkit.training.device import select_device
from tl_toolkit.training.threads import computing_with


def rank(
    config: FinetuneConfig, archs: Sequence[str] = (), data: Any = None, callback: Callback = log_event
) -> list[RankedNetwork]:
    """Judges networks by how well a linear probe on their frozen features does on a sample of the images.

    Args:
        config: The settings; `arch` is left open.
        archs: Names of networks; by default those of `CANDIDATES` whose weights are on this machine.
        data: Images as Python objects, in place of the config's `data`.
        callback: Told of choices, warnings and progress.

    Returns:
        Best first.

    Raises:
        ToolkitError: There is no candidate, or the images cannot be used.
    """
    if config.arch != AUTO or config.arch_options:
        raise UsageError("arch and arch_options belong to one network, but rank compares several: name them as archs.")
    with computing_with(config.threads):
        source = open_source(config.data if data is None else data, Path(config.data_root), config.download)
        check_classes(source, config)
        splits = prepare_splits(source, config, largest_input(config, archs), callback)
        return rank_networks(config, source, splits, select_device(config.device, config.precision), callback, archs)
