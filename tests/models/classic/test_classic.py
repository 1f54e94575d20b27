import pytest
import timm
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tl_toolkit.errors import ModelError, UnknownNameError
from tl_toolkit.models.backbones import Arch, default_input_spec, list_archs, resolve_arch
from tl_toolkit.models.classic import CLASSIC
from tl_toolkit.models.classic.resnet_digits import Block, ResNetDigits, from_torchvision, to_torchvision


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def output_shapes(module: nn.Module, images: torch.Tensor, names: list[str]) -> list[tuple[int, ...]]:
    """Shapes of the outputs of some submodules, without the batch."""
    shapes: dict[str, tuple[int, ...]] = {}
    for name in names:
        module.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: shapes.update({name: tuple(output.shape[1:])})
        )
    with torch.no_grad():
        module.eval()(images)
    return [shapes[name] for name in names]


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        ("lenet5", {}, 61_706),
        ("lenet5_cifar", {}, 62_006),
        ("mlp_mnist", {}, 136_074),
        ("resnet18_digits", {}, 11_175_370),
        ("resnet18_digits", {"conv_bias": "first"}, 11_175_434),
        ("resnet18_digits", {"conv_bias": "all"}, 11_180_170),
        ("cifar10_cnn", {}, 145_578),
        ("cifar10_cnn", {"activation": "relu"}, 145_578),
    ],
)
def test_create_model_of_a_classic_network_has_the_parameters_of_the_tutorial(
    name: str, options: dict[str, str], parameters: int
):
    assert count(timm.create_model(name, **options)) == parameters


@pytest.mark.parametrize("name", CLASSIC)
def test_create_model_of_a_classic_network_speaks_timm(name: str):
    module = timm.create_model(name, num_classes=7)
    spec = default_input_spec(resolve_arch(name))
    images = torch.rand(2, spec.channels, spec.height, spec.width)
    features = module.forward_features(images)
    assert torch.equal(module.forward_head(features), module(images))
    assert module.forward_head(features, pre_logits=True).shape == (2, module.num_features)
    module.reset_classifier(3)
    assert module(images).shape == (2, 3)
    assert module.get_classifier().out_features == module.num_classes == 3
    module.reset_classifier(0)
    assert module(images).shape == (2, module.num_features)
    assert module.pretrained_cfg["architecture"] == name
    assert Arch("timm", name) in list_archs(name)
    assert not timm.is_model_pretrained(name)


def test_lenet5_has_the_sizes_of_the_paper_at_each_stage():
    names = [f"features.{name}" for name in ("conv1", "pool1", "conv2", "pool2", "conv3")]
    assert output_shapes(timm.create_model("lenet5"), torch.rand(1, 1, 28, 28), names) == [
        (6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5), (120, 1, 1),
    ]  # fmt: skip


def test_cifar10_cnn_without_activations_is_linear_but_for_its_pooling():
    kinds = {type(layer) for layer in timm.create_model("cifar10_cnn").modules() if not list(layer.children())}
    assert kinds == {nn.Conv2d, nn.MaxPool2d, nn.Flatten, nn.Linear}
    relus = [layer for layer in timm.create_model("cifar10_cnn", activation="relu").modules() if type(layer) is nn.ReLU]
    assert len(relus) == 4


def test_resnet18_digits_has_the_multiply_adds_of_the_tutorial():
    """35.56 M: the tutorial does not say how it counts.

    Convolutions and the Linear are 35.41 M, as torch counts them. With two operations for each output of a BatchNorm
    and one for each of a ReLU the sum is the tutorial's.
    """
    module = timm.create_model("resnet18_digits").eval()
    elements = {nn.BatchNorm2d: 0, nn.ReLU: 0}
    for layer in module.modules():
        if type(layer) in elements:
            layer.register_forward_hook(
                lambda layer, _, out: elements.update({type(layer): elements[type(layer)] + out.numel()})
            )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.zeros(1, 1, 32, 32))
    products = counter.get_total_flops() // 2
    assert products == 35_410_944
    assert round((products + 2 * elements[nn.BatchNorm2d] + elements[nn.ReLU]) / 1e6, 2) == 35.56


