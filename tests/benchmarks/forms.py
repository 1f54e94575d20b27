"""The same images as a folder, a table, Parquet, a saved Hugging Face dataset and shards: results and time.

    python -m tests.benchmarks.forms --data caltech101/ [--rounds 3] [--forms folder csv ...]

The forms are made of the folder, which has train/CLASS/ and test/CLASS/. `tl` draws val from train by the names of
the images. For each form, in turn: the seconds to open it and the memory that this takes, images per second of an
epoch of decoding to 224 px alone, by the processor's time, in the order of training, and `tl finetune --tune
linear-probe --arch tf_efficientnet_lite0` with an empty cache: seconds of the whole process, its peak memory, and the
SHA-256 of the head that it learned. The splits are compared by the contents of their images, as the model file notes
them.
"""

import argparse
import hashlib
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tests.benchmarks.side_by_side import TL
from tests.benchmarks.timing import run
from tl_toolkit.data.sources.base import Source, open_source
from tl_toolkit.model_file import read_metadata

ARCH = "tf_efficientnet_lite0"
HEAD = "classifier."
ROWS_OF_A_GROUP = 100
SHARD_SIZE = "16MB"

OPEN = """
import json, psutil, sys, time
import torch, tl_toolkit.data.sources.base as base
from tl_toolkit.data.sources import folder
memory = lambda: psutil.Process().memory_info().rss / 2**20
before, started = memory(), time.perf_counter()
source = base.open_source(sys.argv[1], **json.loads(sys.argv[2]))
seconds = time.perf_counter() - started
print(json.dumps({"seconds": seconds, "mebibytes": memory() - before}))
"""
"""Seconds and memory include the imports of what reads the form, such as pyarrow's."""

EPOCH = """
import json, sys, time
from tl_toolkit.data.dataset import ImageDataset
from tl_toolkit.data.loaders import train_loader
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.input_spec import InputSpec
samples, spec = open_source(sys.argv[1], **json.loads(sys.argv[2])).splits["train"], InputSpec()
dataset = ImageDataset(samples, EvalTransform(spec), min_size=spec.min_decode_size)
loader = train_loader(dataset, 32, 0)
started = time.process_time()
images = sum(len(targets) for _, targets in loader)
print(json.dumps({"images_per_second": images / (time.process_time() - started)}))
"""

WATCH = """
import json, os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
seconds = usage.ru_utime + usage.ru_stime
print(json.dumps({"mebibytes": usage.ru_maxrss / 1024, "processor_seconds": seconds}))
sys.exit(process.returncode)
"""
"""A small program between: a process counts the peak of the one that started it as its own."""


@dataclass(frozen=True)
class Form:
    """What `tl` is asked to read, and the settings to read it with."""

    spec: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def flags(self) -> list[str]:
        """The settings as flags."""
        return [word for name, value in self.settings.items() for word in (f"--{name.replace('_', '-')}", value)]


@dataclass(frozen=True)
class Measured:
    """A form, measured once.

    Attributes:
        opening: Seconds until its images are known.
        open_memory: MiB that this adds.
        epoch: Images of decoding for each second of the processor.
        seconds: Of a linear probe, the whole process.
        processor: Seconds of the processor in that process, which other programs hardly change.
        peak: MiB of that process at its peak.
        head: SHA-256 of the head's weights.
        splits: Contents of train, val and test.
        accuracy: On test.
        images: Of train and val, as the summary says.
    """

    opening: float
    open_memory: float
    epoch: float
    seconds: float
    processor: float
    peak: float
    head: str
    splits: Mapping[str, str]
    accuracy: float
    images: Mapping[str, int]


def make_folder(data: Path, source: Source, out: Path) -> Form:
    """The images as they are."""
    return Form(data)


def make_csv(data: Path, source: Source, out: Path) -> Form:
    """A table of paths that are relative to the folder."""
    import csv

    place = out / "labels.csv"
    with place.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        writer.writerows(
            [row["name"], row["label"], row["split"]] for row in rows_of(data, source)
        )  # fmt: skip
    return Form(place, {"image_root": str(data)})


