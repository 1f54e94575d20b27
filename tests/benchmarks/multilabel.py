"""Several labels an image: photographs in tiles, and `tl`'s linear probe beside scikit-learn's on the same features.

    python -m tests.benchmarks.multilabel --data caltech101/ --out mosaics/ [--only-build]

An image of the set has two or three photographs side by side, or in a square of 2 x 2 with empty cells; its labels are
the classes of these photographs. Each photograph belongs to one group of photographs, and an image is made of
photographs of one group, so that images of two groups, and so those of two splits, share none. Everything is drawn with
one seed.

`tl` trains a linear probe, and with --choose-decay others of which the weight decay that is best on val counts.
scikit-learn gets the features that `tl` has stored, and fits a logistic regression for each class, with the C that is
best on val. The figures are the mean average precision (mAP) on test, with 95 % intervals of a bootstrap over groups.
"""

import argparse
import csv
import json
import random
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from tests.benchmarks.side_by_side import TL
from tests.benchmarks.timing import run

ARCH = "tf_efficientnet_lite0"
SPLITS = {"train": 0.6, "val": 0.2, "test": 0.2}
"""Shares of the groups."""

LAYOUTS = {2: ((2, 1), (1, 2), (2, 2)), 3: ((3, 1), (2, 2))}
"""Columns and rows by the number of photographs; cells that are left over stay grey."""

GREY = (128, 128, 128)
STRENGTHS = tuple(10.0**power for power in range(-5, 2))
"""Values of C, the inverse of the penalty on the weights, for standardized features."""

DECAYS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""As many values of tl's weight decay."""


@dataclass(frozen=True)
class Photograph:
    """A photograph of one class."""

    path: Path
    label: str


@dataclass(frozen=True)
class Mosaic:
    """An image of several photographs.

    Attributes:
        name: File name.
        photographs: In the order of the cells.
        cells: The cell of each photograph: column and row.
        size: Columns and rows.
        split: train, val or test.
        group: Images of two groups share no photograph.
    """

    name: str
    photographs: tuple[Photograph, ...]
    cells: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    split: str
    group: str

    @property
    def labels(self) -> list[str]:
        """The classes of the photographs, each once."""
        return sorted({photograph.label for photograph in self.photographs})


def photographs_of(data: Path, classes: int, lot: random.Random) -> list[Photograph]:
    """All photographs of so many classes, drawn by lot; train and test of the data are put together."""
    by_class: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(data.rglob("*.jpg")):
        by_class[path.parent.name].append(path)
    chosen = sorted(lot.sample(sorted(by_class), classes))
    return [Photograph(path, name) for name in chosen for path in by_class[name]]


def draw_mosaics(
    photographs: Sequence[Photograph], group_size: int, per_group: int, lot: random.Random
) -> list[Mosaic]:
    """Divide photographs into groups, groups into splits, and draw images of the photographs of each group."""
    shuffled = lot.sample(photographs, len(photographs))
    groups = [shuffled[start : start + group_size] for start in range(0, len(shuffled) - group_size + 1, group_size)]
    bounds = np.rint(np.cumsum(list(SPLITS.values())) * len(groups)).astype(int)
    mosaics = []
    for number, group in enumerate(groups):
        split = list(SPLITS)[int(np.searchsorted(bounds, number, side="right"))]
        for index in range(per_group):
            parts = tuple(lot.sample(group, lot.choice(list(LAYOUTS))))
            columns, rows = lot.choice(LAYOUTS[len(parts)])
            places = [(column, row) for row in range(rows) for column in range(columns)]
            cells = tuple(lot.sample(places, len(parts)))
            name = f"group{number:03d}_{index:03d}.jpg"
            mosaics.append(Mosaic(name, parts, cells, (columns, rows), split, f"group{number:03d}"))
    return mosaics


def draw_image(mosaic: Mosaic, cell: int) -> Image.Image:
    """Put the photographs into cells of `cell` pixels, each as large as fits."""
    columns, rows = mosaic.size
    image = Image.new("RGB", (columns * cell, rows * cell), GREY)
    for photograph, (column, row) in zip(mosaic.photographs, mosaic.cells, strict=True):
        with Image.open(photograph.path) as opened:
            tile = ImageOps.pad(opened.convert("RGB"), (cell, cell), Image.Resampling.BICUBIC, GREY)
        image.paste(tile, (column * cell, row * cell))
    return image


