"""The classic networks of the tutorials, which importing this package registers with timm.

`timm.create_model("lenet5")` builds one. They have no pretrained weights and train from scratch.
"""

from tl_toolkit.models.classic.cifar_cnn import cifar10_cnn
from tl_toolkit.models.classic.lenet import lenet5, lenet5_cifar
from tl_toolkit.models.classic.mlp import mlp_mnist
from tl_toolkit.models.classic.network import ClassicNetwork
from tl_toolkit.models.classic.resnet_digits import ResNetDigits, plain18_digits, resnet18_digits

CLASSIC = ("lenet5", "lenet5_cifar", "mlp_mnist", "resnet18_digits", "plain18_digits", "cifar10_cnn")
"""Their names."""

__all__ = [
    "CLASSIC",
    "ClassicNetwork",
    "ResNetDigits",
    "cifar10_cnn",
    "lenet5",
    "lenet5_cifar",
    "mlp_mnist",
    "plain18_digits",
    "resnet18_digits",
]
