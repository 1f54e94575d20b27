import functools
from typing import get_args

import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.config.choices import Head
from tl_toolkit.models.backbones import build_backbone, default_input_spec, resolve_arch
from tl_toolkit.models.build import BuiltModel, build_network, rebuild_network
from tl_toolkit.models.freezing import freeze_except, trainable_modules
from tl_toolkit.models.heads import attach_head, classifier_path
from tl_toolkit.models.weights.resolve import InputOverrides

ARCHS = ("lenet5", "mlp_mnist", "lenet5_cifar", "cifar10_cnn", "timm:test_vit", "timm:test_resnet")
HEADS = get_args(Head)


@functools.cache
def network(name: str, head: Head, classes: int) -> BuiltModel:
    torch.manual_seed(0)
    return build_network(resolve_arch(name), classes, head, "none", InputOverrides())


@given(name=st.sampled_from(ARCHS), head=st.sampled_from(HEADS), classes=st.integers(1, 40))
def test_network_with_any_head_can_be_saved_rebuilt_and_gives_the_same_logits(name: str, head: Head, classes: int):
    built = network(name, head, classes)
    spec = built.input_spec
    again = rebuild_network(built.arch, classes, head, built.base_classes, spec)[0].eval()
    assert again.load_state_dict(built.module.state_dict(), strict=True)
    images = torch.rand(2, spec.channels, spec.height, spec.width, generator=torch.Generator().manual_seed(classes))
    with torch.inference_mode():
        logits = built.module(images)
        assert logits.shape == (2, classes)
        assert torch.equal(again(images), logits)


@given(name=st.sampled_from(ARCHS), head=st.sampled_from(HEADS), classes=st.integers(1, 9))
def test_head_surgery_leaves_all_but_the_classifier_as_it_was(name: str, head: Head, classes: int):
    arch = resolve_arch(name)
    module = build_backbone(arch, 10, default_input_spec(arch))
    path = classifier_path(module, arch)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    new = attach_head(module, arch, head, classes)
    after = module.state_dict()
    inside = (f"{path}.", *(f"{part}." for part in new))
    assert {key for key in after if not key.startswith(inside)} == {key for key in before if not key.startswith(inside)}
    assert all(torch.equal(after[key], value) for key, value in before.items() if not key.startswith(inside))
    if head == "append":  # The old logits are still computed, by the old classifier.
        old = [value for key, value in before.items() if key.startswith(inside)]
        kept = [value for key, value in after.items() if key.startswith(f"{path}.") and not key.startswith(inside[1:])]
        assert len(old) == len(kept) == 2
        assert all(torch.equal(one, other) for one, other in zip(old, kept, strict=True))


@given(name=st.sampled_from(ARCHS), head=st.sampled_from(HEADS), classes=st.integers(1, 9))
def test_linear_probe_of_any_head_trains_the_new_modules_alone(name: str, head: Head, classes: int):
    built = network(name, head, classes)
    freeze_except(built.module, trainable_modules(built.module, built.head_modules, "linear-probe"))
    inside = tuple(f"{part}." for part in built.head_modules)
    parameters = dict(built.module.named_parameters())
    assert {key for key, value in parameters.items() if value.requires_grad} == {
        key for key in parameters if key.startswith(inside)
    }