def build(
    data: Path,
    out: Path,
    classes: int = 20,
    group_size: int = 20,
    per_group: int = 40,
    cell: int = 112,
    seed: int = 0,
    separator: str = ";",
) -> list[Mosaic]:
    """Write the images and labels.csv, whose columns are path, labels, split and group.

    Args:
        data: Photographs in folders of their classes.
        out: An empty folder, or one that does not exist.
        classes: How many of the classes are used.
        group_size: Photographs of a group.
        per_group: Images that are made of a group.
        cell: Width and height of a photograph in pixels.
        seed: Of all draws.
        separator: Between labels; "json" writes them as a JSON list.
    """
    lot = random.Random(seed)
    mosaics = draw_mosaics(photographs_of(data, classes, lot), group_size, per_group, lot)
    (out / "images").mkdir(parents=True)
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "split", "group"])
        for mosaic in mosaics:
            draw_image(mosaic, cell).save(out / "images" / mosaic.name, quality=90)
            labels = json.dumps(mosaic.labels) if separator == "json" else separator.join(mosaic.labels)
            writer.writerow([f"images/{mosaic.name}", labels, mosaic.split, mosaic.group])
    return mosaics


def indicator(mosaics: Sequence[Mosaic], class_names: Sequence[str]) -> np.ndarray:
    """Labels as zeros and ones, (N, classes)."""
    return np.array([[name in mosaic.labels for name in class_names] for mosaic in mosaics], dtype=np.float32)


def mean_average_precision(truth: np.ndarray, scores: np.ndarray) -> float:
    """The mean over the classes that occur, by scikit-learn."""
    from sklearn.metrics import average_precision_score

    occurs = truth.any(axis=0)
    return float(average_precision_score(truth[:, occurs], scores[:, occurs], average="macro"))


def chance_level(truth: np.ndarray) -> float:
    """The mAP that scores without knowledge approach: the mean share of images that have a label."""
    return float(truth[:, truth.any(axis=0)].mean())


