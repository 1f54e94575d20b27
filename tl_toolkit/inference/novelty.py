"""Images that are unlike those of training: how far their features lie from those of any class.

The distance is Mahalanobis' to the nearest class mean with one covariance for all classes (Lee et al. 2018,
arXiv:1807.03888), of features of length 1: their direction says more than their length (Sehwag et al. 2021,
arXiv:2103.12051). The covariance is free in the few directions in which a class varies most, and the same in all
others, which is small enough for a model file and possible with few images. The highest logit (Hendrycks et al. 2022,
arXiv:1911.11132) adds what the head knows, and both together tell classes that were left out of training from the
others better than each alone (tests/benchmarks/NOTES.md).
"""

import functools
import math
from dataclasses import dataclass
from typing import Self

import torch
from torch.nn import functional

from tl_toolkit.errors import ModelFileError
from tl_toolkit.inference.array_novelty import Statistics
from tl_toolkit.io.packed_tensors import PackedTensor
from tl_toolkit.model_file import NoveltyNote

FALSE_ALARMS = 0.05
"""Share of the images of known classes that may be taken for unknown."""

SMALLEST_EXACT = math.ceil(1 / FALSE_ALARMS) - 1
"""With fewer images in val, even the highest novelty among them is exceeded more often than `FALSE_ALARMS`."""

LOGIT_WEIGHT = 0.5
"""Beside the distance, both divided by their standard deviations on val. With as much weight as the distance, the
highest logit hides from a model of two classes some of what is plainly neither."""

DIRECTIONS = 32

MAX_VALUES = 2**18
"""Values of the class means in a model file: 0.5 MB, in base64 0.7 MB."""

COVARIANCE_IMAGES = 2_000
"""Images that the covariance is computed from: more of them make it hardly better, and the time grows with their
cube."""

SMALLEST = 1e-6
"""Smallest variance in any direction, of features of length 1; bf16 rounds more than this."""


@dataclass(frozen=True)
class ClassDistances:
    """Mahalanobis distances of features to the means of classes.

    Attributes:
        means: Mean of the features of each class, of length 1 each before the mean (classes, D).
        directions: Orthonormal rows (R, D), in which the features of a class vary most.
        variances: The variance in each of these directions (R).
        rest: The variance in each of all others.
    """

    means: torch.Tensor
    directions: torch.Tensor
    variances: torch.Tensor
    rest: float

    def nearest(self, features: torch.Tensor) -> torch.Tensor:
        """Return the distance to the nearest mean (N) of features (N, D)."""
        features = self._whiten(unit(features))
        return torch.cdist(features, self._whitened_means, compute_mode="use_mm_for_euclid_dist").amin(dim=1)

    @functools.cached_property
    def _whitened_means(self) -> torch.Tensor:
        return self._whiten(self.means)

    def _whiten(self, features: torch.Tensor) -> torch.Tensor:
        """Return features (N, D) in coordinates in which a class varies by 1 in every direction."""
        along = features @ self.directions.T
        plain = self.rest**-0.5
        stretched: torch.Tensor = plain * features + (along * (self.variances**-0.5 - plain)) @ self.directions
        return stretched


def unit(features: torch.Tensor) -> torch.Tensor:
    """Return features (N, D) with length 1; of zeros, zeros."""
    return functional.normalize(features.float(), dim=1)


def fit_distances(features: torch.Tensor, classes: torch.Tensor) -> ClassDistances:
    """Compute the statistics of the features of training images.

    With few images the covariance is drawn towards a sphere as far as Ledoit and Wolf (2004, J. Multivariate Analysis
    88) find best, so that it is never singular.

    Args:
        features: (N, D), finite.
        classes: The class of each image (N); a class without images has no mean.
    """
    rows = unit(features)
    present, places, counts = torch.unique(classes, return_inverse=True, return_counts=True)
    means = torch.zeros(len(present), rows.shape[1]).index_add_(0, places, rows) / counts[:, None]
    # A class of one image says nothing of how much a class varies.
    within = (rows - means[places])[counts[places] > 1]
    freedom = max(1, int((counts - 1).sum()))
    within = within * math.sqrt(len(within) / freedom)
    chosen = torch.randperm(len(within), generator=torch.Generator().manual_seed(0))[:COVARIANCE_IMAGES]
    directions, variances, rest = _covariance(within[chosen])
    return ClassDistances(means, directions, variances, rest)


