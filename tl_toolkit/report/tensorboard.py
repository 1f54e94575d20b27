"""TensorBoard: a run's scalars, sample images, graph and hyperparameters."""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tl_toolkit.events import EvalRecord, Record
from tl_toolkit.report.image_grid import LabelledImage, image_grid
from tl_toolkit.system.extras import check_extra
from tl_toolkit.text import named

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_tensorboard() -> None:
    """Check that the package tensorboard is installed.

    Raises:
        UsageError: It is not; the message says how to install it.
    """
    check_extra("tensorboard", "tensorboard", named("tensorboard"))


@contextlib.contextmanager
def open_board(folder: Path | None) -> "Iterator[TensorBoard | None]":
    """Open event files in a folder, and close them at the end of the block; give None without a folder."""
    if folder is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield TensorBoard(writer)


class TensorBoard:
    """Writes a run's records to event files."""

    def __init__(self, writer: "SummaryWriter") -> None:
        self.writer: Any = writer  # torch's methods are not typed.
        self._stage = ""
        self._before = self._step = 0

    def add(self, record: Record) -> None:
        """Add the scalars of a record. Steps are counted over all stages."""
        if record.stage != self._stage:
            self._stage, self._before = record.stage, self._step
        self._step = self._before + record.step
        scalars = {"loss/train": record.train_loss, "learning_rate": record.learning_rate}
        if isinstance(record, EvalRecord):
            scalars |= {"loss/val": record.val_loss, record.score_name: record.score}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, self._step)

    def add_images(self, images: Sequence[LabelledImage]) -> None:
        """Add a grid of sample images with their predictions."""
        if images:
            self.writer.add_figure("predictions", image_grid(images), self._step, close=False)

    def add_graph(self, module: nn.Module, images: torch.Tensor) -> str | None:
        """Add the network's graph.

        Returns:
            The reason where torch cannot trace the network, else None.
        """
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # Tracing warns about every comparison of shapes.
                self.writer.add_graph(module, images)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            return str(error).splitlines()[0]
        return None

    def add_results(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Add the hyperparameters and the final metrics."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }
        self.writer.add_hparams(plain, {f"hparam/{name}": value for name, value in metrics.items()}, run_name=".")
