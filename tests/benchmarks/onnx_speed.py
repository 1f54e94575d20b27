"""A network in ONNX, fp32 and int8, beside the same network in torch, on two cores of a CPU.

    python -m tests.benchmarks.onnx_speed --model RUN --image PHOTO [--cores 2] [--rounds 5] [--seconds 5]

The run is exported by `tl export --to onnx`, once in fp32 and once with `--dtype int8`. Then every form of it is
measured in a new process, with so many threads, and all forms take turns in each round:

- images each second, in batches of 32, and the median time of a single image: the network alone, of inputs that are
  ready;
- from the start of `tl predict --model FORM PHOTO` to its end: Python, libraries, weights, decoding and one image.

torch is measured in fp32 and in bf16, which `tl` computes in by itself where the CPU does; memory is in the format that
`tl` chooses. On a machine with other work the figures say little: look at their lowest and highest. The
ratio says how many times better int8 is.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from tests.benchmarks.timing import in_turn, run, show
from tl_toolkit.system.cores import usable_cores

BATCH, WARM_UPS = 32, 3

FORMS = ("torch fp32", "torch bf16", "ONNX fp32", "ONNX int8")

Network = Callable[[NDArray[np.float32]], object]


def in_torch(model: Path, precision: str, threads: int) -> tuple[Network, tuple[int, ...]]:
    """Opens a run in torch: what runs a batch, and the shape of an image."""
    import torch

    import tl_toolkit as tl

    torch.set_num_threads(threads)
    loaded = tl.load(model, device="cpu", precision=precision)
    spec = loaded.input_spec
    return lambda batch: loaded.logits(torch.from_numpy(batch)), (spec.channels, spec.height, spec.width)


def in_onnx(file: Path, threads: int) -> tuple[Network, tuple[int, ...]]:
    """Opens a file in ONNX Runtime, likewise."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return lambda batch: session.run(["logits"], {"images": batch}), tuple(session.get_inputs()[0].shape[1:])


def measure(network: Network, shape: tuple[int, ...], seconds: float) -> dict[str, float]:
    """The speed of a network: images each second in batches, and milliseconds of a single one."""
    images = np.random.default_rng(0).standard_normal((BATCH, *shape)).astype(np.float32)
    return {
        "images_per_second": BATCH / statistics.median(durations(network, images, seconds)),
        "milliseconds": 1000 * statistics.median(durations(network, images[:1], seconds)),
    }


def durations(network: Network, images: NDArray[np.float32], seconds: float) -> list[float]:
    """Seconds of each call, for so long."""
    for _ in range(WARM_UPS):
        network(images)
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        network(images)
        found.append(time.perf_counter() - start)
    return found


def export_forms(model: Path, folder: Path) -> dict[str, Path]:
    """Where each form of the run is."""
    files = {"torch fp32": model, "torch bf16": model}
    for dtype in ("fp32", "int8"):
        files[f"ONNX {dtype}"] = out = folder / f"{dtype}.onnx"
        options = ("--dtype", dtype, "--allow-loss", "--out", out, "--json")
        run([sys.executable, "-m", "tl_toolkit", "export", model, "--to", "onnx", *options])
    return files


def weights_file(form: Path) -> Path:
    """The file that holds the weights of a form."""
    return form / "model.safetensors" if form.is_dir() else form


def compare(model: Path, image: Path, cores: int, rounds: int, seconds: float) -> None:
    """Prints the tables."""
    threads: Mapping[str, str] = {"OMP_NUM_THREADS": str(cores)}
    with tempfile.TemporaryDirectory() as folder:
        files = export_forms(model, Path(folder))

        def speed(form: str) -> dict[str, float]:
            command = ["-m", "tests.benchmarks.onnx_speed", "--model", files[form], "--form", form]
            done = run([sys.executable, *command, "--cores", cores, "--seconds", seconds], threads)
            return done.lines[-1]  # type: ignore[return-value]

        def start_up(form: str) -> float:
            precision = () if form.startswith("ONNX") else ("--precision", form.removeprefix("torch "))
            command = [sys.executable, "-m", "tl_toolkit", "predict", "--model", files[form], image, *precision]
            return run(command, threads).seconds

        speeds: dict[str, list[dict[str, float]]] = {form: [] for form in FORMS}
        for _ in range(rounds):
            for form in FORMS:
                speeds[form].append(speed(form))
        starts = in_turn(rounds, {form: lambda form=form: start_up(form) for form in FORMS})  # type: ignore[misc]
        sizes = {form: weights_file(path).stat().st_size for form, path in files.items()}
        note = json.loads(files["ONNX int8"].with_name("int8.onnx.json").read_text(encoding="utf-8"))

    def of(figure: str) -> dict[str, list[float]]:
        return {form: [each[figure] for each in found] for form, found in speeds.items()}

    show(f"Batches of {BATCH}, {cores} threads", "images/s", of("images_per_second"), "ONNX int8", True)
    show(f"One image, {cores} threads", "ms", of("milliseconds"), "ONNX int8", False)
    show("tl predict, one photograph", "s", starts, "ONNX int8", False)
    table = Table("", "MB", title="Size of the file")
    for form, size in sizes.items():
        table.add_row(form, f"{size / 1e6:.1f}")
    Console().print(table)
    lost = note["quantization"]
    before, after = (f"{100 * lost[when]['value']:.1f} %" for when in ("before", "after"))
    print(f"{lost['figure']} on {lost['images']} images of val: {before} in fp32, {after} in int8")


def main() -> None:
    """Measure one form in this process, or all of them in others."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--image", type=Path)
    parser.add_argument("--cores", type=int, default=min(2, usable_cores()))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--form", choices=FORMS)
    arguments = parser.parse_args()
    if arguments.form:
        kind, _, precision = arguments.form.partition(" ")
        opened = (
            in_onnx(arguments.model, arguments.cores)
            if kind == "ONNX"
            else in_torch(arguments.model, precision, arguments.cores)
        )
        print(json.dumps(measure(*opened, arguments.seconds)))
    elif arguments.image is None:
        parser.error("--image: a photograph for tl predict")
    else:
        compare(arguments.model, arguments.image, arguments.cores, arguments.rounds, arguments.seconds)


if __name__ == "__main__":
    main()
