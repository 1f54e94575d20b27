"""A small convolutional network for CIFAR-10."""

from collections import OrderedDict
from typing import Literal

from torch import nn

from tl_toolkit.models.classic.entrypoint import classic_network, describe
from tl_toolkit.models.classic.network import SequentialNetwork

Activation = Literal["none", "relu"]

default_cfgs = describe("cifar10_cnn", (3, 32, 32), 0.5, 0.5, "features.conv1", "classifier")


@classic_network
def cifar10_cnn(num_classes: int = 10, in_channels: int = 3, activation: Activation = "none") -> SequentialNetwork:
    """The "CIFAR 10 model structure" that tutorials build: three convolutions of 5x5, each followed by max-pooling.

    As in the tutorials there are no activations: only max-pooling is not linear. `activation="relu"` puts a ReLU after
    each layer but the last. 145,578 parameters for 10 classes.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    before = in_channels
    for index, width in enumerate((32, 32, 64), start=1):  # (N, 32, 16, 16), (N, 32, 8, 8), (N, 64, 4, 4)
        layers[f"conv{index}"] = nn.Conv2d(before, width, 5, padding=2)
        layers |= _activation(activation, f"relu{index}")
        layers[f"pool{index}"] = nn.MaxPool2d(2)
        before = width
    hidden = OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(64 * 4 * 4, 64), **_activation(activation, "relu"))
    features = nn.Sequential(layers)
    return SequentialNetwork("cifar10_cnn", (in_channels, 32, 32), features, nn.Sequential(hidden), 64, num_classes)


def _activation(activation: Activation, name: str) -> dict[str, nn.Module]:
    return {name: nn.ReLU()} if activation == "relu" else {}
