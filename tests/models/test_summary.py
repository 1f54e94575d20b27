from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.summary import count_parameters, summarize


def test_summarize_resnet18_counts_as_its_paper_does():
    summary = summarize(resolve_arch("resnet18"), depth=1)
    assert summary.parameters == 11_689_512
    assert 1.8e9 < summary.multiply_adds < 1.83e9
    layers = {layer.name: layer for layer in summary.layers}
    assert layers["layer4"].output == (512, 7, 7)
    assert layers["fc"].multiply_adds == 513_000
    inside = sum(layer.multiply_adds for layer in summary.layers)
    assert inside == summary.multiply_adds


def test_count_parameters_needs_no_memory_for_them():
    assert count_parameters(resolve_arch("vgg16")) == 138_357_544
