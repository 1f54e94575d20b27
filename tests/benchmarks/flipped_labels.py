"""Suspicious labels: how well the list of a run finds training labels that were flipped on purpose.

    python -m tests.benchmarks.flipped_labels --data hymenoptera/ caltech101/ [--share 0.05] [--seeds 10 11 12]

A share of the labels of train, drawn with a seed, becomes another class each, drawn uniformly. `tl finetune` trains a
linear probe on these labels and writes suspicious_labels.csv. The figure is the average precision (AP) of this list as
it is, over train and val: a flipped image that is not listed counts as never found. Chance is the share of the flipped
images among those of train and val: the AP of a list in random order of all of them. Labels that were wrong before
count as mistakes of the list.
"""

import argparse
import csv
import json
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.side_by_side import TL
from tests.benchmarks.timing import run
from tl_toolkit.runs.suspicious_labels import read_suspicious

ARCH = "timm:tf_efficientnet_lite0"
ENDINGS = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Found:
    """What a list found.

    Attributes:
        average_precision: Of the list.
        chance: Share of the flipped images.
        listed: Length of the list.
        flipped: Number of flipped images.
        flipped_listed: Of these, how many are listed.
    """

    average_precision: float
    chance: float
    listed: int
    flipped: int
    flipped_listed: int


def write_flipped(data: Path, share: float, seed: int, table: Path) -> set[str]:
    """Write a table of the images of a folder of splits, with a share of the labels of train flipped.

    Returns:
        The paths of the flipped images.
    """
    images = sorted(path for path in data.glob("*/*/*") if path.suffix.lower() in ENDINGS)
    classes = sorted({path.parent.name for path in images})
    train = [path for path in images if path.parent.parent.name == "train"]
    lot = random.Random(seed)
    flipped = set(lot.sample(train, round(share * len(train))))
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "split"])
        for path in images:
            own = path.parent.name
            label = lot.choice([name for name in classes if name != own]) if path in flipped else own
            writer.writerow([path.absolute(), label, path.parent.parent.name])
    return {str(path.absolute()) for path in flipped}


def average_precision(listed: Sequence[str], relevant: set[str]) -> float:
    """Return the average precision of a list; what is relevant and not listed counts as never found."""
    hits, total = 0, 0.0
    for place, name in enumerate(listed, start=1):
        if name in relevant:
            hits += 1
            total += hits / place
    return total / len(relevant)


def measure(data: Path, share: float, seed: int, work: Path) -> Found:
    """Train on flipped labels, and look at the list of the run."""
    table, out = work / f"{data.name}-{seed}.csv", work / f"{data.name}-{seed}"
    flipped = write_flipped(data, share, seed, table)
    settings = ("--arch", ARCH, "--weights", "package", "--tune", "linear-probe", "--seed", seed, "--quiet")
    run([*TL, "finetune", table, "--out", out, *settings, "--no-report"], {"TL_CACHE": str(work / "cache")})
    labels = read_suspicious(out)
    if labels is None:
        raise SystemExit(f"{out} has no list of suspicious labels.")
    summary = json.loads((out / "summary.json").read_text())
    listed = [str(Path(label.image).absolute()) for label in labels]
    return Found(
        average_precision(listed, flipped),
        len(flipped) / (summary["train_images"] + summary["val_images"]),
        len(listed),
        len(flipped),
        len(flipped & set(listed)),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all data sets with all seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders with train/CLASS/ and others")
    parser.add_argument("--share", type=float, default=0.05, help="share of the labels of train that are flipped")
    parser.add_argument("--seeds", type=int, nargs="+", default=[10, 11, 12])
    chosen = parser.parse_args(arguments)
    table = Table("data", "AP", "chance", "times", "flipped that are listed", "listed")
    with tempfile.TemporaryDirectory() as work:
        for data in chosen.data:
            found = [measure(data, chosen.share, seed, Path(work)) for seed in chosen.seeds]
            precisions = [each.average_precision for each in found]
            chance = statistics.mean(each.chance for each in found)
            table.add_row(
                data.name,
                f"{statistics.mean(precisions):.3f} ({min(precisions):.3f} to {max(precisions):.3f})",
                f"{chance:.3f}",
                f"{statistics.mean(precisions) / chance:.1f}",
                ", ".join(f"{each.flipped_listed} of {each.flipped}" for each in found),
                ", ".join(str(each.listed) for each in found),
            )
            print(json.dumps({"data": data.name, "found": [vars(each) for each in found]}), flush=True)
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1:])
