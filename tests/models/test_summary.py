from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.summary import count_parameters, summarize


def test_summarize_resnet18_counts_as_its_paper_does():
    summary = summarize(resolve_arch("resnet18"), depth=1)
    assert summary.parameters == 11_689_512
    assert 1.8e9 < summary.multiply_adds < 1.83e9
    layers = {layer.name: layer for layer in summary.layers}
    assert layers["layer4"].output == (512, 7, 7)
    assert layers["fc"].multiply_adds == 512_000
    inside = sum(layer.multiply_adds for layer in summary.layers)
    assert inside == summary.multiply_adds


def test_count_parameters_needs_no_memory_for_them():
    assert count_parameters(resolve_arch("vgg16")) == 138_357_544


def test_summarize_counts_attention_and_every_token():
    summary = summarize(resolve_arch("vit_b_32"), depth=2)
    published = 4.41e9  # torchvision.models.ViT_B_32_Weights.IMAGENET1K_V1.meta["_ops"]
    assert abs(summary.multiply_adds - published) < 0.02 * published
    assert {layer.name: layer for layer in summary.layers}["layers"].multiply_adds > 0.9 * summary.multiply_adds
