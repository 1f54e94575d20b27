"""Suspicious labels: images that probes trained on the other images take for another class (confident learning)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tl_toolkit.training.cross_validation import FOLDS, held_out_logits
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.optimizers import LBFGS_ITERATIONS

STEPS = 4
"""L-BFGS steps of each probe. With 3 and with 6 the lists of ants and bees were alike (tests/benchmarks/NOTES.md)."""

MAX_OPERATIONS = 3e11
"""Multiplications and additions of all probes: some 4 seconds of one core (2,914 images of Caltech-101: 2.4). Of more
images, each probe learns from a part of every class; all are judged."""

MIN_PER_CLASS = 5
"""Images of a class, on average, that a probe must learn from: with fewer it says little of any image."""

MAX_LISTED = 300


@dataclass(frozen=True, slots=True)
class LabelIssue:
    """An image whose label looks wrong.

    Attributes:
        index: The image.
        suggested: The class that it looks like.
        given_probability: Probability of its label, by a probe that did not learn from this image.
        suggested_probability: Of the class that it looks like.
    """

    index: int
    suggested: int
    given_probability: float
    suggested_probability: float


@dataclass(frozen=True)
class LabelCheck:
    """What was found.

    Attributes:
        issues: The most suspicious labels first, at most `MAX_LISTED`.
        found: How many there are.
        judged: Number of images that a probe judged; the only image of a class cannot be.
    """

    issues: Sequence[LabelIssue]
    found: int
    judged: int


def why_too_costly(images: int, width: int, classes: int) -> str:
    """Return why labels are not checked; empty if they can be in a few seconds."""
    share = _learned_share(images, width, classes)
    if share * images * (FOLDS - 1) / FOLDS >= min(MIN_PER_CLASS * classes, images * (FOLDS - 1) / FOLDS):
        return ""
    return f"it would take minutes: {images:,} images of {classes:,} classes"


def _learned_share(images: int, width: int, classes: int) -> float:
    """Return the share of the images that the probes can learn from."""
    operations = 6.0 * images * (FOLDS - 1) * width * classes * STEPS * LBFGS_ITERATIONS
    return min(1.0, MAX_OPERATIONS / operations)


def check_labels(features: torch.Tensor, targets: torch.Tensor, classes: int, groups: Sequence[str] = ()) -> LabelCheck:
    """Find the images whose label looks wrong, by the rule of confident learning (Northcutt, Jiang and Chuang 2021).

    Every image is judged by a linear probe that was trained on other folds. The threshold of a class is the mean
    probability that the images labelled so have of it. An image is listed if, of the classes whose probability reaches
    their threshold, the likeliest is not its label. The list begins with the lowest probability of the label
    (self-confidence), which found flipped labels better than the margin between label and suggestion.

    Args:
        features: (N, D), of any floating-point type; rows that are not finite are not judged.
        targets: Class indices (N).
        classes: Number of classes.
        groups: For each image, what is in one fold as a whole, such as copies of it; empty if nothing is.

    Raises:
        DataError: Each group alone has images of a class.
    """
    usable = features.isfinite().all(dim=1).nonzero()[:, 0]
    all_usable = len(usable) == len(features)  # Then nothing is copied.
    inputs, given = (features if all_usable else features[usable]).float(), targets[usable]
    of_usable = [groups[index] for index in usable.tolist()] if groups else ()
    learned = _part_of_each_class(given, _learned_share(len(given), inputs.shape[1], classes))
    probabilities = inputs.new_zeros(len(given), classes)
    judged = torch.zeros(len(given), dtype=torch.bool, device=inputs.device)
    for held_out, logits in held_out_logits(
        inputs, given, classes, Criterion(), groups=of_usable, steps=STEPS, learned=learned
    ):
        probabilities[held_out] = logits.softmax(dim=1)
        judged |= held_out
    own = probabilities.gather(1, given[:, None])[:, 0]
    reaching = torch.where(probabilities >= _thresholds(own, given, judged, classes), probabilities, -1.0)
    best, suggested = reaching.max(dim=1)
    found = (judged & (best >= 0) & (suggested != given)).nonzero()[:, 0]
    ranked = found[own[found].argsort(stable=True)]
    issues = [
        LabelIssue(int(usable[place]), int(suggested[place]), float(own[place]), float(best[place]))
        for place in ranked[:MAX_LISTED].tolist()
    ]
    return LabelCheck(issues, len(found), int(judged.sum()))


def _thresholds(own: torch.Tensor, given: torch.Tensor, judged: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the mean probability of its label over the judged images of each class; above 1 for a class of none."""
    count = torch.bincount(given[judged], minlength=classes)
    total = own.new_zeros(classes).index_add(0, given[judged], own[judged])
    return torch.where(count > 0, total / count.clamp(min=1), 2.0)


def _part_of_each_class(given: torch.Tensor, share: float) -> torch.Tensor | None:
    """Return which images are in a share of each class (N), spread over the class; None for all."""
    if share >= 1:
        return None
    learned = torch.zeros(len(given), dtype=torch.bool, device=given.device)
    for target in torch.unique(given):
        members = (given == target).nonzero()[:, 0]
        places = torch.arange(len(members), device=given.device)
        learned[members] = ((places + 1) * share).long() > (places * share).long()
        learned[members[:2]] = True
    return learned
