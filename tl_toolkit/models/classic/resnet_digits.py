"""ResNet-18 for small images, and plain-18, which has no shortcuts."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal

import torch
from torch import nn

from tl_toolkit.errors import ModelError
from tl_toolkit.models.classic.entrypoint import classic_network, describe
from tl_toolkit.models.classic.network import ClassicNetwork

ConvBias = Literal["none", "first", "all"]

STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
"""Width and stride of each stage of two blocks (He et al. 2016, "Deep residual learning", table 1)."""

default_cfgs = describe("resnet18_digits", (1, 32, 32), 0.0, 1.0, "stem.conv", "classifier") | describe(
    "plain18_digits", (1, 32, 32), 0.0, 1.0, "stem.conv", "classifier"
)

TORCHVISION_NAMES = {
    "stem.conv": "conv1",
    "stem.norm": "bn1",
    "classifier": "fc",
    "conv1": "conv1",
    "norm1": "bn1",
    "conv2": "conv2",
    "norm2": "bn2",
    "shortcut.conv": "downsample.0",
    "shortcut.norm": "downsample.1",
}
"""torchvision's names of the parts by ours, outside and inside of a block."""


class Block(nn.Module):
    """Two convolutions of 3x3, in a residual network with a shortcut.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        stride: Stride of the first convolution.
        use_residual: Whether there is a shortcut.
        bias: Whether the convolutions have a bias.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, use_residual: bool, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=bias)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.norm2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.use_residual = use_residual
        if use_residual and (stride > 1 or in_channels != channels):
            self.shortcut: nn.Module = nn.Sequential(
                OrderedDict(conv=nn.Conv2d(in_channels, channels, 1, stride, bias=bias), norm=nn.BatchNorm2d(channels))
            )
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute (N, channels, H / stride, W / stride) from (N, in_channels, H, W)."""
        out = self.norm2(self.conv2(self.relu(self.norm1(self.conv1(x)))))
        out = out + self.shortcut(x) if self.use_residual else out
        activated: torch.Tensor = self.relu(out)
        return activated


class ResNetDigits(ClassicNetwork):
    """ResNet-18 or plain-18 (He et al. 2016): torchvision's network with descriptive names of its parts.

    Images (N, in_channels, H, W) become logits (N, num_classes). At 32x32 the stages give 64x8x8, 128x4x4, 256x2x2
    and 512x1x1.

    Args:
        in_channels: Channels of the images.
        num_classes: Outputs of the classifier.
        use_residual: False leaves out every shortcut: plain-18.
        conv_bias: Convolutions with a bias: "none", as in the paper, the "first", or "all". Before BatchNorm a bias
            changes nothing but the count: 11,175,370, 11,175,434 or 11,180,170 parameters for one channel and 10
            classes.

    Raises:
        ModelError: In forward, the images have another number of channels.
    """

    def __init__(
        self, in_channels: int = 1, num_classes: int = 10, use_residual: bool = True, conv_bias: ConvBias = "none"
    ) -> None:
        super().__init__(type(self).__name__, (in_channels, None, None), STAGES[-1][0])
        first_bias = conv_bias != "none"
        self.stem = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=first_bias),
                norm=nn.BatchNorm2d(64),
                relu=nn.ReLU(),
                pool=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        stages: list[nn.Module] = []
        before = 64
        bias = conv_bias == "all"
        for channels, stride in STAGES:
            first = Block(before, channels, stride, use_residual, bias)
            stages.append(nn.Sequential(first, Block(channels, channels, 1, use_residual, bias)))
            before = channels
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.reset_classifier(num_classes)

    def features_of(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the last feature map (N, 512, H / 32, W / 32)."""
        features: torch.Tensor = self.stages(self.stem(images))
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Compute the logits of a feature map, or the classifier's input."""
        pooled: torch.Tensor = self.flatten(self.pool(features))
        return pooled if pre_logits else self.classifier(pooled)


@classic_network
def resnet18_digits(
    num_classes: int = 10, in_channels: int = 1, use_residual: bool = True, conv_bias: ConvBias = "none"
) -> ResNetDigits:
    """ResNet-18 for digits of 32x32; see `ResNetDigits`."""
    return ResNetDigits(in_channels, num_classes, use_residual, conv_bias)


@classic_network
def plain18_digits(num_classes: int = 10, in_channels: int = 1, conv_bias: ConvBias = "none") -> ResNetDigits:
    """Plain-18 for digits of 32x32: ResNet-18 without its shortcuts."""
    return ResNetDigits(in_channels, num_classes, use_residual=False, conv_bias=conv_bias)


def to_torchvision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a `ResNetDigits` state_dict with the names of torchvision's resnet18.

    `stages.I.J.PART` becomes `layer(I+1).J.PART`, with conv, bn and downsample as torchvision has them
    (torchvision/models/resnet.py).

    Raises:
        ModelError: A key belongs to no ResNet-18.
    """
    return {_to_torchvision(key): tensor for key, tensor in state.items()}


def from_torchvision(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a state_dict of torchvision's resnet18 with the names of `ResNetDigits`.

    Raises:
        ModelError: A key belongs to no ResNet-18 of torchvision's.
    """
    with torch.device("meta"):
        ours = {_to_torchvision(key): key for key in ResNetDigits(conv_bias="all").state_dict()}
    unknown = [key for key in state if key not in ours]
    if unknown:
        raise ModelError(f"{unknown[0]} is not a key of torchvision's resnet18, such as layer1.0.conv1.weight.")
    return {ours[key]: tensor for key, tensor in state.items()}


def _to_torchvision(key: str) -> str:
    part, _, tensor = key.rpartition(".")
    place = ""
    if part.startswith("stages."):
        _, stage, block, part = part.split(".", 3)
        place = f"layer{int(stage) + 1}.{block}."
    if part not in TORCHVISION_NAMES:
        raise ModelError(f"{key} is not a key of a resnet18_digits with a swapped classifier.")
    return f"{place}{TORCHVISION_NAMES[part]}.{tensor}"
