"""Plain code builds the network that a model's weights are of."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tl_toolkit.config.choices import Head
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.plain_code import PlainNetwork

SMALL = InputSpec(height=64, width=64)
GRAY = InputSpec(1, 28, 28)

NETWORKS = [
    ("resnet18", "append", 1000, InputSpec(1, 64, 64)),
    ("squeezenet1_0", "swap", 1000, SMALL),
    ("mobilenet_v2", "mlp", 1000, SMALL),
    ("inception_v3", "append", 1000, InputSpec(height=299, width=299)),
    ("torchvision:vit_b_16", "swap", 1000, InputSpec(height=32, width=32)),
    ("timm:mobilenetv3_small_100", "append", 1000, InputSpec(1, 64, 64)),
    ("timm:vit_tiny_patch16_224", "mlp", 1000, SMALL),
    ("timm:test_resnet", "swap", 1000, SMALL),
    ("lenet5", "swap", 10, GRAY),
    ("lenet5", "append", 10, InputSpec(3, 28, 28)),
    ("cifar10_cnn", "mlp", 10, InputSpec(3, 32, 32)),
    ("resnet18_digits", "append", 10, InputSpec(3, 32, 32)),
]


def shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(("name", "head", "base", "spec"), NETWORKS)
def test_plain_network_has_the_keys_of_the_toolkits_in_code_and_as_object(
    name: str, head: Head, base: int, spec: InputSpec
):
    network = PlainNetwork(resolve_arch(name), head, base, 5, spec)
    expected = shapes(rebuild_network(network.arch, 5, head, base, spec)[0])
    assert shapes(network.build()) == expected
    written: dict[str, Any] = {}
    exec("\n".join(network.code()), written)
    assert shapes(written["model"]) == expected


def test_plain_code_of_a_vgg_is_the_tutorials():
    code = PlainNetwork(resolve_arch("vgg16"), "append", 1000, 10, SMALL).code()
    assert code == [
        "import torch",
        "import torchvision",
        "",
        "model = torchvision.models.vgg16(num_classes=1000)",
        'model.classifier.add_module("Linear", torch.nn.Linear(1000, 10))',
    ]


def test_plain_code_passes_options_and_a_size_that_the_network_is_built_for():
    arch = resolve_arch("timm:vit_tiny_patch16_224", {"drop_path_rate": 0.1})
    code = PlainNetwork(arch, "swap", 1000, 2, InputSpec(1, 64, 96)).code()
    call = 'timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=(64, 96), in_chans=1, drop_path_rate=0.1)'
    assert code[-1] == f"model = {call}"


def test_plain_network_leaves_the_random_numbers_of_the_process_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    PlainNetwork(resolve_arch("lenet5"), "append", 10, 5, GRAY).build()
    assert torch.equal(torch.rand(1), expected)


def test_plain_code_of_a_network_in_a_row_needs_torch_alone(tmp_path: Path):
    code = PlainNetwork(resolve_arch("lenet5"), "append", 10, 3, GRAY).code()
    code += ["import sys", 'print({"tl_toolkit", "timm"} & set(sys.modules), model(torch.zeros(2, 1, 28, 28)).shape)']
    done = subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout == "set() torch.Size([2, 3])\n", done.stderr
