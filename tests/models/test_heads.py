import pytest
import torch
import torchvision
from torch import nn

from tests.helpers.networks import meta_backbone
from tl_toolkit.errors import ModelError
from tl_toolkit.models.backbones import Arch, blank_image, default_input_spec
from tl_toolkit.models.heads import attach_head, check_head

FAMILIES = [
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_y_400mf", "resnet18", "shufflenet_v2_x0_5", "swin_t",
    "vgg11", "vit_b_32", "timm:resnet18", "timm:vit_tiny_patch16_224", "timm:convnext_atto", "timm:efficientnet_b0",
    "timm:mobilenetv3_small_050", "timm:mixer_s32_224", "timm:regnetz_005", "timm:poolformer_s12",
]  # fmt: skip


def outputs(module: nn.Module, arch: Arch) -> int:
    spec = default_input_spec(arch)
    with torch.no_grad():
        return module.eval()(torch.empty(1, 3, spec.height, spec.width, device="meta")).shape[1]


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("head", ["swap", "append", "mlp"])
def test_attach_head_to_each_family_gives_the_classes(name: str, head: str):
    module, arch = meta_backbone(name)
    with torch.device("meta"):
        new = attach_head(module, arch, head, 7)
        assert outputs(module, arch) == 7
    assert new
    assert all(any(True for _ in module.get_submodule(part).parameters()) for part in new)


def test_attach_head_swap_on_vgg16_replaces_classifier_6():
    module, arch = meta_backbone("vgg16")
    assert attach_head(module, arch, "swap", 10) == ("classifier.6",)
    layer = module.classifier[6]
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (4096, 10)


def test_attach_head_append_on_vgg16_adds_a_linear_inside_the_classifier():
    module, arch = meta_backbone("vgg16")
    assert attach_head(module, arch, "append", 10) == ("classifier.Linear",)
    assert (module.classifier[6].out_features, module.classifier.Linear.in_features) == (1000, 1000)


def test_attach_head_append_on_resnet18_wraps_fc():
    module, arch = meta_backbone("resnet18")
    assert attach_head(module, arch, "append", 10) == ("fc.1",)
    assert [type(layer) for layer in module.fc] == [nn.Linear, nn.Linear]


def test_appended_linear_is_in_the_forward_while_one_added_to_the_vgg_itself_is_not():
    torch.manual_seed(0)
    trap = torchvision.models.vgg11(weights=None, init_weights=False).eval()
    trap.add_module("Linear", nn.Linear(1000, 10))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert trap(images).shape == (1, 1000)  # torchvision's forward never calls it
        ours = torchvision.models.vgg11(weights=None, init_weights=False).eval()
        attach_head(ours, Arch("torchvision", "vgg11"), "append", 10)
        before = ours(images)
        ours.classifier.Linear.weight.zero_()
        ours.classifier.Linear.bias.fill_(3.0)
        assert before.shape == (1, 10)
        assert torch.equal(ours(images), torch.full((1, 10), 3.0))


def test_check_head_of_a_vgg16_with_a_new_top_level_module_refuses_it():
    """vgg16_append_top, as tutorials try it first: counted and saved, but never called."""
    with torch.device("meta"):
        trap = torchvision.models.vgg16(weights=None, init_weights=False).eval()
        trap.add_module("add_linear", nn.Linear(1000, 10))
        assert "add_linear.weight" in trap.state_dict()
        with pytest.raises(ModelError, match=r'does not work with head="append": its output is \(1, 1000\)'):
            check_head(trap, Arch("torchvision", "vgg16"), "append", 10, torch.zeros(1, 3, 32, 32))


@pytest.mark.parametrize("head", ["append", "mlp"])
def test_attach_head_to_squeezenet_other_than_swap_says_why(head: str):
    module, arch = meta_backbone("squeezenet1_1")
    with pytest.raises(ModelError) as error:
        attach_head(module, arch, head, 10)
    assert str(error.value) == (
        f'head="{head}" needs a network that ends in a Linear, but torchvision:squeezenet1_1 ends in a Conv2d '
        '(classifier.1). Choose head="swap".'
    )
    with torch.device("meta"):
        attach_head(module, arch, "swap", 10)
    assert outputs(module, arch) == 10


def test_attach_head_append_to_two_classifiers_says_why():
    module, arch = meta_backbone("timm:deit_tiny_distilled_patch16_224")
    with pytest.raises(ModelError, match=r"has several classifiers \(head, head_dist\)"):
        attach_head(module, arch, "append", 10)
    with torch.device("meta"):
        assert attach_head(module, arch, "swap", 10) == ("head", "head_dist")
    assert outputs(module, arch) == 10


@pytest.mark.parametrize("head", ["swap", "append"])
def test_attach_head_to_an_encoder_without_a_classifier_says_so(head: str):
    module, arch = meta_backbone("timm:mobilenetv5_300m_enc")
    with pytest.raises(ModelError, match=r"timm:mobilenetv5_300m_enc"):
        attach_head(module, arch, head, 10)


def test_check_head_of_a_network_that_uses_its_classifier_otherwise_says_so():
    module, arch = meta_backbone("timm:levit_384_s8")
    with torch.device("meta"):
        attach_head(module, arch, "append", 10)
        with pytest.raises(ModelError, match=r'timm:levit_384_s8 does not work with head="append" .*\. Choose another'):
            check_head(module, arch, "append", 10, blank_image(default_input_spec(arch)))
