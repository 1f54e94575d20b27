"""Unknown images: classes that were left out of training, told from the others.

    python -m tests.benchmarks.novelty --data caltech101/ [--unknown 21] [--seeds 0 1 2] [--others FOLDER ...]

The folder has train/CLASS/ and test/CLASS/. For each seed, some of its classes are drawn that are unknown, and `tl
finetune` trains on the others. Of the test images, those of the known classes should be told from those of the unknown
ones: the area under the ROC curve (AUROC) of the novelty, of the distance alone, and of 1 minus the probability, as the
reference; how many known images are false alarms at the threshold that val chose, and how many unknown ones are found.
Other folders of images, whatever they show, are unknown too; such with a class of the known ones do not fit here.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import tl_toolkit as tl
from tl_toolkit.inference.classifier import ImageClassifier

ARCH = "tf_efficientnet_lite0"
SPLITS = ("train", "test")


def auroc(known: torch.Tensor, unknown: torch.Tensor) -> float:
    """How often an unknown image (M) has a higher score than a known one (N); equal scores count half."""
    higher = (unknown[:, None] > known[None]).double() + (unknown[:, None] == known[None]).double() / 2
    return float(higher.mean())


def divide(data: Path, unknown: int, seed: int, out: Path) -> tuple[list[str], list[str]]:
    """Links the known classes to a folder of their own; returns the known and the unknown classes."""
    names = sorted(path.name for path in (data / "train").iterdir())
    drawn = set(random.Random(seed).sample(names, unknown))
    known = [name for name in names if name not in drawn]
    for split in SPLITS:
        (out / split).mkdir(parents=True)
        for name in known:
            (out / split / name).symlink_to((data / split / name).absolute())
    return known, sorted(drawn)


def scores(model: ImageClassifier, paths: Sequence[Path]) -> dict[str, torch.Tensor]:
    """The novelty of images, by what it is made of (N)."""
    logits, features = model.outputs([str(path) for path in paths])
    detector = model.novelty
    assert detector is not None and features is not None
    probability = (logits / model.metadata.temperature).softmax(dim=1).amax(dim=1)
    distance = detector.distances.nearest(features)
    return {"novelty": detector.novelty(features, logits), "distance": distance, "probability": 1 - probability}


def images_in(folders: Sequence[Path]) -> list[Path]:
    """Every image below the folders."""
    return sorted(path for folder in folders for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".png"))


def measure(
    data: Path, unknown: int, seed: int, others: Sequence[Path], out: Path, settings: Mapping[str, object]
) -> dict[str, float]:
    """Trains without some classes; returns the figures by name, and the size of the statistics."""
    known_names, unknown_names = divide(data, unknown, seed, out / "known")
    run = tl.finetune(data=out / "known", out=out / "run", seed=seed, **settings)
    known = scores(run.model, images_in([data / "test" / name for name in known_names]))
    sets = {"left out": [data / "test" / name for name in unknown_names], **{path.name: [path] for path in others}}
    threshold = run.model.metadata.novelty.threshold
    figures = {
        "accuracy": run.summary["test_accuracy"],
        "false alarms": float((known["novelty"] > threshold).double().mean()),
        "header kB": len(run.model.metadata.to_metadata()["novelty"]) / 1000,
    }
    for name, folders in sets.items():
        found = scores(run.model, images_in(folders))
        figures |= {f"{name}: AUROC, {part}": auroc(known[part], values) for part, values in found.items()}
        figures[f"{name}: found"] = float((found["novelty"] > threshold).double().mean())
    return figures


def time_prediction(model: ImageClassifier, paths: Sequence[Path], rounds: int = 5) -> tuple[float, float]:
    """Milliseconds of an image without and with the novelty, each the best of some rounds in turn."""
    batch = torch.stack([model.transform(path) for path in paths])
    best = {False: float("inf"), True: float("inf")}
    for _ in range(rounds):
        for with_features in best:
            started = time.perf_counter()
            logits, features = model.outputs(batch, with_features)
            model.to_predictions(logits, features, [str(path) for path in paths], 5)
            best[with_features] = min(best[with_features], (time.perf_counter() - started) / len(paths) * 1000)
    return best[False], best[True]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--unknown", type=int, default=21)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--others", type=Path, nargs="*", default=[])
    parser.add_argument("--arch", default=ARCH)
    parser.add_argument("--tune", default="auto")
    arguments = parser.parse_args()
    settings = {"arch": arguments.arch, "tune": arguments.tune}
    results = []
    for seed in arguments.seeds:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(arguments.data, arguments.unknown, seed, arguments.others, Path(folder), settings))
            print(json.dumps({"seed": seed, **results[-1]}), flush=True)
            if seed == arguments.seeds[-1]:
                model = tl.load(Path(folder) / "run")
                plain, judged = time_prediction(model, images_in([arguments.data / "test"])[:32])
                print(json.dumps({"ms an image": plain, "with novelty": judged}), flush=True)
    table = Table("", *(f"seed {seed}" for seed in arguments.seeds), "mean")
    for name in results[0]:
        values = [result[name] for result in results]
        table.add_row(name, *(f"{value:.4g}" for value in (*values, sum(values) / len(values))))
    Console().print(table)


if __name__ == "__main__":
    main()
