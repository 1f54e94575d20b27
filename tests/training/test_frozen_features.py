import torch
import torchvision
from torch import nn

from tl_toolkit.training.frozen_features import FeatureBatches, Features, frozen_features, head_is_last

CPU = torch.device("cpu")


def resnet() -> nn.Module:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=4).eval()


def batches(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.rand(3, 3, 32, 32), torch.arange(3)) for _ in range(count)]


def test_frozen_features_through_the_head_give_the_networks_logits():
    module, data = resnet(), batches(2)
    *done, features = frozen_features(module, "fc", [data, data], lambda images: images, CPU)
    assert done == [3, 3, 3, 3]
    assert isinstance(features, Features)
    assert features.targets.tolist() == [0, 1, 2, 0, 1, 2]
    with torch.no_grad():
        logits = torch.cat([module(images) for images, _ in data])
        torch.testing.assert_close(module.fc(features.inputs[1]), logits)


def test_head_is_last_tells_a_head_from_a_layer_before():
    module, images = resnet(), torch.rand(2, 3, 32, 32)
    assert head_is_last(module, "fc", images)
    assert not head_is_last(module, "layer4", images)


def test_head_is_last_sees_what_comes_after_the_head():
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2), nn.Softmax(dim=1)).eval()
    assert not head_is_last(module, "1", torch.rand(2, 3, 2, 2))


def test_feature_batches_depend_on_seed_and_epoch_alone():
    features = Features([torch.arange(1000.0)[:, None], -torch.arange(1000.0)[:, None]], torch.arange(1000))

    def epoch(seed: int, number: int) -> torch.Tensor:
        loader = FeatureBatches(features, CPU, seed)
        loader.set_epoch(number)
        return torch.cat([inputs for inputs, _ in loader])

    assert torch.equal(epoch(0, 1), epoch(0, 1))
    assert not torch.equal(epoch(0, 1), epoch(0, 2))
    assert not torch.equal(epoch(0, 1), epoch(1, 1))
    assert sorted(epoch(0, 1).abs().flatten().tolist()) == list(range(1000))
    assert 300 < (epoch(0, 1) < 0).sum() < 700
