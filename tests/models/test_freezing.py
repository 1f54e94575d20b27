from collections.abc import Iterable

import pytest

from tests.helpers.networks import meta_backbone
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.heads import attach_head


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18", "layer4"),
        ("vgg16", "features.24"),
        ("densenet121", "features.denseblock3"),
        ("vit_b_32", "encoder.layers.encoder_layer_5"),
        ("convnext_tiny", "features.7"),
        ("swin_t", "features.7"),
        ("timm:efficientnet_b0", "blocks.5"),
        ("timm:tf_efficientnet_lite0", "blocks.5"),
        ("timm:vit_tiny_patch16_224", "blocks.5"),
        ("timm:resnet10t", "layer4"),
    ],
)
def test_last_stage_begins_with_the_blocks_that_hold_half_of_the_parameters(name: str, first: str):
    module, arch = meta_backbone(name)
    head = attach_head(module, arch, "swap", 5)
    names = trainable_modules(module, head, "last-stage")
    assert names[0] == first
    assert names[-1] == head[0].partition(".")[0]


@pytest.mark.parametrize("name", ["resnet50", "timm:tf_efficientnet_lite0", "vit_b_32", "googlenet", "inception_v3"])
def test_last_stage_is_no_larger_than_half_of_the_parameters_need(name: str):
    module, arch = meta_backbone(name)
    names = trainable_modules(module, attach_head(module, arch, "swap", 5), "last-stage")

    def size(modules: Iterable[str]) -> int:
        return sum(p.numel() for each in modules for p in module.get_submodule(each).parameters())

    whole = sum(p.numel() for p in module.parameters())
    assert size(names) > 0.5 * whole
    assert size(names[1:]) < 0.5 * whole


def test_freeze_except_leaves_the_gradient_to_the_named_modules():
    module, arch = meta_backbone("vgg16")
    head = attach_head(module, arch, "append", 5)
    freeze_except(module, trainable_modules(module, head, "linear-probe"))
    assert [name for name, p in module.named_parameters() if p.requires_grad] == [
        "classifier.Linear.weight",
        "classifier.Linear.bias",
    ]
    freeze_except(module, trainable_modules(module, head, "last-stage"))
    assert next(name for name, p in module.named_parameters() if p.requires_grad) == "features.24.weight"
    freeze_except(module, trainable_modules(module, head, "full"))
    assert all(parameter.requires_grad for parameter in module.parameters())
