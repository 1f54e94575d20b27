"""A network whose layers follow each other, with timm's verbs."""

import torch
from torch import nn

from tl_toolkit.models.classic.entrypoint import check_images


class SequentialNetwork(nn.Module):
    """Layers in a row: features, hidden layers, a Linear classifier.

    Images (N, C, H, W) become logits (N, num_classes).

    Args:
        features: From images to the last feature map, or to a vector in a network without convolutions.
        hidden: From there to the classifier's input (N, num_features).
        num_features: Inputs of the classifier.
        num_classes: Its outputs.
        input_size: Channels, height and width of the images.
        name: What an error calls it.

    Raises:
        ModelError: In forward, the images have another shape.
    """

    def __init__(
        self,
        features: nn.Sequential,
        hidden: nn.Sequential,
        num_features: int,
        num_classes: int,
        input_size: tuple[int, int, int],
        name: str,
    ) -> None:
        super().__init__()
        self.features = features
        self.hidden = hidden
        self.classifier: nn.Module = nn.Linear(num_features, num_classes)
        self.num_features = num_features
        self.num_classes = num_classes
        self.input_size = input_size
        self.name = name

    def get_classifier(self) -> nn.Module:
        """The last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:  # noqa: ARG002  # timm's
        """Gives the network a new classifier; none for 0 classes. There is no pooling to choose."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, images: torch.Tensor) -> torch.Tensor:
        """The last feature map."""
        check_images(self.name, images, self.input_size)
        features: torch.Tensor = self.features(images)
        return features

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:
        """Logits of a feature map, or the classifier's input."""
        hidden: torch.Tensor = self.hidden(features)
        return hidden if pre_logits else self.classifier(hidden)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, num_classes)."""
        return self.forward_head(self.forward_features(images))
