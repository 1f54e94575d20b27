"""Looking for wrong labels in data, without training a model."""

import dataclasses

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import check_classes, prepare_splits
from tl_toolkit.data.sources.base import Source
from tl_toolkit.errors import DataError
from tl_toolkit.events import Callback, DecisionEvent, Event, TaskProgress, log_event
from tl_toolkit.models.build import build_network
from tl_toolkit.models.freezing import freeze_except
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.planning.ranking import CANDIDATES
from tl_toolkit.planning.run_plan import for_task
from tl_toolkit.runs.suspicious_labels import SuspiciousLabel, named_labels
from tl_toolkit.stages.context import RunContext
from tl_toolkit.stages.label_check import CheckedLabels, check_all_labels
from tl_toolkit.training.device import select_device
from tl_toolkit.training.threads import torch_threads


def check_labels(source: Source, callback: Callback = log_event) -> list[SuspiciousLabel]:
    """Find the images of a source whose labels look wrong; see `training.label_check.check_labels`.

    The features are those of the network that comes with the toolkit.

    Args:
        source: The images.
        callback: Receives progress, how many were found, or why labels are not checked.

    Returns:
        The most suspicious first; none if labels are not checked.

    Raises:
        ToolkitError: The weights cannot be used, or a computation failed.
    """

    def progress(event: Event) -> None:
        """Pass on progress alone: what is odd of the data, their check tells."""
        if isinstance(event, TaskProgress):
            callback(event)

    config = for_task(FinetuneConfig(), source)
    arch, splits = CANDIDATES[0], None
    checked: CheckedLabels | str
    with torch_threads(config.threads):
        try:
            check_classes(source, config)
            network = build_network(arch, len(source.class_names), "swap", config.weights, InputOverrides())
            splits = prepare_splits(source, config, network.input_spec.min_decode_size, progress)
        except DataError as error:  # As of data of one class.
            checked = str(error)
        else:
            setup = select_device(config.device, config.precision, network.module)
            setup.place(network.module)
            freeze_except(network.module, network.head_modules)
            checked = check_all_labels(RunContext(config, network, source, splits, setup, progress))
    if isinstance(checked, str):
        callback(DecisionEvent("labels", "not checked", checked))
        return []
    found = named_labels(checked, source.class_names)
    looks = f"{checked.check.found:,} of {checked.check.judged:,} look wrong" if found else "none looks wrong"
    callback(DecisionEvent("labels", looks, f"by the other images and {arch.name}"))
    if not (splits and splits.val_from_train):
        return found
    return [dataclasses.replace(label, split="train") if label.split == "val" else label for label in found]
