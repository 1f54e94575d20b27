"""A model read from a run or a file, ready to predict."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import get_args, overload

import torch
from torch import nn

from tl_toolkit.artifact import MODEL_FILE, ModelCard, read_card, read_weights
from tl_toolkit.config import Head, Precision
from tl_toolkit.data.images import ImageLike, is_path, open_image
from tl_toolkit.data.transforms import EvalTransform, Normalize
from tl_toolkit.errors import NEAREST, ModelFileError, ToolkitError, UsageError, listing, shown
from tl_toolkit.files import is_file, is_folder
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.models.backbones import blank_image, resolve_arch
from tl_toolkit.models.build import rebuild_network
from tl_toolkit.models.file_kinds import describe_other, describe_unknown, kind_of
from tl_toolkit.models.full_models import CARD_ATTRIBUTE, card_of, load_pickled
from tl_toolkit.naming import named
from tl_toolkit.reading import readers
from tl_toolkit.recipes.run_folder import CONFIG_FILE, find_model
from tl_toolkit.recipes.run_folder import GIVE_A_MODEL as GIVE
from tl_toolkit.training.compute import Compute, choose_compute
from tl_toolkit.training.losses import probabilities, ranked_classes

DEFAULT_TOP_K = 5
BATCH = 32
"""Images that are decoded and run at a time."""

MOST_LOOKED_AT = 100
"""Files of a folder in which a model is looked for, where it is no run."""


@dataclass(frozen=True, slots=True)
class ClassProbability:
    """A class and the probability that the model gives it."""

    class_name: str
    probability: float


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of one image.

    Attributes:
        path: The image's path, or what stands for it.
        top_k: The likeliest classes, best first.
    """

    path: str
    top_k: tuple[ClassProbability, ...]

    @property
    def class_name(self) -> str:
        """The likeliest class."""
        return self.top_k[0].class_name

    @property
    def probability(self) -> float:
        """Its probability."""
        return self.top_k[0].probability


class LoadedModel:
    """A fine-tuned network with its class names and its preprocessing.

    Attributes:
        module: The plain torchvision or timm network, in eval mode.
        card: What the model file says about it.
        compute: Where and in which precision it runs.
    """

    def __init__(self, module: nn.Module, card: ModelCard, compute: Compute) -> None:
        self.module = compute.place(module).eval()
        self.card = card
        self.compute = compute
        self._to_pixels = EvalTransform(card.input_spec)
        self.normalize = Normalize(card.input_spec).to(compute.device)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.card.class_names

    @property
    def input_spec(self) -> InputSpec:
        """The pixels that the network expects."""
        return self.card.input_spec

    def to_pixels(self, image: ImageLike) -> torch.Tensor:
        """From an image or its path to uint8 (C, H, W).

        Raises:
            ImageError: It cannot be read.
        """
        spec = self.input_spec
        return self._to_pixels(open_image(image, spec.channels, at_least=spec.enough))

    @property
    def transform(self) -> Callable[[ImageLike], torch.Tensor]:
        """From an image or its path to the network's input (C, H, W)."""

        def transform(image: ImageLike) -> torch.Tensor:
            pixels = self.to_pixels(image)
            normalized: torch.Tensor = self.normalize(pixels.to(self.compute.device))
            return normalized.cpu()

        return transform

    def logits(self, images: torch.Tensor | Sequence[ImageLike]) -> torch.Tensor:
        """Logits of images.

        Args:
            images: A batch (N, C, H, W) as `transform` makes it, or images and paths.

        Returns:
            (N, classes), or (N, 1) of a model with one logit; float32 on the CPU.

        Raises:
            ImageError: An image cannot be read.
        """
        if not isinstance(images, torch.Tensor):
            parts = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
            return torch.cat([self.logits(self._inputs(part)) for part in parts])
        with self.compute.inference():
            batch = images.to(self.compute.device).contiguous(memory_format=self.compute.memory_format)
            logits: torch.Tensor = self.module(batch)
        return logits.float().cpu()

    def _inputs(self, images: Sequence[ImageLike]) -> torch.Tensor:
        """The network's input (N, C, H, W); files are read in threads."""
        if not all(is_path(image) for image in images):
            return torch.stack([self.transform(image) for image in images])
        pixels = readers().start(self.to_pixels, images).results()
        normalized: torch.Tensor = self.normalize(torch.stack(pixels).to(self.compute.device))
        return normalized

    @overload
    def predict(self, images: ImageLike, top_k: int = DEFAULT_TOP_K) -> Prediction: ...
    @overload
    def predict(self, images: list[ImageLike], top_k: int = DEFAULT_TOP_K) -> list[Prediction]: ...
    def predict(self, images: ImageLike | list[ImageLike], top_k: int = DEFAULT_TOP_K) -> Prediction | list[Prediction]:
        """Names the likeliest classes.

        Args:
            images: An image, a path, or a list of them.
            top_k: How many classes to tell.

        Raises:
            ImageError: An image cannot be read.
        """
        given = images if isinstance(images, list) else [images]
        names = [str(image) if is_path(image) else f"image {index}" for index, image in enumerate(given)]
        predictions = self.rank(self.logits(given), names, top_k) if given else []
        return predictions if isinstance(images, list) else predictions[0]

    def rank(self, logits: torch.Tensor, names: Sequence[str], top_k: int) -> list[Prediction]:
        """Turns logits into predictions, naming the images `names`."""
        best = ranked_classes(logits, top_k)
        shares = probabilities(logits, self.card.loss).gather(1, best)
        return [
            Prediction(
                name,
                tuple(
                    ClassProbability(self.class_names[index], probability)
                    for index, probability in zip(indices, probabilities, strict=True)
                ),
            )
            for name, indices, probabilities in zip(names, best.tolist(), shares.tolist(), strict=True)
        ]


