"""What the tuned allocator gives: speed and peak memory of forward passes and training steps, each in its own process.

    python -m tests.benchmarks.allocator [--rounds 3] [--batch-size 32] [NETWORK...]

The processes alternate between TL_ALLOCATOR=tuned and system. Beside other programs set OMP_NUM_THREADS=1: the
figures are images per second of the processor's time, which then hardly depends on them.
"""

import argparse
import itertools
import os
import statistics
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.benchmarks.timing import run

NETWORKS = ("tf_efficientnet_lite0", "resnet18", "mobilenetv3_small_100", "regnety_004", "convnext_atto")
WORK = ("features", "training")
SETTINGS = ("tuned", "system")
STEPS = 6
MEASURE = f"""
import json, resource, statistics, sys, time
import torch
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import build_network
from tl_toolkit.models.weights.resolve import Overrides
from tl_toolkit.training.device import choose_compute

name, work, batch_size = sys.argv[1], sys.argv[2], int(sys.argv[3])
torch.manual_seed(0)
compute = choose_compute("cpu", "auto")
module = compute.place(build_network(resolve_arch(name), 10, "swap", "none", Overrides()).module)
images = compute.lay_out(torch.randn(batch_size, 3, 224, 224))
targets = torch.arange(batch_size) % 10
optimizer = torch.optim.SGD(module.parameters(), lr=0.01, momentum=0.9)

def features():
    with compute.inference():
        module(images)

def training():
    with compute.autocast():
        logits = module(images)
    torch.nn.functional.cross_entropy(logits.float(), targets).backward()
    optimizer.step()
    optimizer.zero_grad()

module.train(work == "training")
step = globals()[work]
step()
seconds = []
for _ in range({STEPS}):
    started = time.process_time()
    step()
    seconds.append(time.process_time() - started)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({{"rate": batch_size * torch.get_num_threads() / statistics.median(seconds), "peak": peak}}))
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of any library; {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32)
    chosen = parser.parse_args(arguments)
    table = Table(
        "", "tuned, images/s", "system, images/s", "ratio", "lowest", "highest", "tuned, MiB", "system, MiB", ""
    )
    for name, work in itertools.product(chosen.networks or NETWORKS, WORK):
        rates: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        peaks: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        for _ in range(chosen.rounds):
            for setting in SETTINGS:
                command = [sys.executable, "-c", MEASURE, name, work, chosen.batch_size]
                [line] = run(command, {"TL_ALLOCATOR": setting}).lines
                rates[setting].append(float(str(line["rate"])))
                peaks[setting].append(float(str(line["peak"])))
        ratios = [tuned / system for tuned, system in zip(rates["tuned"], rates["system"], strict=True)]
        rate, peak = ({key: statistics.median(values) for key, values in each.items()} for each in (rates, peaks))
        table.add_row(
            f"{name}, {work}",
            *(f"{rate[setting]:.1f}" for setting in SETTINGS),
            *(f"{ratio:.2f}x" for ratio in (statistics.median(ratios), min(ratios), max(ratios))),
            *(f"{peak[setting]:,.0f}" for setting in SETTINGS),
            f"{peak['tuned'] / peak['system'] - 1:+.0%}",
        )
    threads = os.environ.get("OMP_NUM_THREADS", "all")
    table.title = f"Batches of {chosen.batch_size}, {threads} threads, {chosen.rounds} rounds of {STEPS} steps"
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
