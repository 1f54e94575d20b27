"""How often the 95 % intervals of metrics hold the truth, by simulation.

    python -m tests.benchmarks.intervals [--repeats 400]

A model gives an image of each class logits from a normal distribution whose mean is larger at the class. So many images
have the figures that are called the truth; of a few, `tl` computes figures and intervals, again and again, with other
images. With `over` above 1 the model is surer than it should be.

The table has the share of the intervals that hold the truth, and their mean width.
"""

import argparse
import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from rich.console import Console
from rich.table import Table

from tl_toolkit.metrics.base import ScoreMeter, Scores
from tl_toolkit.training.losses import Criterion

CPU = torch.device("cpu")
TRUTH_IMAGES = 400_000
SIZES = (30, 153, 1000)
FIGURES = (
    "accuracy", "balanced_accuracy", "macro_precision", "macro_f1", "weighted_f1", "roc_auc",
    "mean_average_precision", "calibration_error", "brier_score", "loss",
)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """A simulated model.

    Attributes:
        classes: Number of classes.
        accuracy: Its accuracy.
        over: What its logits are multiplied by; with 1 its probabilities are exact.
    """

    classes: int
    accuracy: float
    over: float

    def images(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and classes of some images."""
        mean = distance(self.classes, self.accuracy)
        targets = torch.randint(self.classes, (count,), generator=generator)
        logits = torch.randn(count, self.classes, generator=generator)
        logits[torch.arange(count), targets] += mean
        return self.over * mean * logits, targets


MODELS = [
    Model(classes, accuracy, over)
    for classes in (2, 10)
    for over in (1.0, 2.0)
    for accuracy in (0.7 if classes == 2 else 0.5, 0.9, 0.99)
]


@functools.cache
def distance(classes: int, accuracy: float) -> float:
    """Return the distance of the means that gives an accuracy."""
    rows = torch.randn(100_000, classes, generator=torch.Generator().manual_seed(0))
    margins = (rows[:, 1:].amax(dim=1) - rows[:, 0]).sort().values
    return float(margins[round(accuracy * len(margins)) - 1])


def scores(logits: torch.Tensor, targets: torch.Tensor, intervals: bool = True) -> Scores:
    """Return the figures and intervals of some images."""
    criterion = Criterion()
    meter = ScoreMeter(logits.shape[1], CPU, image_losses=criterion.of_each if intervals else None)
    meter.update(criterion(logits, targets), logits, targets)
    return meter.compute()


def figures(found: Scores) -> dict[str, float]:
    """Return the figures that have an interval, by name."""
    values = {name: found.values[name] for name in FIGURES if name != "loss"}
    return {name: value for name, value in values.items() if isinstance(value, float)} | {"loss": found.loss}


def simulate(
    model: Model, images: int, repeats: int, seed: int, truth_images: int = TRUTH_IMAGES
) -> dict[str, tuple[float, float]]:
    """Return how often the interval of each figure held the truth, and its mean width."""
    generator = torch.Generator().manual_seed(seed)
    truth = figures(scores(*model.images(truth_images, generator), intervals=False))
    found = defaultdict(list)
    for _ in range(repeats):
        for name, (low, high) in scores(*model.images(images, generator)).intervals.items():
            if name in truth:
                found[name].append((low <= truth[name] <= high, high - low))
    return {name: (mean(held for held, _ in each), mean(width for _, width in each)) for name, each in found.items()}


def mean(values: Iterator[float]) -> float:
    """Return the mean of some values."""
    listed = list(values)
    return math.fsum(listed) / len(listed)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=400)
    arguments = parser.parse_args()
    table = Table(box=None)
    for heading in ("images", "classes", "accuracy", "over", *FIGURES):
        table.add_column(heading, justify="right")
    lowest: Mapping[str, list[float]] = defaultdict(list)
    for images in SIZES:
        for number, model in enumerate(MODELS):
            held = simulate(model, images, arguments.repeats, seed=1000 * images + number)
            for name, (share, _) in held.items():
                lowest[name].append(share)
            cells = [f"{100 * held[name][0]:.1f} ({held[name][1]:.3f})" for name in FIGURES]
            row = [str(images), str(model.classes), str(model.accuracy), str(model.over), *cells]
            table.add_row(*row)
            print(*row, sep="\t", flush=True)
    ends = [f"{100 * min(lowest[name]):.1f} to {100 * max(lowest[name]):.1f}" for name in FIGURES]
    table.add_row("all", "", "", "", *ends)
    Console(width=240).print(table)


if __name__ == "__main__":
    main()
