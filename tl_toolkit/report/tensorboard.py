"""TensorBoard: a run's scalars, sample images, graph and hyperparameters."""

import contextlib
import importlib.util
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tl_toolkit.errors import UsageError
from tl_toolkit.events import EvalRecord, Record
from tl_toolkit.report.image_grid import LabelledImage, picture_grid
from tl_toolkit.text import named

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def check_tensorboard() -> None:
    """Says what to install where it is missing.

    Raises:
        UsageError: The package tensorboard is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        needed = f"{named('tensorboard')} needs the package tensorboard"
        raise UsageError(f"{needed}: pip install 'tl_toolkit[tensorboard]'.")


@contextlib.contextmanager
def open_board(folder: Path | None) -> "Iterator[TensorBoard | None]":
    """Event files that are closed whatever happens; None where no folder is given."""
    if folder is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        yield TensorBoard(writer)


class TensorBoard:
    """What is written of a run."""

    def __init__(self, writer: "SummaryWriter") -> None:
        self.writer: Any = writer  # torch's methods are not typed.
        self._stage = ""
        self._before = self._step = 0

    def add(self, record: Record) -> None:
        """Adds what training or an evaluation showed; the steps of all stages are counted on."""
        if record.stage != self._stage:
            self._stage, self._before = record.stage, self._step
        self._step = self._before + record.step
        scalars = {"loss/train": record.train_loss, "learning_rate": record.learning_rate}
        if isinstance(record, EvalRecord):
            scalars |= {"loss/val": record.val_loss, "accuracy": record.val_accuracy}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, self._step)

    def add_pictures(self, pictures: Sequence[LabelledImage]) -> None:
        """Adds a grid of sample images with their predictions, the wrong ones marked."""
        if pictures:
            self.writer.add_figure("predictions", picture_grid(pictures), self._step, close=False)

    def add_graph(self, module: nn.Module, images: torch.Tensor) -> str | None:
        """Adds the network's graph.

        Returns:
            Why there is none, where torch cannot trace the network.
        """
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")  # Tracing warns of every comparison of shapes.
                self.writer.add_graph(module, images)
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            return str(error).splitlines()[0]
        return None

    def add_results(self, settings: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """Adds the hyperparameters and what came of them."""
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }
        self.writer.add_hparams(plain, {f"hparam/{name}": value for name, value in metrics.items()}, run_name=".")
