import pytest
import timm
import torch
import torchvision
from torch import nn

from tests.helpers.networks import meta_backbone
from tl_toolkit.errors import ModelError, UnknownNameError, UsageError
from tl_toolkit.input_spec import IMAGENET_MEAN, InputSpec
from tl_toolkit.models.backbones import (
    Arch,
    adapt_first_conv,
    blank_image,
    build_backbone,
    check_input,
    default_input_spec,
    list_archs,
    resolve_arch,
)
from tl_toolkit.models.heads import attach_head, check_head


def test_resolve_arch_of_a_bare_name_prefers_torchvision():
    assert resolve_arch("resnet18") == Arch("torchvision", "resnet18")
    assert resolve_arch("timm:resnet18") == Arch("timm", "resnet18")
    assert resolve_arch("resnet18d") == Arch("timm", "resnet18d")
    assert resolve_arch("resnet50.a1_in1k") == Arch("timm", "resnet50.a1_in1k")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "No architecture is named 'resnet81'. Did you mean resnet18"),
        ("torchvision:resnet18d", "No architecture is named 'resnet18d'. Did you mean resnet18"),
        ("resnet50.a1_in2k", "No architecture is named"),
        ("keras:resnet50", "No model library is named 'keras'. Choose from torchvision, timm"),
    ],
)
def test_resolve_arch_of_an_unknown_name_suggests_the_nearest(name: str, message: str):
    with pytest.raises(UnknownNameError, match=message):
        resolve_arch(name)


def test_list_archs_matches_globs_and_parts():
    assert [str(arch) for arch in list_archs("vgg16*")][:2] == ["torchvision:vgg16", "torchvision:vgg16_bn"]
    assert {str(arch) for arch in list_archs("gg19_b")} == {"torchvision:vgg19_bn", "timm:vgg19_bn"}
    assert len(list_archs()) > 1200


def test_default_input_spec_is_the_librarys_own():
    assert default_input_spec(Arch("torchvision", "resnet18")) == InputSpec()
    assert default_input_spec(Arch("torchvision", "efficientnet_b2")).height == 288
    spec = default_input_spec(Arch("timm", "vit_base_patch16_384"))
    assert (spec.height, spec.crop_fraction, spec.interpolation) == (384, 1.0, "bicubic")
    assert default_input_spec(Arch("torchvision", "resnet50")).mean == IMAGENET_MEAN


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_input_spec_of_inception_does_what_torchvision_does_inside(name: str):
    torch.manual_seed(0)
    ours = build_backbone(Arch("torchvision", name), 10, InputSpec()).eval()
    theirs = torchvision.models.get_model(
        name, num_classes=10, aux_logits=False, init_weights=False, transform_input=True
    )
    theirs.load_state_dict(ours.state_dict())
    pixels = torch.rand(1, 3, 96, 96)
    imagenet = (pixels - torch.tensor(IMAGENET_MEAN).view(3, 1, 1)) / torch.tensor((0.229, 0.224, 0.225)).view(3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(ours((pixels - 0.5) / 0.5), theirs.eval()(imagenet), atol=1e-4, rtol=1e-4)


def test_adapt_first_conv_to_one_channel_sums_the_weights():
    module = torchvision.models.resnet18(num_classes=3).eval()
    before = module.conv1.weight.detach().clone()
    grey = torch.rand(2, 1, 32, 32)
    with torch.no_grad():
        expected = module(grey.expand(-1, 3, -1, -1))
        assert adapt_first_conv(module, 1) == "conv1"
        torch.testing.assert_close(module(grey), expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(module.conv1.weight.detach(), before.sum(1, keepdim=True))
    assert adapt_first_conv(module, 1) is None


def test_adapt_first_conv_of_a_network_without_one_refuses():
    with pytest.raises(ModelError, match="so it cannot take 1. Keep in_channels=3"):
        adapt_first_conv(nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), 1)


def test_build_backbone_of_a_vit_for_another_size_takes_that_size():
    for name in ("vit_b_32", "timm:vit_tiny_patch16_224"):
        arch = resolve_arch(name)
        module = build_backbone(arch, 5, InputSpec(height=64, width=64))
        assert module.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 5)


def test_check_input_of_a_size_that_does_not_fit_names_one_that_does():
    arch = Arch("torchvision", "alexnet")
    spec = InputSpec(height=16, width=16)
    with pytest.raises(ModelError, match=r"does not take images of 16x16 px \(.*\)\. Its own size is image_size=224"):
        check_input(build_backbone(arch, 5, spec), arch, spec)


@pytest.mark.slow
def test_every_network_is_built_and_its_head_changed_or_the_error_says_why():
    """All of torchvision's and timm's, without memory for their weights."""
    refused: list[str] = []
    changed = {"swap": 0, "append": 0}
    for arch in list_archs():
        spec = default_input_spec(arch)
        for head in changed:
            try:
                module, _ = meta_backbone(str(arch))
                with torch.device("meta"):
                    attach_head(module, arch, head, 7)
                    check_head(module, arch, head, 7, blank_image(spec))
                changed[head] += 1
            except ModelError as error:
                refused.append(f"{head}: {error}")
    print(f"{changed} of {len(list_archs())} networks (timm {timm.__version__}); refused:", *refused, sep="\n")
    assert changed["swap"] > 0.99 * len(list_archs())
    assert changed["append"] > 0.8 * len(list_archs())


@pytest.mark.parametrize("name", ["pretrained", "checkpoint_path", "pretrained_cfg_overlay"])
def test_resolve_arch_with_an_option_that_would_choose_weights_is_refused(name: str):
    with pytest.raises(UsageError, match=f"No network has the option {name}: weights says"):
        resolve_arch("timm:test_vit", {name: "evil.pth"})


def test_build_backbone_with_senseless_options_says_so():
    arch = resolve_arch("timm:test_vit", {"norm_layer": "no such", "block_fn": 3})
    with pytest.raises(ModelError, match="timm:test_vit cannot be built for 160x160 px"):
        build_backbone(arch, 3, default_input_spec(arch))
