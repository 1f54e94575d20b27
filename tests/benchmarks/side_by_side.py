"""`tl` beside the PyTorch tutorial's loop, fastai and Hugging Face's Trainer, measured in turn on the same images.

    python -m tests.benchmarks.side_by_side --photos hymenoptera/ --caltech caltech101/ [ROW...]

Rows: probe, vgg16, caltech, last-stage, full, lenet. `--rivals PYTHON` is the Python of an environment with fastai and
transformers (`pip install fastai "transformers[torch]"`); without it they are left out. A rival's epochs all do the
same work: by default `--epochs-run 2` of them are run after a first one, and the rest is reckoned; 0 runs them all.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from tests.benchmarks.timing import in_turn, run, show
from tl_toolkit.models.weights.resolve import BUNDLED_FILE
from tl_toolkit.training.device import select_device

RIVALS = Path(__file__).parent / "rivals"
TL = (sys.executable, "-c", "from tl_toolkit.cli.main import main; main()")
PROBE_EPOCHS = 25


class Bench:
    """What the rows share.

    Args:
        chosen: The command line.
        folder: For runs and caches.
    """

    def __init__(self, chosen: argparse.Namespace, folder: Path) -> None:
        self.chosen = chosen
        self.folder = folder
        self.runs = 0

    def tl(self, *arguments: object, cache: str = "") -> tuple[float, dict[str, object]]:
        """Runs `tl finetune`; without the name of a cache, with an empty one.

        Returns:
            Seconds of the whole process and the content of its metrics' last line.
        """
        self.runs += 1
        out = self.folder / f"run{self.runs}"
        place = {"TL_CACHE": str(self.folder / (cache or f"cache{self.runs}"))}
        command = [*TL, "finetune", "--out", out, "--quiet"]
        started = time.perf_counter()
        run([*command, *arguments], place)
        seconds = time.perf_counter() - started
        metrics = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        last = metrics[-1]["stage"]  # Others may come before it.
        later = [line["images_per_second"] for line in metrics if line["stage"] == last and line["epoch"] > 1]
        summary = json.loads((out / "summary.json").read_text())
        return seconds, {**summary, "images_per_second": statistics.median(later) if later else 0.0}

    def rival(self, name: str, *arguments: object, epochs: int) -> tuple[float, dict[str, object]]:
        """Runs a rival for so many epochs, or for a few and reckons the rest.

        Returns:
            Seconds of the whole process and its last line.
        """
        python = sys.executable if name == "tutorial" else self.chosen.rivals
        command = [python, "-W", "ignore", RIVALS / f"{name}.py", *arguments, "--weights", BUNDLED_FILE, "--epochs"]
        few = self.chosen.epochs_run
        if not few or few + 1 >= epochs:
            done = run([*command, epochs])
            return done.seconds, done.lines[-1]
        one, more = run([*command, 1]), run([*command, 1 + few])
        each = (more.seconds - one.seconds) / few
        return one.seconds + (epochs - 1) * each, more.lines[-1]


def probe(bench: Bench) -> None:
    photos = bench.chosen.photos
    common = ("--data", photos, "--weights", "bundled", "--image-size", 224, "--tune", "linear-probe")
    bench.tl(*common, "--epochs", PROBE_EPOCHS, cache="warm")
    measured: dict[str, Callable[[], float]] = {
        "import torch, torchvision": lambda: run([sys.executable, "-c", "import torch, torchvision"]).seconds,
        "tl, empty cache": lambda: bench.tl(*common, "--epochs", PROBE_EPOCHS)[0],
        "tl, another learning rate": lambda: bench.tl(*common, "--epochs", PROBE_EPOCHS, "--lr", 0.01, cache="warm")[0],
        "PyTorch tutorial": lambda: bench.rival("tutorial", photos, epochs=PROBE_EPOCHS)[0],
    }
    if bench.chosen.rivals:
        measured["Hugging Face Trainer"] = lambda: bench.rival("hf_trainer", photos, epochs=PROBE_EPOCHS)[0]
        measured["fastai"] = lambda: bench.rival("fastai_learner", photos, epochs=PROBE_EPOCHS)[0]
    figures = in_turn(bench.chosen.rounds, measured)
    title = f"ResNet18, linear probe, {PROBE_EPOCHS} epochs, 224 px, whole process"
    show(title, "s", figures, "tl, empty cache", more_is_better=False)
    show(title, "s", figures, "tl, another learning rate", more_is_better=False)


def vgg16(bench: Bench) -> None:
    photos = bench.chosen.photos
    common = ("--data", photos, "--arch", "vgg16", "--weights", "none", "--tune", "linear-probe")
    show(
        f"VGG16, linear probe, {PROBE_EPOCHS} epochs, 224 px, whole process",
        "s",
        in_turn(
            bench.chosen.rounds,
            {
                "tl, empty cache": lambda: bench.tl(*common, "--epochs", PROBE_EPOCHS)[0],
                "PyTorch tutorial": lambda: bench.rival("tutorial", photos, "--arch", "vgg16", epochs=PROBE_EPOCHS)[0],
            },
        ),
        "tl, empty cache",
        more_is_better=False,
    )


def caltech(bench: Bench) -> None:
    caltech101 = bench.chosen.caltech
    seconds: dict[str, list[float]] = {"tl, linear probe, empty cache": [], "fastai, fine_tune(5)": []}
    accuracy: dict[str, list[float]] = {name: [] for name in seconds}
    for seed in range(bench.chosen.rounds):
        own = bench.tl(
            *(
                "--data",
                caltech101,
                "--weights",
                "bundled",
                "--image-size",
                64,
                "--tune",
                "linear-probe",
                "--seed",
                seed,
            )
        )
        results = [(own[0], own[1]["test_accuracy"])]
        if bench.chosen.rivals:
            command = [bench.chosen.rivals, "-W", "ignore", RIVALS / "fastai_learner.py", caltech101]
            done = run([*command, "--tune", "fine-tune", "--size", 64, "--epochs", 5, "--weights", BUNDLED_FILE])
            results.append((done.seconds, done.lines[-1]["accuracy"]))
        for name, (took, right) in zip(seconds, results, strict=False):
            seconds[name].append(took)
            accuracy[name].append(float(right))
    known = {name: values for name, values in seconds.items() if values}
    show("Caltech-101, 64 px, whole process", "s", known, "tl, linear probe, empty cache", more_is_better=False)
    for name in known:
        each = ", ".join(f"{value:.4f}" for value in accuracy[name])
        print(f"{name}: test accuracy {statistics.mean(accuracy[name]):.4f} ({each})")


def last_stage(bench: Bench) -> None:
    steps("last-stage", bench)


def full(bench: Bench) -> None:
    steps("full", bench)


def steps(tune: str, bench: Bench) -> None:
    """Images/s after the first epoch."""
    photos = bench.chosen.photos
    common = ("--data", photos, "--weights", "bundled", "--image-size", 224, "--tune", tune, "--epochs", 4)

    def tutorial() -> float:
        command = [sys.executable, "-W", "ignore", RIVALS / "tutorial.py", photos, "--tune", tune]
        lines = run([*command, "--weights", BUNDLED_FILE, "--epochs", 3]).lines[1:-1]
        return statistics.median(line["train"]["images_per_second"] for line in lines)  # type: ignore[index]

    measured: dict[str, Callable[[], float]] = {
        "tl": lambda: float(bench.tl(*common)[1]["images_per_second"]),  # type: ignore[arg-type]
        "PyTorch tutorial": tutorial,
    }
    if tune == "full":
        measured["bare step"] = bare_step
    figures = in_turn(bench.chosen.rounds, measured)
    show(f"ResNet18, {tune}, 224 px, after the first epoch", "images/s", figures, "tl", more_is_better=True)


BARE_STEP = """
import statistics, time, torch
from torchvision.models import resnet18
from tl_toolkit.training.device import choose_compute
from tl_toolkit.training.optimizers import make_optimizer
compute = choose_compute("auto", "auto")
module = compute.place(resnet18(num_classes=2)).train()
images = compute.lay_out(torch.randn(32, 3, 224, 224))
targets = torch.randint(0, 2, (32,))
optimizer = make_optimizer("adamw", module, ("fc",), 5e-4, 5e-4, 0.05, 0.9)
speeds = []
for _ in range(20):
    started = time.perf_counter()
    with compute.autocast():
        logits = module(images)
    torch.nn.functional.cross_entropy(logits.float(), targets, label_smoothing=0.1).backward()
    optimizer.step()
    optimizer.zero_grad()
    speeds.append(len(images) / (time.perf_counter() - started))
