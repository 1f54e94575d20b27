import pytest
import torch

import tl_toolkit as tl
from tl_toolkit.models.backbones import resolve_arch
from tl_toolkit.models.build import build_network, rebuild_network
from tl_toolkit.models.weights.resolve import InputOverrides


def test_build_model_gives_the_plain_library_module():
    model = tl.build_model("resnet18", 5, weights="bundled", in_channels=1)
    assert type(model).__module__ == "torchvision.models.resnet"
    with torch.no_grad():
        assert model(torch.rand(2, 1, 64, 64)).shape == (2, 5)


def test_build_model_append_keeps_the_pretrained_logits():
    model = tl.build_model("resnet18", 5, head="append", weights="bundled")
    assert (model.fc[0].out_features, model.fc[1].in_features) == (200, 200)


@pytest.mark.parametrize("head", ["swap", "append", "mlp"])
def test_build_model_is_all_in_eval_mode(head: str):
    model = tl.build_model("resnet18", 5, head=head, weights="bundled")
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("head", ["swap", "append", "mlp"])
def test_rebuild_network_has_the_same_keys(head: str):
    network = build_network(resolve_arch("resnet18"), 3, head, "bundled", InputOverrides(in_channels=1))
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    rebuilt, head_modules = rebuild_network(
        resolve_arch("torchvision:resnet18"), 3, head, network.base_classes, network.input_spec
    )
    assert torch.equal(torch.rand(1), expected)
    assert head_modules == network.head_modules
    rebuilt.load_state_dict(network.module.state_dict(), strict=True)
