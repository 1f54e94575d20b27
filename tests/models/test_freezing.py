import pytest

from tests.models.test_heads import meta_backbone
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.heads import attach_head


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("resnet18", "layer4"),
        ("vgg16", "features.24"),
        ("densenet121", "features.denseblock4"),
        ("vit_b_32", "encoder.layers.encoder_layer_11"),
        ("convnext_tiny", "features.7"),
        ("timm:efficientnet_b0", "blocks.6"),
        ("timm:vit_tiny_patch16_224", "blocks.11"),
    ],
)
def test_last_stage_begins_with_the_last_block(name: str, first: str):
    module, arch = meta_backbone(name)
    head = attach_head(module, arch, "swap", 5)
    names = trainable_modules(module, head, "last-stage")
    assert names[0] == first
    assert names[-1] == head[0].partition(".")[0]


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