print(f'{{"images_per_second": {statistics.median(speeds[4:])}}}')
"""


def bare_step() -> float:
    """Images/s of nothing but the step, in the precision that `tl` chooses, on one batch in memory."""
    return float(str(run([sys.executable, "-c", BARE_STEP]).lines[-1]["images_per_second"]))


def lenet(bench: Bench) -> None:
    config = Path(__file__).parents[2] / "examples" / "lenet5_mnist.yaml"
    common = ("--config", config, "--data-root", bench.chosen.mnist, "--epochs", 2)

    def plain() -> float:
        return float(
            run([sys.executable, RIVALS / "plain_mnist.py", bench.chosen.mnist]).lines[-1]["images_per_second"]
        )  # type: ignore[arg-type]

    def own(*more: object) -> Callable[[], float]:
        return lambda: float(bench.tl(*common, *more)[1]["images_per_second"])  # type: ignore[arg-type]

    figures = in_turn(bench.chosen.rounds, {"tl": own(), "DataLoader and ToTensor": plain})
    show("LeNet-5 on MNIST, batch 64", "images/s", figures, "tl", more_is_better=True)


ROWS = {
    "probe": probe,
    "vgg16": vgg16,
    "caltech": caltech,
    "last-stage": last_stage,
    "full": full,
    "lenet": lenet,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--photos", type=Path, help="ants and bees: train/ and val/")
    parser.add_argument("--caltech", type=Path, help="Caltech-101: train/ and test/")
    parser.add_argument("--mnist", type=Path, help="the folder above MNIST/raw/")
    parser.add_argument("--rivals", type=Path, help="Python with fastai and transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs-run", type=int, default=2, help="epochs of a rival that are run after its first")
    chosen = parser.parse_args(arguments)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    print(f"{cores} cores, torch {torch.__version__}, {select_device('auto', 'auto').reason}")
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(chosen, Path(folder))
        for row in chosen.rows or ROWS:
            ROWS[row](bench)


if __name__ == "__main__":
    main()
