import pytest
import timm
import torch
import torchinfo
import torchvision
from torch import nn

from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.multiply_adds import count_multiply_adds

SMALL = InputSpec(height=64, width=64)


def test_count_multiply_adds_of_layers_is_what_the_formulas_give():
    module = nn.Sequential()
    module.add_module("conv", nn.Conv2d(3, 8, 3, stride=2, padding=1))
    module.add_module("flatten", nn.Flatten())
    module.add_module("linear", nn.Linear(8 * 32 * 32, 10))
    counts = count_multiply_adds(module, SMALL)
    conv, linear = 8 * 3 * 9 * 32 * 32, 8 * 32 * 32 * 10
    assert (counts["conv"], counts["linear"], counts[""]) == (conv, linear, conv + linear)


def test_count_multiply_adds_of_a_resnet_adds_up_over_its_children():
    module = torchvision.models.resnet18().eval()
    counts = count_multiply_adds(module, SMALL)
    assert counts[""] == sum(counts.get(name, 0) for name, _ in module.named_children())
    assert counts["layer4"] == counts["layer4.0"] + counts["layer4.1"]
    told = torchinfo.summary(module, (1, 3, 64, 64), verbose=0).total_mult_adds
    assert counts[""] == pytest.approx(told, rel=0.01)


def test_count_multiply_adds_of_a_larger_input_grows_with_its_area():
    module = torchvision.models.resnet18().eval()
    small, large = (count_multiply_adds(module, InputSpec(height=side, width=side))[""] for side in (64, 128))
    assert large == pytest.approx(4 * small, rel=0.01)


def test_count_multiply_adds_of_a_transformer_counts_its_attention():
    """From the published figure of DeiT-Tiny: 1.3 billion."""
    module = timm.create_model("vit_tiny_patch16_224").eval()
    counts = count_multiply_adds(module, InputSpec())
    assert counts[""] == pytest.approx(1.26e9, rel=0.05)
    tokens, width = 197, 192
    linears = 12 * width * width * tokens
    assert counts["blocks.0"] == pytest.approx(linears + 2 * tokens * tokens * width, rel=0.01)


def test_count_multiply_adds_of_torchs_own_transformer_does_not_lose_its_fused_layers():
    module = torchvision.models.VisionTransformer(64, 16, 2, 2, 32, 64).eval()
    fast_path = torch.backends.mha.get_fastpath_enabled()
    counts = count_multiply_adds(module, SMALL)
    assert torch.backends.mha.get_fastpath_enabled() == fast_path
    tokens, width = 17, 32
    block = tokens * (4 * width * width + 2 * width * 64) + 2 * tokens * tokens * width
    assert counts["encoder.layers.encoder_layer_0"] == pytest.approx(block, rel=0.01)
