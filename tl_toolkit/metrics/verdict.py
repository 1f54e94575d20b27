"""Whether a model is better than another one, in words."""

from dataclasses import dataclass
from typing import Literal

from tl_toolkit.metrics.intervals import Z
from tl_toolkit.metrics.paired_figures import SHARES_OF_IMAGES, Difference, ModelFigures
from tl_toolkit.metrics.paired_tests import LEVEL, Z_OF_POWER, detectable_difference
from tl_toolkit.metrics.resampled import NAMES

Outcome = Literal["better", "worse", "not distinguishable"]

MAX_POINTS = 50
"""A larger difference would be needed: the images could show none that matters."""


@dataclass(frozen=True)
class Verdict:
    """Whether a model is better than the first one.

    Attributes:
        figure: What they are judged by.
        difference: The model's figure less the first one's, with the p of its own test.
        p: That p, corrected for the number of tests.
        tests: The number of tests.
        detectable: Which difference these images would show in 8 of 10 comparisons; None if hardly any.
    """

    figure: str
    difference: Difference
    p: float
    tests: int
    detectable: float | None

    @property
    def outcome(self) -> Outcome:
        """The verdict in a word."""
        if self.p >= LEVEL:
            return "not distinguishable"
        return "better" if self.difference.value > 0 else "worse"

    def sentence(self, name: str, other: str, images: int, where: str) -> str:
        """Return the verdict in a sentence.

        Args:
            name: The model.
            other: The first model.
            images: Number of images of both.
            where: What they are, such as "test images".
        """
        points = 100 * self.difference.value
        size = f"{abs(points):.1f} points {'higher' if points > 0 else 'lower'}" if round(points, 1) else "the same"
        is_what = f"is {self.outcome} {'from' if self.outcome == 'not distinguishable' else 'than'} {other}"
        low, high = (f"{100 * end:+.1f}" for end in (self.difference.low, self.difference.high))
        corrected = f" after Holm's correction for {self.tests} comparisons" if self.tests > 1 else ""
        on = f"the same {images:,} {where}" if images != 1 else f"1 of the {where}"
        return (
            f"{name} {is_what}: its {NAMES[self.figure]} is {size} (95 % interval {low} to {high} points, "
            f"{format_p(self.p)}{corrected}) on {on}, which {self._could_show()}."
        )

    def _could_show(self) -> str:
        if self.detectable is None or 100 * self.detectable > MAX_POINTS:
            return "are too few to show a difference"
        return f"would show a difference from about {100 * self.detectable:.1f} points on"


def judge(figures: ModelFigures, figure: str, images: int, p: float, tests: int) -> Verdict:
    """Return the verdict of a test.

    Args:
        figures: Of the model, and how they differ from the first one's.
        figure: What to judge by.
        images: Number of images.
        p: The p of this figure's difference, corrected for the number of tests.
        tests: That number.
    """
    difference = figures.differences[figure]
    if figure in SHARES_OF_IMAGES:
        detectable = detectable_difference(figures.only_first + figures.only_this, images)
    else:  # The interval is as wide as the difference varies.
        detectable = (Z + Z_OF_POWER) * (difference.high - difference.low) / (2 * Z) or None
    return Verdict(figure, difference, p, tests, detectable)


def format_p(p: float) -> str:
    """Return a p value in words: "p = 0.031", or "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
