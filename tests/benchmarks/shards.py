"""An epoch of reading and decoding: a folder beside the same images in shards, in both orders.

    python -m tests.benchmarks.shards --photos caltech101/ [--shard-size 1MB] [--workers 0] [--cold] [--only-read]

Each round opens the data anew and reads every image of train once: from the folder and from shards in the shuffled
order, and from shards a few at a time. With --cold the files leave the system's cache of pages first, as if they did
not fit into memory; the disk's own cache stays. With --only-read nothing is decoded. Shards are small, and the buffer
holds four of them, so that a small set shows what a large one does. Needs Linux.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import torch

from tests.benchmarks.timing import in_turn, show
from tl_toolkit.data.dataset import ImageDataset
from tl_toolkit.data.loaders import train_loader
from tl_toolkit.data.packing import pack_source
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.tar_images import TarImages
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.io.files import parse_size
from tl_toolkit.sampling import order


def forget(folder: Path) -> None:
    """Drop the pages of all files of a folder from the system's cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fdatasync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def epoch(samples: Samples, workers: int) -> float:
    """Return the images per second of an epoch of batches of 32 at 224 pixels."""
    spec = InputSpec(height=224, width=224)
    dataset = ImageDataset(samples, EvalTransform(spec), min_size=spec.min_decode_size)
    loader = train_loader(dataset, 32, workers)
    started = time.perf_counter()
    images = sum(len(batch) for batch, _ in loader)
    return images / (time.perf_counter() - started)


def only_read(samples: Samples) -> float:
    """Return the images per second of reading their bytes in the order of an epoch."""
    shards = samples.images.shards
    drawn = order.epoch_order(
        len(samples), torch.Generator().manual_seed(0), shards=None if shards is None else torch.tensor(shards)
    )
    started = time.perf_counter()
    for index in drawn.tolist():
        found = samples.read(index)
        if isinstance(found, str):
            Path(found).read_bytes()
    return len(samples) / (time.perf_counter() - started)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, required=True, help="a folder of class folders, with or without splits")
    parser.add_argument("--shard-size", default="1MB")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--only-read", action="store_true")
    options = parser.parse_args(arguments)
    with (
        mock.patch.object(order, "BUFFER_SAMPLES", 1),
        tempfile.TemporaryDirectory(dir=options.photos.parent) as folder,
    ):
        shards = Path(folder) / "shards"
        pack_source(open_source(str(options.photos)), shards, parse_size(options.shard_size) or 0, lambda _: None)

        def measure(data: Path, by_shard: bool = False) -> Callable[[], float]:
            def once() -> float:
                samples = open_source(str(data)).split("train")
                if isinstance(samples.images, TarImages):
                    samples.images.by_shard = by_shard
                if options.cold:
                    forget(data)
                return only_read(samples) if options.only_read else epoch(samples, options.workers)

            return once

        measured = {
            "folder": measure(options.photos),
            "shards, shuffled": measure(shards),
            "shards, a few at a time": measure(shards, by_shard=True),
        }
        figures = in_turn(options.rounds, measured)
    what = "reading" if options.only_read else f"reading and decoding, {options.workers} workers"
    title = f"{what}, {'cold' if options.cold else 'warm'}"
    show(title, "images/s", figures, "shards, shuffled", more_is_better=True)


if __name__ == "__main__":
    main()
