"""`tl` beside what the machine can do: prediction, decoding, scanning, start-up and memory.

    python -m tests.benchmarks.limits --photos hymenoptera/ [ROW...]

Rows: predict, decode, scan, help, start, memory.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from PIL import Image

import tl_toolkit as tl
from tests.benchmarks.side_by_side import TL
from tests.benchmarks.timing import in_turn, run, show
from tl_toolkit.data.images import open_image
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.inference.classifier import BATCH
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.recipes.predict import predict_stream
from tl_toolkit.system.cores import usable_cores

PHOTOS_PREDICTED = 2000
MEGAPIXELS_12 = (4000, 3000)
SCAN = """
import resource, sys, time
from tl_toolkit.data.sources.base import open_source
before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
source = open_source(sys.argv[1])
seconds = time.perf_counter() - started
mebibytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
print(f'{{"seconds": {seconds}, "mebibytes": {mebibytes}, "images": {len(source.splits["train"])}}}')
"""
START = """
import torch
layer = torch.nn.Conv2d(3, 32, 3)
with torch.inference_mode():
    for _ in range(20):
        layer(torch.zeros(1, 3, 224, 224))
"""
PEAK = """
import json, resource, sys
import tl_toolkit as tl
tl.finetune(data=sys.argv[1], weights="bundled", image_size=224, tune=sys.argv[2], epochs=1, out=sys.argv[3])
print(json.dumps({"mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def photographs(photos: Path) -> list[Path]:
    return sorted(photos.glob("*/*/*.jpg"))


def predict(photos: Path, folder: Path, rounds: int) -> None:
    """Images/s of the stream, and of its two halves alone on all cores."""
    run([*TL, "finetune", "--data", photos, "--weights", "bundled", "--tune", "linear-probe", "--image-size", 224,
         "--out", folder / "model", "--quiet"])  # fmt: skip
    model = tl.load(folder / "model")
    known = photographs(photos)
    paths = [str(known[index % len(known)]) for index in range(PHOTOS_PREDICTED)]
    batch = torch.rand(BATCH, 3, 224, 224)

    def forward() -> float:
        started = time.perf_counter()
        for _ in range(10):
            model.logits(batch)
        return 10 * BATCH / (time.perf_counter() - started)

    def decode() -> float:
        started = time.perf_counter()
        with ThreadPoolExecutor(usable_cores()) as pool:
            done = sum(1 for _ in pool.map(model.to_pixels, paths[:400]))
        return done / (time.perf_counter() - started)

    def stream() -> float:
        started = time.perf_counter()
        return sum(1 for _ in predict_stream(model, paths, 5)) / (time.perf_counter() - started)

    forward()
    figures = in_turn(rounds, {"forward alone": forward, "decoding alone": decode, "tl predict": stream})
    figures["limit"] = [
        1 / (1 / one + 1 / other)
        for one, other in zip(figures["forward alone"], figures["decoding alone"], strict=True)
    ]
    show(f"Prediction of {PHOTOS_PREDICTED:,} photographs", "images/s", figures, "tl predict", more_is_better=True)


def decode(photos: Path, folder: Path, rounds: int) -> None:
    """Photographs of 12 megapixels to 224 px."""
    large = []
    for index, path in enumerate(photographs(photos)[:5]):
        large.append(folder / f"{index}.jpg")
        Image.open(path).convert("RGB").resize(MEGAPIXELS_12, Image.Resampling.BICUBIC).save(large[-1], quality=92)
    transform, enough = EvalTransform(InputSpec()), InputSpec().min_decode_size

    def timed(min_size: int) -> float:
        started = time.perf_counter()
        for path in large:
            transform(open_image(path, min_size=min_size))
        return 1000 * (time.perf_counter() - started) / len(large)

    figures = in_turn(3 * rounds, {"tl": lambda: timed(enough), "Pillow, full decode": lambda: timed(0)})
    show("A 12-megapixel JPEG to 224 px, one core", "ms", figures, "tl", more_is_better=False)


def scan(_: Path, folder: Path, rounds: int) -> None:
    """Empty files in 100 class folders."""
    for per_class in (100, 1000):
        for name in range(100):
            (folder / str(per_class) / f"class{name:02d}").mkdir(parents=True)
            for index in range(per_class):
                (folder / str(per_class) / f"class{name:02d}" / f"{index:06d}.jpg").touch()
        lines = [run([sys.executable, "-c", SCAN, folder / str(per_class)]).lines[-1] for _ in range(rounds)]
        middle = {key: statistics.median(float(str(line[key])) for line in lines) for key in lines[0]}
        print(f"scan of {middle['images']:,.0f}: {middle['seconds']:.2f} s, {middle['mebibytes']:.0f} MiB, n {rounds}")


def help_(_: Path, __: Path, rounds: int) -> None:
    """`tl --help`."""
    seconds = [run([*TL, "--help"]).seconds for _ in range(3 * rounds)]
    imported = subprocess.run([sys.executable, "-X", "importtime", *TL[1:], "--help"], capture_output=True, text=True)
    torch_too = any(line.rsplit("|", 1)[-1].strip() == "torch" for line in imported.stderr.splitlines())
    print(f"tl --help: {statistics.median(seconds):.2f} s, n {len(seconds)}; imports torch: {torch_too}")


def start(photos: Path, folder: Path, rounds: int) -> None:
    """`tl predict` of one photograph with the default network, and torch with 20 convolutions."""
    run([*TL, "finetune", "--data", photos, "--arch", "tf_efficientnet_lite0", "--tune", "linear-probe",
         "--out", folder / "model", "--quiet"])  # fmt: skip
    command = [*TL, "predict", photographs(photos)[0], "--model", folder / "model"]
    measured = {
        "tl predict": lambda: run(command).seconds,
        "torch": lambda: run([sys.executable, "-c", START]).seconds,
    }
    figures = in_turn(3 * rounds, measured)
    show("One photograph, the whole process", "s", figures, "tl predict", more_is_better=False)


def memory(photos: Path, folder: Path, _: int) -> None:
    """Peak of a run on the photographs, and on ten times as many."""
    for copies in (1, 10):
        for path in photographs(photos):
            split, name = path.parts[-3:-1]
            place = folder / f"x{copies}" / split / name
            place.mkdir(parents=True, exist_ok=True)
            for copy in range(copies if split == "train" else 1):
                shutil.copy(path, place / f"{copy}-{path.name}")
    for tune in ("linear-probe", "last-stage", "full"):
        peaks = []
        for copies in (1, 10):
            command = [sys.executable, "-c", PEAK, folder / f"x{copies}", tune, folder / f"{tune}{copies}"]
            peaks.append(run(command, {"TL_CACHE": str(folder / "cache" / f"{tune}{copies}")}).lines[-1]["mebibytes"])
        one, ten = map(float, map(str, peaks))
        print(f"peak memory, {tune}: {one:,.0f} MiB, with ten times the images {ten:,.0f} MiB ({ten / one - 1:+.1%})")


ROWS = {"predict": predict, "decode": decode, "scan": scan, "help": help_, "start": start, "memory": memory}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--photos", type=Path, required=True, help="ants and bees: train/ and val/")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    for row in chosen.rows or ROWS:
        with tempfile.TemporaryDirectory() as folder:
            ROWS[row](chosen.photos, Path(folder), chosen.rounds)


if __name__ == "__main__":
    main()