def test_plain18_digits_has_the_shapes_of_resnet18_and_no_shortcut():
    images = torch.rand(1, 1, 32, 32)
    names = ["stem.conv", "stem", *(f"stages.{index}" for index in range(4)), "classifier"]
    plain, residual = timm.create_model("plain18_digits"), timm.create_model("resnet18_digits")
    assert output_shapes(plain, images, names) == output_shapes(residual, images, names) == [
        (64, 16, 16), (64, 8, 8), (64, 8, 8), (128, 4, 4), (256, 2, 2), (512, 1, 1), (10,),
    ]  # fmt: skip
    assert not any("shortcut" in name for name, _ in plain.named_parameters())
    assert count(plain) == 11_001_546


@pytest.mark.parametrize("use_residual", [True, False])
def test_block_adds_its_input_only_where_it_is_residual(use_residual: bool):
    block = Block(4, 4, 1, use_residual, bias=False).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(1, 4, 5, 5)
    assert torch.equal(block(x), x if use_residual else torch.zeros_like(x))


def test_resnet18_digits_with_torchvisions_weights_gives_its_very_logits():
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    for norm in [layer for layer in theirs.modules() if isinstance(layer, nn.BatchNorm2d)]:
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    ours = timm.create_model("resnet18_digits", in_channels=3, num_classes=1000).eval()
    ours.load_state_dict(from_torchvision(theirs.state_dict()), strict=True)
    images = torch.randn(4, 3, 96, 96)
    with torch.no_grad():
        assert (ours(images) - theirs(images)).abs().max() == 0
    back = to_torchvision(ours.state_dict())
    assert list(back) == list(theirs.state_dict())
    assert all(torch.equal(back[key], tensor) for key, tensor in theirs.state_dict().items())


def test_from_torchvision_of_another_network_names_the_key():
    with pytest.raises(ModelError, match=r"layer1\.0\.conv3\.weight is not a key of torchvision's resnet18"):
        from_torchvision(torchvision.models.resnet50().state_dict())


def test_to_torchvision_of_an_appended_head_names_the_key():
    module = ResNetDigits()
    module.classifier = nn.Sequential(module.classifier, nn.Linear(10, 3))
    with pytest.raises(ModelError, match=r"classifier\.0\.weight is not a key of a resnet18_digits with a swapped"):
        to_torchvision(module.state_dict())


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lenet5", (2, 3, 28, 28), r"lenet5 takes images of shape \(N, 1, 28, 28\), not \(2, 3, 28, 28\)"),
        ("lenet5_cifar", (2, 3, 28, 28), r"lenet5_cifar takes images of shape \(N, 3, 32, 32\)"),
        ("mlp_mnist", (784,), r"mlp_mnist takes images of shape \(N, 1, 28, 28\), not \(784,\)"),
        ("cifar10_cnn", (3, 32, 32), r"cifar10_cnn takes images of shape \(N, 3, 32, 32\), not \(3, 32, 32\)"),
        ("resnet18_digits", (1, 3, 32, 32), r"ResNetDigits takes images of shape \(N, 1, H, W\), not \(1, 3, 32, 32\)"),
    ],
)
def test_forward_of_images_of_another_shape_says_which_it_takes(name: str, shape: tuple[int, ...], message: str):
    with pytest.raises(ModelError, match=message):
        timm.create_model(name)(torch.zeros(shape))


def test_create_model_with_an_option_it_does_not_have_names_it():
    with pytest.raises(
        UnknownNameError, match=r"No option of lenet5 is named 'use_residual'\. Choose from num_classes"
    ):
        timm.create_model("lenet5", use_residual=False)
    with pytest.raises(ModelError, match="activation of cifar10_cnn must be none or relu, not 'gelu'"):
        timm.create_model("cifar10_cnn", activation="gelu")
    with pytest.raises(ModelError, match="lenet5 has no pretrained weights: it is trained from scratch"):
        timm.create_model("lenet5", pretrained=True)


@pytest.mark.parametrize("name", CLASSIC)
def test_create_model_for_other_channels_takes_them(name: str):
    spec = default_input_spec(resolve_arch(name))
    channels = 4 - spec.channels
    module = timm.create_model(name, in_chans=channels)
    assert module.eval()(torch.rand(1, channels, spec.height, spec.width)).shape == (1, 10)