def load(path: str | Path, *, device: str = "auto", precision: Precision = "auto", trust: bool = False) -> LoadedModel:
    """Loads a model; nothing in the file is run as code.

    Args:
        path: A run folder, a model.safetensors or a full model that tl saved, wherever it lies and whatever its name.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        precision: "auto" is bf16 where the device computes it natively.
        trust: Load a full model even where code that is in the file would run.

    Raises:
        UsageError: There is no such file, it is of another kind, or it says nothing of classes and preprocessing.
        ModelFileError: The file is damaged or not the toolkit's.
        UnsafeFileError: Without `trust`, loading it could run code.
    """
    file = find_model_file(path)
    kind = kind_of(file)
    if kind is None:
        raise _no_model(file)
    module, card = _read(file) if kind == "safetensors" else _read_full_model(file, trust)
    return LoadedModel(module, card, choose_compute(device, precision, module))


def find_model_file(path: str | Path) -> Path:
    """The model.safetensors of a run folder, or the file itself.

    Raises:
        UsageError: There is none.
    """
    place = find_model(path)
    file = place / MODEL_FILE if is_folder(place) else place
    if is_file(file):
        return file
    raise UsageError(f"{place} has no {MODEL_FILE} in it{_instead_of(place)}")


def _instead_of(folder: Path) -> str:
    """What is in a folder that is no run, or is one that has not come so far, and what can be given in its place."""
    if is_file(folder / CONFIG_FILE):
        return f". Its run has not come so far: tl finetune --resume {shlex.quote(str(folder))}"
    try:
        runs = sorted((path.parent for path in folder.glob(f"*/{MODEL_FILE}")), key=lambda run: run.stat().st_mtime)
        inside = sorted(islice((path for path in folder.iterdir() if path.name[:1] != "."), MOST_LOOKED_AT))
    except OSError:
        return f". {GIVE}"
    if near := [str(path) for path in (*reversed(runs), *filter(_has_card, inside))][:NEAREST]:
        return f". Did you mean {' or '.join(near)}?"
    return f", only {listing([path.name for path in inside])}. {GIVE}" if inside else f". {GIVE}"


def _has_card(path: Path) -> bool:
    """Whether there is a model that tl wrote as safetensors, whatever the name of its file."""
    try:
        return is_file(path) and kind_of(path) == "safetensors" and bool(read_card(path))
    except ModelFileError:
        return False


def _no_model(file: Path) -> ToolkitError:
    """Says what a file is that holds no model."""
    what = describe_other(file)
    if not what:
        return ModelFileError(f"{file} is no model that tl can load: {describe_unknown(file)}.")
    beside = file.parent / MODEL_FILE
    of_run = beside != file and is_file(beside)
    instead = f"The model of that run is in its folder: {file.parent}" if of_run else GIVE
    return UsageError(f"{file} is {what}, not a model. {instead}")


def _read(file: Path) -> tuple[nn.Module, ModelCard]:
    """A network built by its card, with the weights of a safetensors file."""
    weights = read_weights(file)  # First: what is damaged would be told as something else.
    card = read_card(file)
    if card.head not in get_args(Head):
        raise ModelFileError(f"{file} has a head {shown(card.head)}; expected {', '.join(get_args(Head))}.")
    module = rebuild_network(
        resolve_arch(card.architecture, card.arch_options),
        card.outputs,
        card.head,  # type: ignore[arg-type]  # checked above
        card.base_classes,
        card.input_spec,
    )
    try:
        module.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise ModelFileError(f"{file} does not fit {card.architecture}, which its header names: {error}") from error
    return module, card


def _read_full_model(file: Path, trust: bool) -> tuple[nn.Module, ModelCard]:
    """A network as it was saved, and the card that it carries."""
    module = load_pickled(file, trust)
    metadata = card_of(module)
    if not isinstance(module, nn.Module) or not metadata:
        what = "a network" if isinstance(module, nn.Module) else "weights" if isinstance(module, dict) else "something"
        raise UsageError(
            f"{file} holds {what} without class names and InputSpec, so nothing can be predicted with it. Give a run "
            f"folder, its {MODEL_FILE}, or a full model that tl saved; or train with it: {named('weights', str(file))}."
        )
    delattr(module, CARD_ATTRIBUTE)
    try:
        card = ModelCard.from_metadata(metadata)
    except ModelFileError as error:
        raise ModelFileError(f"{file} is no model that tl can load: {error}.") from error
    try:
        with torch.inference_mode():
            shape = tuple(module.eval()(blank_image(card.input_spec)).shape)
    except Exception as error:  # What is in the file may be any layers in any order.
        raise ModelFileError(f"{file} does not take the images that it describes: {error}") from error
    if shape != (1, card.outputs):
        raise ModelFileError(f"{file} gives {shape} for one image; expected (1, {card.outputs}), as it says.")
    return module, card
