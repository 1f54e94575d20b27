"""LeNet-5 for digits, and its form for CIFAR-10."""

from collections import OrderedDict

from torch import nn

from tl_toolkit.models.classic.entrypoint import classic_network, describe
from tl_toolkit.models.classic.network import SequentialNetwork

default_cfgs = describe("lenet5", (1, 28, 28), 0.0, 1.0, "features.conv1", "classifier") | describe(
    "lenet5_cifar", (3, 32, 32), 0.5, 0.5, "features.conv1", "classifier"
)


@classic_network
def lenet5(num_classes: int = 10, in_channels: int = 1) -> SequentialNetwork:
    """LeNet-5 with ReLU and max-pooling.

    From LeCun et al. 1998, "Gradient-based learning applied to document recognition". The images are 28x28 and the
    first convolution pads them, where the paper's are 32x32; the third convolution is the paper's layer C5.
    61,706 parameters for 10 classes and one channel.
    """
    features = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 6, 5, padding=2),
            relu1=nn.ReLU(),  # (N, 6, 28, 28)
            pool1=nn.MaxPool2d(2),  # (N, 6, 14, 14)
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),  # (N, 16, 10, 10)
            pool2=nn.MaxPool2d(2),  # (N, 16, 5, 5)
            conv3=nn.Conv2d(16, 120, 5),
            relu3=nn.ReLU(),  # (N, 120, 1, 1)
        )
    )
    hidden = nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(120, 84), relu=nn.ReLU()))
    return SequentialNetwork("lenet5", (in_channels, 28, 28), features, hidden, 84, num_classes)


@classic_network
def lenet5_cifar(num_classes: int = 10, in_channels: int = 3) -> SequentialNetwork:
    """The network of PyTorch's tutorial "Training a Classifier": LeNet-5 for colour images of 32x32.

    62,006 parameters for 10 classes.
    """
    features = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(in_channels, 6, 5),
            relu1=nn.ReLU(),  # (N, 6, 28, 28)
            pool1=nn.MaxPool2d(2),  # (N, 6, 14, 14)
            conv2=nn.Conv2d(6, 16, 5),
            relu2=nn.ReLU(),  # (N, 16, 10, 10)
            pool2=nn.MaxPool2d(2),  # (N, 16, 5, 5)
        )
    )
    hidden = nn.Sequential(
        OrderedDict(
            flatten=nn.Flatten(),
            linear1=nn.Linear(16 * 5 * 5, 120),
            relu1=nn.ReLU(),
            linear2=nn.Linear(120, 84),
            relu2=nn.ReLU(),
        )
    )
    return SequentialNetwork("lenet5_cifar", (in_channels, 32, 32), features, hidden, 84, num_classes)
