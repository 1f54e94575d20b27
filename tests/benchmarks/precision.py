"""Forward passes and training steps in bf16 and in float32, and what --precision auto makes of each network.

    python -m tests.benchmarks.precision [--rounds 5] [--batch-size 16] [NETWORK...]

The two take turns within one process. Beside other programs set OMP_NUM_THREADS=1: the figures are images per second
of the processor's time, which then hardly depends on them.
"""

import argparse
import statistics
import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.table import Table

from tl_toolkit.models.backbones import default_input_spec, resolve_arch
from tl_toolkit.models.build import build_network
from tl_toolkit.models.weights.resolve import InputOverrides
from tl_toolkit.training.device import DeviceSetup, select_device

NETWORKS = (
    *("resnet18", "vgg11", "tf_efficientnet_lite0", "mobilenetv3_small_100", "regnety_004", "convnext_atto", "lenet5"),
    *("vit_tiny_patch16_224", "mobilenet_v2", "densenet121", "shufflenet_v2_x1_0", "resnext50_32x4d", "mnasnet1_0"),
)
PRECISIONS = ("bf16", "fp32")


class Work:
    """A network in one precision.

    Args:
        name: The network.
        precision: "bf16" or "fp32".
        batch_size: Images in a step.
    """

    def __init__(self, name: str, precision: str, batch_size: int) -> None:
        arch = resolve_arch(name)
        spec = default_input_spec(arch)
        torch.manual_seed(0)
        self.module = build_network(arch, 10, "swap", "none", InputOverrides()).module
        self.compute: DeviceSetup = select_device("cpu", precision, self.module)
        self.compute.place(self.module)
        self.images = self.compute.to_memory_format(torch.randn(batch_size, spec.channels, spec.height, spec.width))
        self.targets = torch.arange(batch_size) % 10
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.001)

    def forward(self) -> None:
        self.module.eval()
        with self.compute.inference():
            self.module(self.images)

    def training(self) -> None:
        self.module.train()
        with self.compute.training_autocast():
            logits = self.module(self.images)
        torch.nn.functional.cross_entropy(logits.float(), self.targets).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of any library; {', '.join(NETWORKS)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=16)
    chosen = parser.parse_args(arguments)
    table = Table(
        "", "bf16, images/s", "fp32, images/s", "ratio", "auto", "", title=f"{torch.get_num_threads()} threads"
    )
    for name in chosen.networks or NETWORKS:
        works = {precision: Work(name, precision, chosen.batch_size) for precision in PRECISIONS}
        auto = select_device("cpu", "auto", works["bf16"].module)
        for kind, picked in (("forward", auto.precision), ("training", auto.training_precision)):
            seconds: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
            for number in range(chosen.rounds + 1):
                for precision, work in works.items():
                    started = time.process_time()
                    getattr(work, kind)()
                    if number:  # The first takes memory.
                        seconds[precision].append(time.process_time() - started)
            rate = {
                key: torch.get_num_threads() * chosen.batch_size / statistics.median(v) for key, v in seconds.items()
            }
            ratio = rate["bf16"] / rate["fp32"]
            right = (ratio > 1) == (picked == "bf16")
            shown = [f"{name}, {kind}", f"{rate['bf16']:,.1f}", f"{rate['fp32']:,.1f}", f"{ratio:.2f}x", picked]
            table.add_row(*shown, "" if right else "slower")
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
