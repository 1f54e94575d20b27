"""Speed on a GPU: `tl` beside the bare step and timm's training loop, and decoding alone; the table of docs/speed.md.

    python -m tests.benchmarks.gpu --photos caltech101/ [ROW...] [--networks NETWORK...]

Rows: step, train, probe, decode. `--device cpu --size 32 --steps 2 --skip-compiled` tries the script without a GPU.

step    images/s of forward, backward and AdamW on one batch in memory: float32, bf16, bf16 by channels, and compiled
train   `tl finetune --tune full`, the same with --compile, and timm's loop, each in bf16 after its first epoch
probe   images/s while `tl finetune --tune linear-probe` computes the features of all images, and the forward alone
decode  images/s of decoding and resizing alone: in threads, in worker processes, from pixels held decoded as uint8, and
        by torchvision on the GPU
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
import torchvision
from torch.utils.data import DataLoader, Dataset

from tests.benchmarks.side_by_side import RIVALS
from tests.benchmarks.timing import in_turn, run
from tl_toolkit.data.images import open_image
from tl_toolkit.data.transforms import EvalTransform
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.system.cores import usable_cores

NETWORKS = {
    "resnet18": "timm:resnet18",
    "vgg16": "timm:vgg16",
    "tf_efficientnet_lite0": "timm:tf_efficientnet_lite0",
    "vit_base_patch16_224": "timm:vit_base_patch16_224",
}
"""By timm's name: what `tl` is asked for, so that both train the same network."""

FEATURES = """
import json, sys, time
import tl_toolkit as tl
from tl_toolkit.events import TaskProgress
times = []
def note(event):
    if isinstance(event, TaskProgress) and event.task == "features":
        times.append((time.perf_counter(), event.done, event.total))
settings = json.loads(sys.argv[1])
tl.finetune(callback=note, **settings)
first, last = times[0], next(mark for mark in times if mark[1] == mark[2])
if first == last:
    sys.exit("train has too few images: the first batch is not counted")
print(json.dumps({"images_per_second": (last[1] - first[1]) / (last[0] - first[0])}))
"""
"""The first batch of train, which waits for the workers and the GPU's first kernels, is not counted."""


@dataclass(frozen=True)
class Bench:
    """What the rows share.

    Attributes:
        photos: Images in train/CLASS/.
        device: cuda, or cpu to try the script.
        size: Pixels of a side.
        batch_size: Images of a step.
        steps: Of each measurement of the bare step; on the CPU also of timm's epochs.
        workers: Processes that decode.
        rounds: How often everything is measured, in turn.
        networks: timm's names.
        compiled: Whether to measure torch.compile too.
    """

    photos: Path
    device: torch.device
    size: int
    batch_size: int
    steps: int
    workers: int
    rounds: int
    networks: Sequence[str]
    compiled: bool

    def settings(self, network: str, place: Path) -> dict[str, object]:
        """Of a run of `tl` into a folder."""
        size = {"arch_options": [f"img_size={self.size}"]} if network.startswith("vit") and self.size != 224 else {}
        return {
            "data": str(self.photos), "arch": NETWORKS.get(network, f"timm:{network}"), "weights": "none",
            "image_size": self.size, "device": str(self.device), "workers": self.workers,
            "batch_size": self.batch_size, "precision": "bf16", "out": str(place / "run"), **size,
        }  # fmt: skip

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def network_of(bench: Bench, name: str) -> torch.nn.Module:
    options = {"img_size": bench.size} if name.startswith("vit") else {}
    return timm.create_model(name, num_classes=10, **options).to(bench.device)


def step(bench: Bench) -> Iterator[tuple[str, str, float]]:
    """The bare training step on one batch in memory."""
    for name in bench.networks:
        measured: dict[str, Callable[[], float]] = {
            "bare step, float32": _stepper(bench, name, bf16=False, channels_last=False),
            "bare step, bf16": _stepper(bench, name, bf16=True, channels_last=False),
            "bare step, bf16, channels_last": _stepper(bench, name, bf16=True, channels_last=True),
        }
        if bench.compiled:
            compiled = _stepper(bench, name, bf16=True, channels_last=True, compiled=True)
            measured["bare step, bf16, channels_last, compiled"] = compiled
        yield from _medians(name, in_turn(bench.rounds, measured))


