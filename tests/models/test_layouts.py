"""The same network in torchvision and in timm."""

import re

import pytest
import timm
import torch
import torchvision
from torch import nn

from tl_toolkit.errors import ModelError, UsageError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import Arch, Library, resolve_arch
from tl_toolkit.models.layouts import TWINS, counterpart, renamed
from tl_toolkit.models.plain_code import PlainNetwork


def with_other_weights(module: nn.Module) -> nn.Module:
    """Fill a network so that no two tensors are alike, and activations neither vanish nor grow."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        scaling = tensor.ndim == 1 and name.endswith(("weight", "var"))
        tensor.copy_(torch.rand_like(tensor) + 0.5 if scaling else torch.randn_like(tensor) * 0.1)
        if tensor.ndim > 1:
            tensor.mul_(10 / tensor[0].numel() ** 0.5)
    return module.eval()


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_b0", "mobilenet_v3_small", "mnasnet0_5", "regnet_y_400mf", "vit_b_32"]
)
def test_network_of_torchvision_gives_its_logits_in_timm_and_has_its_keys_again_after(name: str):
    spec = InputSpec() if name.startswith("vit") else InputSpec(height=64, width=64)
    ours, theirs = Arch("torchvision", name), counterpart(Arch("torchvision", name), "timm")
    first = PlainNetwork(ours, "append", 1000, 3, spec)
    module = with_other_weights(first.build())
    other, back = PlainNetwork(theirs, "append", 1000, 3, spec).build(), first.build()
    other.load_state_dict(renamed(module.state_dict(), other.state_dict()), strict=True)
    back.load_state_dict(renamed(other.state_dict(), back.state_dict()), strict=True)
    images = torch.randn(2, 3, spec.height, spec.width)
    with torch.inference_mode():
        expected = module(images)
        assert (other(images) - expected).abs().max() <= 1e-5 * max(1, expected.abs().max())
        assert torch.equal(back(images), expected)


def test_names_of_both_libraries_exist():
    assert [name for name in TWINS if name not in torchvision.models.list_models()] == []
    assert [name for name, _ in TWINS.values() if not timm.is_model(name)] == []


def test_counterpart_of_a_network_of_timm_with_its_own_epsilon_is_none():
    assert counterpart(Arch("torchvision", "mobilenet_v3_small"), "timm").options == {"bn_eps": 1e-3}
    with pytest.raises(UsageError, match="No network of torchvision is known to be the same as timm:mobilenetv3_small"):
        counterpart(Arch("timm", "mobilenetv3_small_100"), "torchvision")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_counterpart_of_a_resnet18_for_digits_is_resnet18(library: Library):
    assert counterpart(resolve_arch("resnet18_digits"), library) == Arch(library, "resnet18")


def test_counterpart_in_its_own_library_is_the_network_itself_with_its_options():
    arch = resolve_arch("timm:resnet18.a1_in1k", {"drop_path_rate": 0.1})
    assert counterpart(arch, "timm") is arch
    assert counterpart(resolve_arch("timm:resnet18.a1_in1k"), "torchvision") == Arch("torchvision", "resnet18")


@pytest.mark.parametrize(
    ("name", "library"),
    [
        ("squeezenet1_0", "timm"),
        ("tf_efficientnet_lite0", "torchvision"),
        ("lenet5", "timm"),
        ("lenet5", "torchvision"),
        ("plain18_digits", "torchvision"),
    ],
)
def test_counterpart_of_a_network_that_has_none_refuses(name: str, library: Library):
    arch = resolve_arch(name)
    wanted = (
        f'No network of {library} is known to be the same as {arch}: leave layout="{library}" out, and the weights '
        "have the names that the network itself has."
    )
    with pytest.raises(UsageError, match=re.escape(wanted)):
        counterpart(arch, library)


def test_counterpart_of_a_network_with_options_refuses():
    with pytest.raises(UsageError, match=r"this timm:resnet18_digits has the options conv_bias\. Leave it out"):
        counterpart(resolve_arch("resnet18_digits", {"conv_bias": "all"}), "torchvision")


def test_renamed_weights_of_another_shape_refuse():
    for other in (nn.Linear(5, 3), nn.Linear(4, 3, bias=False)):
        with pytest.raises(ModelError, match="^its network of that name has other layers$"):
            renamed(nn.Linear(4, 3).state_dict(), other.state_dict())