def bootstrap(
    groups: Sequence[str], measure: Callable[[np.ndarray], float], resamples: int, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of a figure when groups are drawn anew.

    Args:
        groups: The group of each image.
        measure: The figure of the images at some indices.
        resamples: How often groups are drawn.
        seed: Of the draws.
    """
    generator = np.random.default_rng(seed)
    names, of_image = np.unique(np.array(groups), return_inverse=True)
    members = [np.flatnonzero(of_image == number) for number in range(len(names))]
    figures = []
    for _ in range(resamples):
        drawn = generator.integers(len(names), size=len(names))
        figures.append(measure(np.concatenate([members[number] for number in drawn])))
    low, high = np.percentile(figures, [2.5, 97.5])
    return float(low), float(high)


def stored_features(cache: Path, paths: Sequence[Path]) -> np.ndarray:
    """The rows (N, features) that a run has stored in its empty cache, by the fingerprints of the files."""
    from tl_toolkit.io.fingerprints import IDENTITY_BYTES, fingerprint_file

    rows: dict[bytes, np.ndarray] = {}
    for shard in cache.rglob("*.safetensors"):
        tensors = load_file(shard)
        identities = tensors["identities"].numpy().tobytes()
        for number, row in enumerate(tensors["rows"].float().flatten(1).numpy()):
            rows[identities[number * IDENTITY_BYTES : (number + 1) * IDENTITY_BYTES]] = row
    return np.stack([rows[fingerprint_file(path) or b""] for path in paths])


def fit_scikit_learn(features: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Scores (N, classes) of test by one logistic regression a class, and the C that was best on val."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    def fitted(strength: float, inputs: np.ndarray, targets: np.ndarray) -> OneVsRestClassifier:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # A class that no image of a split has.
            return OneVsRestClassifier(LogisticRegression(C=strength, max_iter=1000)).fit(inputs, targets)

    threadpool_limits(1)  # On a busy machine more threads mostly wait for each other.
    scaler = StandardScaler().fit(features["train"])
    scaled = {split: scaler.transform(rows) for split, rows in features.items()}

    def on_val(strength: float) -> float:
        model = fitted(strength, scaled["train"], truth["train"])
        return mean_average_precision(truth["val"], model.decision_function(scaled["val"]))

    best = max(STRENGTHS, key=on_val)
    return fitted(best, scaled["train"], truth["train"]).decision_function(scaled["test"]), best


def fit_tl(out: Path, work: Path, name: str, *flags: object) -> tuple[dict[str, float], Path]:
    """Train a linear probe; runs share the stored features.

    Returns:
        The summary and the run folder.
    """
    folder = work / name
    flags = ("--label-separator", ";", "--arch", ARCH, "--tune", "linear-probe", "--out", folder, "--quiet", *flags)
    run([*TL, "finetune", out / "labels.csv", *flags], {"TL_CACHE": str(work / "cache")})
    return json.loads((folder / "summary.json").read_text()), folder


def compare(
    out: Path, mosaics: Sequence[Mosaic], resamples: int, decays: Sequence[float], work: Path
) -> dict[str, float]:
    """Train all and print the table.

    Args:
        out: The images.
        mosaics: What they are.
        resamples: Of the bootstrap.
        decays: Values of tl's weight decay to choose from on val, beside its default.
        work: For runs and features.

    Returns:
        The figures by name, for whoever calls this from Python.
    """
    import tl_toolkit as tl

    _, default = fit_tl(out, work, "default")
    tried = {decay: fit_tl(out, work, f"decay{decay}", "--weight-decay", decay) for decay in decays}
    by_split = {split: [mosaic for mosaic in mosaics if mosaic.split == split] for split in SPLITS}
    features = {
        split: stored_features(work / "cache", [(out / "images" / each.name).absolute() for each in members])
        for split, members in by_split.items()
    }
    class_names = tl.load(default).class_names
    truth = {split: indicator(members, class_names) for split, members in by_split.items()}
    other, strength = fit_scikit_learn(features, truth)
    scores = {"tl": head_scores(tl.load(default).module, features["test"])}
    if tried:
        best = max(tried, key=lambda decay: tried[decay][0]["val_mean_average_precision"])
        scores[f"tl, weight decay {best:g}"] = head_scores(tl.load(tried[best][1]).module, features["test"])
    scores[f"scikit-learn, C {strength:g}"] = other
    test, groups = truth["test"], [each.group for each in by_split["test"]]
    whole = np.arange(len(test))
    table = Table("", "mAP on test", "95 % interval", "less scikit-learn", "95 % interval")
    figures = {"chance": chance_level(test)}
    for name, own in scores.items():

        def figure(images: np.ndarray, own: np.ndarray = own) -> float:
            return mean_average_precision(test[images], own[images])

        def difference(images: np.ndarray, own: np.ndarray = own) -> float:
            return figure(images, own) - figure(images, other)

        figures[name] = figure(whole)
        row = [f"{figure(whole):.4f}", _interval(bootstrap(groups, figure, resamples), "")]
        if own is not other:
            row += [f"{difference(whole):+.4f}", _interval(bootstrap(groups, difference, resamples), "+")]
        table.add_row(name, *row)
    table.add_row("chance", f"{figures['chance']:.4f}")
    counts = ", ".join(f"{split} {len(members):,}" for split, members in by_split.items())
    console = Console(width=120)
    console.print(f"{counts} images, {len(class_names)} labels, test of {len(set(groups))} groups of photographs")
    console.print(table)
    return figures


def head_scores(module: torch.nn.Module, features: np.ndarray) -> np.ndarray:
    """Probabilities (N, classes) of stored features, in float32."""
    head = module.get_classifier().float().cpu()
    with torch.inference_mode():
        return head(torch.from_numpy(features)).sigmoid().numpy()


def _interval(bounds: tuple[float, float], sign: str) -> str:
    return " to ".join(f"{bound:{sign}.4f}" for bound in bounds)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="photographs in folders of their classes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the images; must not exist")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--group-size", type=int, default=20, help="photographs of a group")
    parser.add_argument("--per-group", type=int, default=40, help="images made of each group")
    parser.add_argument("--cell", type=int, default=112, help="pixels of a photograph")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--separator", default=";", help='between labels; "json" for JSON lists')
    parser.add_argument("--only-build", action="store_true", help="write the images, and train nothing")
    parser.add_argument("--choose-decay", action="store_true", help="also choose tl's weight decay on val")
    parser.add_argument("--resamples", type=int, default=1000, help="of the bootstrap")
    chosen = parser.parse_args(arguments)
    if not chosen.only_build and chosen.separator != ";":
        parser.error("the comparison reads labels with ';' between them; --only-build writes others")
    mosaics = build(
        chosen.data,
        chosen.out,
        chosen.classes,
        chosen.group_size,
        chosen.per_group,
        chosen.cell,
        chosen.seed,
        chosen.separator,
    )
    print(f"{len(mosaics):,} images in {chosen.out}", file=sys.stderr)
    if not chosen.only_build:
        with tempfile.TemporaryDirectory() as work:
            compare(chosen.out, mosaics, chosen.resamples, DECAYS if chosen.choose_decay else (), Path(work))


if __name__ == "__main__":
    main()