def _covariance(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return the directions of most variance (R, D), the variances in them (R), and the mean of all other ones.

    Args:
        rows: (N, D), with a mean of zero.
    """
    count, dims = rows.shape
    if count < 2:
        return rows.new_zeros(0, dims), rows.new_zeros(0), 1 / dims
    rows = rows.double()
    mean = float(rows.square().sum()) / (count * dims)
    values, directions = _principal(rows)
    squares = float(values.square().sum())
    scattered = (float(rows.square().sum(dim=1).square().sum()) / count - squares) / count
    apart = squares - dims * mean**2
    shrunk = min(1.0, max(0.0, scattered / apart)) if apart > 0 else 1.0
    kept = min(DIRECTIONS, dims - 1, int((values > 1e-9 * values[0]).sum()))
    variances = (1 - shrunk) * values[:kept] + shrunk * mean
    rest = (mean * dims - float(variances.sum())) / (dims - kept)
    return directions[:kept].float(), variances.float().clamp(min=SMALLEST), max(rest, SMALLEST)


def _principal(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the eigenvalues of the second moments of rows (N, D), highest first, and their directions (K, D).

    K is the smaller of N and D. Directions of the eigenvalue 0 are anything.
    """
    count, dims = rows.shape
    if dims <= count:
        values, vectors = torch.linalg.eigh(rows.T @ rows / count)
        return values.flip(0), vectors.T.flip(0)
    values, vectors = torch.linalg.eigh(rows @ rows.T / count)  # With the same eigenvalues but zeros.
    return values.flip(0), functional.normalize((vectors.T @ rows).flip(0), dim=1)


@dataclass(frozen=True)
class NoveltyDetector:
    """Tells how unlike the training images an image is.

    Attributes:
        distances: To the classes.
        weights: What the distance and the highest logit are multiplied by, and what is added to their sum.
        threshold: Images with a higher novelty are unknown.
    """

    distances: ClassDistances
    weights: tuple[float, float, float]
    threshold: float

    def novelty(self, features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """Return how unlike the training images are (N); over val the mean is 0 and the standard deviation 1.

        Args:
            features: What arrives at the head (N, D).
            logits: (N, classes), or (N, 1) where one logit stands for two classes.

        Raises:
            ModelFileError: The statistics are of other features.
        """
        if features.shape[1:] != self.distances.means.shape[1:]:
            expected, found = self.distances.means.shape[1], tuple(features.shape)
            raise ModelFileError(
                f"The model file's statistics are of features with {expected} values, but the head takes {found}."
            )
        distance, logit, offset = self.weights
        novelty = distance * self.distances.nearest(features.cpu()) + logit * highest(logits.cpu()) + offset
        return novelty.nan_to_num(nan=math.inf)

    @classmethod
    def of(cls, note: NoveltyNote) -> Self:
        """Unpack what a model file holds.

        Raises:
            ModelFileError: It is damaged.
        """
        known = Statistics.of(note)
        means = torch.from_numpy(known.means)
        if known.basis is not None:
            means = means @ torch.from_numpy(known.basis)
        means = means + torch.from_numpy(known.centre)
        directions, variances = torch.from_numpy(known.directions), torch.from_numpy(known.variances)
        return cls(ClassDistances(means, directions, variances, note.rest), note.weights, note.threshold)


def highest(logits: torch.Tensor) -> torch.Tensor:
    """Return the highest logit (N); of one logit z, which stands for two, that of z / 2 and -z / 2."""
    return logits.float().abs()[:, 0] / 2 if logits.shape[1] == 1 else logits.float().amax(dim=1)


def fit_novelty(
    layer: str,
    train_features: torch.Tensor,
    train_classes: torch.Tensor,
    val_features: torch.Tensor,
    val_logits: torch.Tensor,
) -> NoveltyNote:
    """Compute what tells images unlike those of training, with a threshold from val.

    The threshold is the novelty that a new image of a known class exceeds with a probability of at most `FALSE_ALARMS`,
    if it is drawn like those of val (split conformal prediction: Vovk, Gammerman and Shafer 2005); with fewer than 19
    images in val it is the highest of them, and the probability one in their number plus 1.

    Args:
        layer: Name of the module whose inputs are the features.
        train_features: (N, D), finite.
        train_classes: (N).
        val_features: (M, D), finite, of images that are not among those of train.
        val_logits: (M, classes), finite.
    """
    means, centre, basis, distances = _packed(fit_distances(train_features, train_classes))
    parts = distances.nearest(val_features), highest(val_logits)
    (near, near_spread), (sure, sure_spread) = ((float(part.mean()), _spread(part)) for part in parts)
    sure_spread /= LOGIT_WEIGHT
    total = _spread((parts[0] - near) / near_spread - (parts[1] - sure) / sure_spread)
    weights = 1 / (near_spread * total), -1 / (sure_spread * total), (sure / sure_spread - near / near_spread) / total
    ranked = NoveltyDetector(distances, weights, math.inf).novelty(val_features, val_logits).sort().values
    place = min(len(ranked), math.ceil((len(ranked) + 1) * (1 - FALSE_ALARMS)))
    threshold = float(ranked[place - 1])
    return NoveltyNote(
        layer,
        len(train_features),
        len(val_features),
        int((ranked > threshold).sum()),
        threshold,
        weights,
        means,
        centre,
        basis,
        PackedTensor.of(distances.directions),
        tuple(distances.variances.tolist()),
        distances.rest,
    )


def _spread(values: torch.Tensor) -> float:
    """Return the standard deviation; 1 where all values are alike."""
    spread = float(values.double().std()) if len(values) > 1 else 0.0
    return spread if spread > 1e-6 else 1.0


def _packed(
    distances: ClassDistances,
) -> tuple[PackedTensor, PackedTensor, PackedTensor | None, ClassDistances]:
    """Return the class means for a file: means, centre and basis, and the distances as the file will give them."""
    centre = PackedTensor.of(distances.means.mean(dim=0))
    apart = distances.means - centre.unpack()
    classes, dims = apart.shape
    basis = None
    if classes * dims > MAX_VALUES:
        axes = max(1, min(MAX_VALUES // (classes + dims), classes, dims))
        directions = _principal(apart)[1][:axes]
        basis = PackedTensor.of(directions)
        apart = apart @ directions.T
    means = PackedTensor.of(apart)
    read = means.unpack() if basis is None else means.unpack() @ basis.unpack()
    directions = PackedTensor.of(distances.directions).unpack()
    return means, centre, basis, ClassDistances(read + centre.unpack(), directions, distances.variances, distances.rest)
