"""What a report shows, as plain data: `runs` and `recipes` collect it, `report/page` draws it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tl_toolkit.metrics.calibration import ReliabilityBin

MAX_DRAWN = 120
"""Classes of a confusion matrix that is drawn; cells of more would be too small to hit."""


@dataclass(frozen=True)
class Figure:
    """A measured figure.

    Attributes:
        label: What it is, such as "top-1".
        value: The figure; None where there is nothing to compute it from.
        low: Lower end of its 95 % confidence interval; None where it has none.
        high: Upper end.
        format: "percent" for a share, "count" for a whole number, else "number".
    """

    label: str
    value: float | None
    low: float | None = None
    high: float | None = None
    format: str = "percent"


@dataclass(frozen=True)
class ShownImage:
    """An image, with what is known of it.

    Attributes:
        name: Its path or number.
        truth: Its class, or its labels.
        predicted: The likeliest class, or the labels that it is given.
        probability: Of the likeliest class.
        picture: A small JPEG or WebP; None where the image cannot be read.
        heat_map: The picture with what the model looked at.
        note: Something to say of it, such as "given: cat, looks like: dog".
    """

    name: str
    truth: str
    predicted: str
    probability: float | None
    picture: bytes | None = None
    heat_map: bytes | None = None
    note: str = ""


@dataclass(frozen=True)
class Gallery:
    """A row of images under a heading."""

    title: str
    about: str
    images: Sequence[ShownImage]
    empty: str = ""
    """What to say where there are none."""


@dataclass(frozen=True)
class Confusion:
    """How often images of each class are taken for another.

    Attributes:
        class_names: In the order of rows and columns; empty where there are too many classes to draw.
        counts: Images by (true class, predicted class), without those that are 0.
        images: Some images of a cell, in the order of their probability.
        pairs: The most frequent mistakes: true class, predicted class, number of images.
        pair_images: Some images of each of these pairs, in the same order.
    """

    class_names: Sequence[str]
    counts: Mapping[tuple[int, int], int]
    images: Mapping[tuple[int, int], Sequence[ShownImage]]
    pairs: Sequence[tuple[str, str, int]]
    pair_images: Sequence[Sequence[ShownImage]] = ()


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed.

    Attributes:
        temperature: What logits are divided by, chosen on val.
        before: Bins without the temperature.
        after: Bins with it.
        errors: Expected calibration error before and after.
        coverage: For thresholds of the probability: threshold, share of the images at or above it, and accuracy on
            these.
    """

    temperature: float
    before: "Sequence[ReliabilityBin]"
    after: "Sequence[ReliabilityBin]"
    errors: tuple[float, float]
    coverage: Sequence[tuple[float, float, float]]


@dataclass(frozen=True)
class MapPoint:
    """An image on the map of the features."""

    x: float
    y: float
    class_name: str
    name: str
    right: bool


@dataclass(frozen=True)
class Epoch:
    """An evaluation while training."""

    stage: str
    epoch: float
    """Within the stage; a part of an epoch where evaluations are more frequent."""
    train_loss: float
    val_loss: float
    train_accuracy: float | None
    val_score: float
    learning_rate: float
    kept: bool = False
    """Whether the model has the weights of this evaluation."""


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report shows. What is empty or None is left out, and `missing` says why.

    Attributes:
        title: Such as "tf_efficientnet_lite0 on hymenoptera".
        sentence: The result in one sentence, with its interval.
        headline: The figure that the run is judged by.
        split: Name of the split that all results are of, and its number of images.
        facts: What was trained from what on what: name and value.
        figures: Figures of the split.
        class_columns: Headings of the table of classes; the first one is "class" or "label".
        classes: Its rows: the name, then figures.
        score_name: What `Epoch.val_score` is.
        epochs: The curves.
        stages: What each stage trained, with its best score on val.
        confusion: None of several labels an image.
        calibration: None where probabilities are not of one class an image.
        galleries: Most confident mistakes, least certain images, suspicious labels.
        map_points: The features in two dimensions.
        map_about: How they were computed.
        data: Facts of the data: splits, class sizes, unreadable images, copies.
        warnings: Leaks and other things to know.
        config: The settings as YAML.
        versions: Version of each package.
        commands: How to reproduce and use the model: what it does, and the command.
        missing: What is not shown, and why.
    """

    title: str
    sentence: str
    headline: Figure
    split: str
    facts: Sequence[tuple[str, str]]
    figures: Sequence[Figure]
    class_columns: Sequence[str] = ()
    classes: Sequence[tuple[str, Sequence[Figure]]] = ()
    score_name: str = "accuracy"
    epochs: Sequence[Epoch] = ()
    stages: Sequence[tuple[str, str, float]] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    galleries: Sequence[Gallery] = ()
    map_points: Sequence[MapPoint] = ()
    map_about: str = ""
    data: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()
    config: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()
    missing: Sequence[tuple[str, str]] = ()
