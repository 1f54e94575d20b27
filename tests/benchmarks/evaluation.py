"""What an evaluation costs beside the bare forward pass over the same decoded images.

    python -m tests.benchmarks.evaluation --model RUN --data caltech101/ [--images 10000] [--rounds 3] [--threads 2]

Both read the same files through the same loader, in this process, and take turns. `tl` computes all metrics and
intervals, and keeps logits and features; the bare loop only runs the network. Images are repeated if there are fewer.
The table has the processor's time, which other programs disturb less, and the clock's.
"""

import argparse
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table

import tl_toolkit as tl
from tl_toolkit.data.dataset import eval_images
from tl_toolkit.data.loaders import dealt_eval_loader
from tl_toolkit.data.samples import Samples
from tl_toolkit.inference.classifier import ImageClassifier
from tl_toolkit.inference.scoring import BATCH, open_labelled, remap_targets, score
from tl_toolkit.metrics.predictions import PredictionKeeper
from tl_toolkit.training.threads import torch_threads


def bare(model: ImageClassifier, samples: Samples) -> None:
    """Decode the images and run the network on them."""
    loader = dealt_eval_loader(eval_images(samples, model.input_spec), BATCH, 0)
    with model.compute.inference():
        for images, _ in loader:
            inputs = model.normalize(images.to(model.compute.device))
            model.module(inputs.contiguous(memory_format=model.compute.memory_format)).float()


def full(model: ImageClassifier, samples: Samples) -> None:
    """Evaluate as `tl evaluate` does, from the images to the figures."""
    keeper = PredictionKeeper(samples.names())
    score(model, samples, 0, keeper=keeper)
    keeper.predictions(samples.names(), (), model.metadata.loss, model.task)


def timed(work: Callable[[ImageClassifier, Samples], None], model: ImageClassifier, samples: Samples) -> list[float]:
    """Return the seconds of the processor and of the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    work(model, samples)
    return [time.process_time() - processor, time.perf_counter() - clock]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    model, source = tl.load(arguments.model), open_labelled(arguments.data)
    every = next(iter(source.splits.values()))
    known = remap_targets(every, source.class_names, model.class_names)
    step = max(1, len(known) // arguments.images)  # From all classes, if not all images are taken.
    samples = known.subset([(number * step) % len(known) for number in range(arguments.images)])
    table = Table("round", "bare s", "full s", "processor", "clock", box=None)
    with torch_threads(arguments.threads):
        timed(bare, model, samples.subset(range(min(256, len(samples)))))
        for number in range(arguments.rounds):
            without, beside = (timed(work, model, samples) for work in (bare, full))
            ratios = [f"{after / before:.3f}" for before, after in zip(without, beside, strict=True)]
            table.add_row(str(number + 1), f"{without[0]:.1f}", f"{beside[0]:.1f}", *ratios)
    console = Console()
    console.print(f"{len(samples):,} images, {len(model.class_names)} classes, torch {torch.__version__}")
    console.print(table)


if __name__ == "__main__":
    main()