def _stepper(
    bench: Bench, name: str, *, bf16: bool, channels_last: bool, compiled: bool = False
) -> Callable[[], float]:
    """What measures images/s of a step; the network is made anew each time, so that one is in memory at once."""

    def measure() -> float:
        layout = torch.channels_last if channels_last else torch.contiguous_format
        module = network_of(bench, name).to(memory_format=layout).train()
        forward = torch.compile(module) if compiled else module
        shape = (bench.batch_size, 3, bench.size, bench.size)
        images = torch.randn(shape, device=bench.device).contiguous(memory_format=layout)
        targets = torch.arange(bench.batch_size, device=bench.device) % 10
        optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

        def steps(count: int) -> None:
            for _ in range(count):
                with torch.autocast(bench.device.type, torch.bfloat16, enabled=bf16):
                    logits = forward(images)
                torch.nn.functional.cross_entropy(logits.float(), targets).backward()
                optimizer.step()
                optimizer.zero_grad()
            bench.wait()

        steps(max(2, bench.steps // 5))  # The first steps take memory, choose kernels and compile.
        started = time.perf_counter()
        steps(bench.steps)
        return bench.steps * bench.batch_size / (time.perf_counter() - started)

    return measure


def train(bench: Bench) -> Iterator[tuple[str, str, float]]:
    """Whole training loops, after the first epoch."""
    for name in bench.networks:
        measured: dict[str, Callable[[], float]] = {
            "tl, full": lambda name=name: _tl_full(bench, name),
            "timm's train.py": lambda name=name: _timm(bench, name),
        }
        if bench.compiled:
            measured["tl, full, --compile"] = lambda name=name: _tl_full(bench, name, compile=True)
        yield from _medians(name, in_turn(bench.rounds, measured))


def _tl_full(bench: Bench, name: str, **more: object) -> float:
    with tempfile.TemporaryDirectory() as place:
        settings = bench.settings(name, Path(place)) | {"tune": "full", "epochs": 3, **more}
        code = "import json, sys, tl_toolkit as tl; tl.finetune(**json.loads(sys.argv[1]))"
        run([sys.executable, "-c", code, json.dumps(settings)], {"TL_CACHE": place})
        lines = [json.loads(line) for line in (Path(place) / "run" / "metrics.jsonl").read_text().splitlines()]
    return statistics.median(line["images_per_second"] for line in lines if line.get("epoch", 0) > 1)


def _timm(bench: Bench, name: str) -> float:
    command = [
        sys.executable, "-W", "ignore", RIVALS / "timm_steps.py", bench.photos, "--arch", name, "--size", bench.size,
        "--batch-size", bench.batch_size, "--epochs", 3, "--workers", bench.workers, "--device", bench.device,
    ]  # fmt: skip
    steps = ["--steps", bench.steps] if bench.device.type == "cpu" else []
    return float(str(run([*command, *steps]).lines[-1]["images_per_second"]))


def probe(bench: Bench) -> Iterator[tuple[str, str, float]]:
    """Features of a frozen network, and its forward alone."""
    for name in bench.networks:
        measured = {
            "forward alone, bf16, channels_last": lambda name=name: _forward(bench, name),
            "tl, features of the probe": lambda name=name: _features(bench, name),
        }
        yield from _medians(name, in_turn(bench.rounds, measured))


def _forward(bench: Bench, name: str) -> float:
    module = network_of(bench, name).to(memory_format=torch.channels_last).eval()
    images = torch.randn(bench.batch_size, 3, bench.size, bench.size, device=bench.device)
    images = images.contiguous(memory_format=torch.channels_last)

    def forwards(count: int) -> None:
        with torch.inference_mode(), torch.autocast(bench.device.type, torch.bfloat16):
            for _ in range(count):
                module(images)
        bench.wait()

    forwards(max(2, bench.steps // 5))
    started = time.perf_counter()
    forwards(bench.steps)
    return bench.steps * bench.batch_size / (time.perf_counter() - started)


def _features(bench: Bench, name: str) -> float:
    with tempfile.TemporaryDirectory() as place:
        settings = bench.settings(name, Path(place)) | {"tune": "linear-probe"}
        done = run([sys.executable, "-c", FEATURES, json.dumps(settings)], {"TL_CACHE": place})
    return float(str(done.lines[-1]["images_per_second"]))


class _Photographs(Dataset[torch.Tensor]):
    """Photographs at the network's size, decoded as `tl` does."""

    def __init__(self, paths: Sequence[Path], size: int) -> None:
        self.paths = paths
        self.spec = InputSpec(height=size, width=size)
        self.transform = EvalTransform(self.spec)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.transform(open_image(self.paths[index], min_size=self.spec.min_decode_size))


def decode(bench: Bench) -> Iterator[tuple[str, str, float]]:
    """Decoding without a network."""
    paths = sorted(bench.photos.glob("train/*/*.jpg"))[: 50 * bench.steps]
    images = _Photographs(paths, bench.size)
    pixels = torch.stack([images[index] for index in range(len(images))])
    measured = {
        "one process": lambda: _epoch(bench, images, 0),
        f"{bench.workers} worker processes": lambda: _epoch(bench, images, bench.workers),
        "held decoded as uint8": lambda: _held(bench, pixels),
    }
    if bench.device.type == "cuda":
        measured["torchvision on the GPU"] = lambda: _on_gpu(bench, paths)
    yield from _medians("", in_turn(bench.rounds, measured))


def _epoch(bench: Bench, images: _Photographs, workers: int) -> float:
    loader = DataLoader(images, bench.batch_size, num_workers=workers, pin_memory=bench.device.type == "cuda")
    started = time.perf_counter()
    count = sum(len(batch.to(bench.device, non_blocking=True)) for batch in loader)
    bench.wait()
    return count / (time.perf_counter() - started)


def _held(bench: Bench, pixels: torch.Tensor) -> float:
    started = time.perf_counter()
    order = torch.randperm(len(pixels))
    for chosen in order.split(bench.batch_size):
        pixels[chosen].to(bench.device, non_blocking=True).float()
    bench.wait()
    return len(pixels) / (time.perf_counter() - started)


def _on_gpu(bench: Bench, paths: Sequence[Path]) -> float:
    started = time.perf_counter()
    files = [torchvision.io.read_file(str(path)) for path in paths]
    for start in range(0, len(files), bench.batch_size):
        decoded = torchvision.io.decode_jpeg(
            files[start : start + bench.batch_size], torchvision.io.ImageReadMode.RGB, device=bench.device
        )
        for image in decoded:
            torchvision.transforms.v2.functional.resize(image, [bench.size, bench.size])
    bench.wait()
    return len(files) / (time.perf_counter() - started)


def _medians(network: str, figures: dict[str, list[float]]) -> Iterator[tuple[str, str, float]]:
    for what, values in figures.items():
        yield network, what, statistics.median(values)


ROWS: dict[str, Callable[[Bench], Iterator[tuple[str, str, float]]]] = {
    "step": step,
    "train": train,
    "probe": probe,
    "decode": decode,
}


def device_in_words(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return (
        f"{name}, {usable_cores()} CPU cores, torch {torch.__version__}, torchvision {torchvision.__version__}, timm "
        f"{timm.__version__}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--photos", type=Path, required=True, help="images in train/CLASS/")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), help="by timm's names")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=50, help="of a measurement of the bare step")
    parser.add_argument("--workers", type=int, default=min(16, os.cpu_count() or 1))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--skip-compiled", action="store_true", help="leave out torch.compile")
    chosen = parser.parse_args(arguments)
    device = torch.device(chosen.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --size 32 --steps 2 tries it")
    print(f"{device_in_words(device)}; {chosen.size} px, batches of {chosen.batch_size}, {chosen.rounds} rounds\n")
    print("| network | what | images/s |\n|---|---|---|")
    bench = Bench(
        chosen.photos, device, chosen.size, chosen.batch_size, chosen.steps, chosen.workers, chosen.rounds,
        chosen.networks, not chosen.skip_compiled,
    )  # fmt: skip
    for row in chosen.rows or ROWS:
        for network, what, speed in ROWS[row](bench):
            print(f"| {network} | {what} | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