def make_parquet(data: Path, source: Source, out: Path) -> Form:
    """One file with the bytes, the path and the label of each image."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = rows_of(data, source)
    images = [{"bytes": Path(row["path"]).read_bytes(), "path": row["name"]} for row in rows]
    columns = {"image": images, "label": [row["label"] for row in rows], "split": [row["split"] for row in rows]}
    pq.write_table(pa.table(columns), out / "images.parquet", row_group_size=ROWS_OF_A_GROUP)
    return Form(out / "images.parquet")


def make_saved(data: Path, source: Source, out: Path) -> Form:
    """A DatasetDict of train and test, written by `save_to_disk`."""
    import datasets

    datasets.disable_progress_bars()
    labels = datasets.ClassLabel(names=list(source.class_names))
    features = datasets.Features({"image": datasets.Image(), "label": labels})
    rows = rows_of(data, source)
    splits = {}
    for split in ("train", "test"):
        members = [row for row in rows if row["split"] == split]
        images = [{"bytes": Path(row["path"]).read_bytes(), "path": row["name"]} for row in members]
        columns = {"image": images, "label": [row["label"] for row in members]}
        splits[split] = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict(splits).save_to_disk(str(out / "saved"))
    return Form(out / "saved")


def make_shards(data: Path, source: Source, out: Path) -> Form:
    """Tar shards, by `tl data pack`."""
    run([*TL, "data", "pack", data, "--out", out / "shards", "--shard-size", SHARD_SIZE])
    return Form(out / "shards")


FORMS: dict[str, Callable[[Path, Source, Path], Form]] = {
    "folder": make_folder,
    "csv": make_csv,
    "parquet": make_parquet,
    "saved": make_saved,
    "shards": make_shards,
}


def rows_of(data: Path, source: Source) -> list[dict[str, str]]:
    """What a table says of each image, in the order of the folder."""
    return [
        {
            "path": samples.name(index),
            "name": Path(samples.name(index)).relative_to(data).as_posix(),
            "label": source.class_names[int(samples.targets[index])],
            "split": split,
        }
        for split, samples in source.splits.items()
        for index in range(len(samples))
    ]


def measure(form: Form) -> Measured:
    """Measure a form, with a cache of its own."""
    settings = json.dumps(form.settings)
    opened = run([sys.executable, "-c", OPEN, form.spec, settings]).lines[-1]
    epoch = run([sys.executable, "-c", EPOCH, form.spec, settings]).lines[-1]
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "run"
        command = [
            *TL,
            "finetune",
            form.spec,
            *form.flags,
            "--arch",
            ARCH,
            "--tune",
            "linear-probe",
            "--out",
            out,
            "--quiet",
        ]
        seconds, processor, peak = watch(command, {"TL_CACHE": str(Path(place) / "cache")})
        summary = json.loads((out / "summary.json").read_text())
        note = read_metadata(out / "model.safetensors").split_note
        return Measured(
            opening=float(str(opened["seconds"])),
            open_memory=float(str(opened["mebibytes"])),
            epoch=float(str(epoch["images_per_second"])),
            seconds=seconds,
            processor=processor,
            peak=peak,
            head=digest_of_head(load_file(out / "model.safetensors")),
            splits=dict(note.packed) if note else {},
            accuracy=float(summary["test_accuracy"]),
            images={
                name: summary[f"{name}_images"] for name in ("train", "val", "test") if f"{name}_images" in summary
            },
        )


def watch(command: Sequence[object], environment: Mapping[str, str]) -> tuple[float, float, float]:
    """Run a program to its end.

    Returns:
        Seconds by the clock, seconds of the processor, and MiB at its peak; worker processes are not counted.
    """
    done = run([sys.executable, "-S", "-c", WATCH, *command], environment)
    last = done.lines[-1]
    return done.seconds, float(str(last["processor_seconds"])), float(str(last["mebibytes"]))


def digest_of_head(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of the names and bytes of the head's tensors."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        if name.startswith(HEAD):
            digest.update(name.encode())
            digest.update(tensors[name].contiguous().numpy().tobytes())
    return digest.hexdigest()


def table_of(figures: Mapping[str, Sequence[Measured]]) -> str:
    """A row for each form, with medians; the folder, or else the first form, is what the others are compared with."""
    first = next(iter(figures.values()))[0]
    head = [
        "",
        "open",
        "memory of it",
        "epoch of decoding",
        "probe",
        "of the processor",
        "peak memory",
        "same split",
        "same head",
        "test",
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for form, values in figures.items():

        def median(name: str, values: Sequence[Measured] = values) -> float:
            return statistics.median(getattr(value, name) for value in values)

        cells: list[Any] = [
            form,
            f"{median('opening'):.2f} s",
            f"{median('open_memory'):,.0f} MiB",
            f"{median('epoch'):,.0f} images/s",
            f"{median('seconds'):.1f} s",
            f"{median('processor'):.1f} s",
            f"{median('peak'):,.0f} MiB",
            "yes" if all(value.splits == first.splits and value.splits for value in values) else "no",
            f"{'yes' if all(value.head == first.head for value in values) else 'no'}, {values[0].head[:8]}",
            f"{100 * median('accuracy'):.2f} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="images in train/CLASS/ and test/CLASS/")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=list(FORMS))
    chosen = parser.parse_args(arguments)
    data = chosen.data.absolute()
    source = open_source(str(data))
    with tempfile.TemporaryDirectory() as place:
        forms = {form: FORMS[form](data, source, Path(place)) for form in chosen.forms}
        figures: dict[str, list[Measured]] = {form: [] for form in forms}
        for number in range(chosen.rounds):
            # Every second round goes the other way, so that no form always runs after the same one.
            for form in list(forms)[:: -1 if number % 2 else 1]:
                figures[form].append(measure(forms[form]))
                print(f"round {number + 1}, {form}: {figures[form][-1].seconds:.1f} s", file=sys.stderr, flush=True)
    images = next(iter(figures.values()))[0].images
    print(", ".join(f"{split} {count:,}" for split, count in images.items()), f"images; {chosen.rounds} rounds\n")
    print(table_of(figures))


if __name__ == "__main__":
    main()
