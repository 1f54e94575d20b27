import pytest
import timm
import torch
from torch import nn

from tl_toolkit.errors import ModelError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import Arch, default_input_spec, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.layouts import TWINS
from tl_toolkit.models.timm_twin import TimmTwin, timm_twin

QUICK = (
    "resnet18",
    "vgg11",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "efficientnet_b0",
    "regnet_y_400mf",
    "convnext_tiny",
)


def network(name: str, head: str, spec: InputSpec | None = None) -> tuple[nn.Module, TimmTwin]:
    """A network with random weights and statistics that keep outputs of the order of 1, and its twin."""
    arch = resolve_arch(name)
    spec = spec or default_input_spec(arch)
    module, head_modules = rebuild_network(arch, 3, head, 1000, spec)
    torch.manual_seed(0)
    for key, tensor in module.state_dict().items():
        if "running_var" in key:
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() > 1:
            tensor.normal_(0, (1.6 / tensor[0].numel()) ** 0.5)
        elif tensor.is_floating_point():
            tensor.uniform_(0.5, 1.2) if key.endswith("weight") else tensor.normal_(0, 0.1)
    return module.eval(), timm_twin(module, arch, head, head_modules, 3, spec)


def largest_difference(module: nn.Module, twin: TimmTwin, spec: InputSpec) -> tuple[float, float]:
    """The largest difference of an output, and the largest output."""
    images = torch.randn(2, spec.channels, spec.height, spec.width)
    with torch.inference_mode():
        ours, theirs = module(images), twin.module(images)
    return float((ours - theirs).abs().max()), float(ours.abs().max())


@pytest.mark.parametrize("name", QUICK)
def test_twin_of_a_torchvision_network_has_timms_names_and_the_same_outputs(name: str):
    module, twin = network(name, "swap")
    theirs = timm.create_model(TWINS[name][0], num_classes=3, **TWINS[name][1])
    assert twin.module.state_dict().keys() == theirs.state_dict().keys()
    difference, largest = largest_difference(module, twin, default_input_spec(resolve_arch(name)))
    assert difference <= 1e-5 * max(1, largest)
    assert twin.changed == ""


@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v3_small", "timm:test_resnet", "timm:test_vit"])
def test_twin_of_an_appended_head_has_one_linear_with_the_same_outputs(name: str):
    module, twin = network(name, "append")
    assert isinstance(twin.module.get_submodule(twin.classifier), nn.Linear)
    difference, largest = largest_difference(module, twin, default_input_spec(resolve_arch(name)))
    assert 0 < difference <= 1e-5 * max(1, largest)
    assert twin.changed == "The appended Linear and the one before it are one."


def test_twin_of_resnet18_digits_is_timms_resnet18():
    spec = InputSpec(channels=1, height=32, width=32, mean=(0.0,), std=(1.0,))
    module, twin = network("resnet18_digits", "swap", spec)
    assert str(twin.arch) == "timm:resnet18"
    assert largest_difference(module, twin, spec)[0] == 0


@pytest.mark.parametrize(
    ("name", "head", "reason"),
    [
        ("lenet5", "swap", "it has no lenet5"),
        ("squeezenet1_0", "swap", "it has no squeezenet1_0"),
        ("plain18_digits", "swap", "it has no plain18_digits"),
        ("resnet18", "mlp", 'its networks end in one Linear, and head="mlp" has two'),
    ],
)
def test_twin_of_what_timm_has_not_says_why(name: str, head: str, reason: str):
    spec = InputSpec(channels=1, height=32, width=32, mean=(0.0,), std=(1.0,)) if "digits" in name else None
    with pytest.raises(ModelError) as caught:
        network(name, head, spec or default_input_spec(resolve_arch(name)))
    assert str(caught.value) == reason


def test_twin_of_a_network_with_options_of_its_own_is_refused():
    arch = Arch("torchvision", "resnet18", {"zero_init_residual": True})
    module, head_modules = rebuild_network(arch, 3, "swap", 1000, InputSpec())
    with pytest.raises(ModelError, match="its resnet18 has other options than zero_init_residual"):
        timm_twin(module, arch, "swap", head_modules, 3, InputSpec())


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in TWINS if name not in QUICK])
def test_every_twin_has_the_same_outputs(name: str):
    module, twin = network(name, "swap")
    difference, largest = largest_difference(module, twin, default_input_spec(resolve_arch(name)))
    assert difference <= 1e-5 * max(1, largest)
