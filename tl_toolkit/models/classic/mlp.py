"""A multilayer perceptron for digits."""

from collections import OrderedDict

from torch import nn

from tl_toolkit.models.classic.entrypoint import classic_network, describe
from tl_toolkit.models.classic.network import SequentialNetwork

SIZE = 28

default_cfgs = describe("mlp_mnist", (1, SIZE, SIZE), 0.0, 1.0, None, "classifier")


@classic_network
def mlp_mnist(num_classes: int = 10, in_channels: int = 1) -> SequentialNetwork:
    """784-128-256-N with ReLU, on images of 28x28; 136,074 parameters for 10 classes and one channel."""
    features = nn.Sequential(
        OrderedDict(flatten=nn.Flatten(), linear1=nn.Linear(in_channels * SIZE * SIZE, 128), relu1=nn.ReLU())
    )
    hidden = nn.Sequential(OrderedDict(linear2=nn.Linear(128, 256), relu2=nn.ReLU()))
    return SequentialNetwork("mlp_mnist", (in_channels, SIZE, SIZE), features, hidden, 256, num_classes)
