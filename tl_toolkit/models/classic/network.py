"""Base classes of the classic networks: timm's methods, and a network of layers in a row."""

from abc import ABC, abstractmethod

import torch
from torch import nn

from tl_toolkit.errors import ModelError


class ClassicNetwork(nn.Module, ABC):
    """A network with timm's methods whose last layer is a Linear, `classifier`.

    A subclass builds its layers, calls `reset_classifier` and defines `features_of` and `forward_head`.

    Args:
        name: Name of the network in errors.
        input_size: Channels, height and width of the images; None for any.
        num_features: Inputs of the classifier.

    Raises:
        ModelError: In forward, the images have another shape.
    """

    classifier: nn.Module

    def __init__(self, name: str, input_size: tuple[int, int | None, int | None], num_features: int) -> None:
        super().__init__()
        self.name = name
        self.input_size = input_size
        self.num_features = num_features
        self.num_classes = 0

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:  # noqa: ARG002  # timm's
        """Replace the classifier; 0 classes leave none. There is no pooling to choose."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the last feature map of images (N, C, H, W)."""
        shape = tuple(images.shape)
        fits = len(shape) == 4 and all(
            want in (None, found) for want, found in zip(self.input_size, shape[1:], strict=True)
        )
        if not fits:
            wanted = ", ".join(str(want or letter) for want, letter in zip(self.input_size, "CHW", strict=True))
            raise ModelError(f"{self.name} takes images of shape (N, {wanted}), not {shape}.")
        return self.features_of(images)

    @abstractmethod
    def features_of(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the last feature map of images of the right shape."""

    @abstractmethod
    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Compute the logits of a feature map, or the classifier's input."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute logits (N, num_classes)."""
        return self.forward_head(self.forward_features(images))


class SequentialNetwork(ClassicNetwork):
    """Layers in a row: features, hidden layers, the classifier.

    Args:
        name: Name of the network in errors.
        input_size: Channels, height and width of the images.
        features: Layers up to the last feature map, or to a vector in a network without convolutions.
        hidden: Layers from there to the classifier's input (N, num_features).
        num_features: Inputs of the classifier.
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self,
        name: str,
        input_size: tuple[int, int, int],
        features: nn.Sequential,
        hidden: nn.Sequential,
        num_features: int,
        num_classes: int,
    ) -> None:
        super().__init__(name, input_size, num_features)
        self.features = features
        self.hidden = hidden
        self.reset_classifier(num_classes)

    def features_of(self, images: torch.Tensor) -> torch.Tensor:
        """Compute the output of the feature layers."""
        features: torch.Tensor = self.features(images)
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Compute the logits of a feature map, or the classifier's input."""
        hidden: torch.Tensor = self.hidden(features)
        return hidden if pre_logits else self.classifier(hidden)
