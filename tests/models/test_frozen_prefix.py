import pytest
import timm
import torch
import torchvision
from torch import nn

from tl_toolkit.models.backbones import build_backbone, default_input_spec, resolve_arch
from tl_toolkit.models.freezing import trainable_modules
from tl_toolkit.models.frozen_prefix import find_prefix
from tl_toolkit.models.heads import attach_head

ARCHS = {
    ("resnet18", "linear-probe"): "fc",
    ("resnet18", "last-stage"): "layer4",
    ("alexnet", "linear-probe"): "classifier.6",
    ("alexnet", "last-stage"): "features.6",
    ("densenet121", "linear-probe"): "classifier",  # writes into the output of its features
    ("timm:resnet10t", "last-stage"): "layer4",
    ("timm:vit_tiny_patch16_224", "linear-probe"): "head",  # adds a parameter of the network's own
    ("timm:vit_tiny_patch16_224", "last-stage"): "blocks.5",
    ("lenet5", "linear-probe"): "classifier",
    ("plain18_digits", "last-stage"): "stages.3",
}


@pytest.mark.parametrize(("arch", "tune"), ARCHS)
def test_prefix_and_suffix_give_the_networks_logits(arch: str, tune: str):
    torch.manual_seed(0)
    resolved = resolve_arch(arch)
    spec = default_input_spec(resolved)
    size = 64 if arch in ("resnet18", "timm:resnet10t", "densenet121") else spec.height
    module = build_backbone(resolved, 10, spec).eval()
    trainable = trainable_modules(module, attach_head(module, resolved, "swap", 5), tune)
    images = torch.rand(3, spec.channels, size, size)
    prefix = find_prefix(module, trainable, images[:2])
    assert prefix is not None
    assert prefix.cut == ARCHS[arch, tune]
    features = prefix(images)
    with torch.no_grad():
        expected = module(images)
        with prefix.bypassed():
            torch.testing.assert_close(module(prefix.feed(features)), expected)
            torch.testing.assert_close(prefix(images), features)  # also between two calls of the suffix
        torch.testing.assert_close(module(images), expected)


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=4).eval()


def test_skipped_prefix_runs_none_of_its_modules():
    module = resnet()
    prefix = find_prefix(module, ("layer4", "fc"), torch.rand(2, 3, 32, 32))
    features = prefix(torch.rand(5, 3, 32, 32))
    module.layer2 = nn.Linear(1, 1)  # would fail
    with prefix.bypassed():
        assert module(prefix.feed(features)).shape == (5, 4)


def test_suffix_learns_as_the_whole_network_does():
    module, images = resnet(), torch.rand(4, 3, 32, 32)
    prefix = find_prefix(module, ("layer4", "fc"), images)
    module(images).sum().backward()
    expected = module.layer4[0].conv1.weight.grad.clone()
    module.zero_grad()
    with prefix.bypassed():
        module(prefix.feed(prefix(images))).sum().backward()
    torch.testing.assert_close(module.layer4[0].conv1.weight.grad, expected)
    assert module.layer3[0].conv1.weight.grad is None


def test_digest_changes_with_frozen_weights_alone():
    module = resnet()
    prefix = find_prefix(module, ("fc",), torch.rand(2, 3, 32, 32))
    before = prefix.digest()
    with torch.no_grad():
        module.fc.weight.add_(1)
        assert prefix.digest() == before
        module.layer1[0].bn1.running_mean.add_(1e-3)
    assert prefix.digest() != before


def test_find_prefix_without_a_single_cut_finds_none():
    assert find_prefix(resnet(), ("",), torch.rand(2, 3, 32, 32)) is None
    assert find_prefix(resnet(), ("conv1",), torch.rand(2, 3, 32, 32)) is None
    distilled = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=4).eval()
    assert find_prefix(distilled, ("head", "head_dist"), torch.rand(2, 3, 224, 224)) is None


def test_find_prefix_sees_what_bypasses_the_cut():
    class Bypass(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            between = self.first(images)
            return (self.second(between) + between).mean((2, 3))

    torch.manual_seed(0)
    assert find_prefix(Bypass().eval(), ("second",), torch.rand(2, 3, 8, 8)) is None
