"""A map of features in two dimensions, in which images that look alike to a network lie close together."""

import dataclasses
import importlib.util
from typing import Literal

import torch

from tl_toolkit.errors import UsageError
from tl_toolkit.metrics.predictions import Predictions

Projection = Literal["pca", "umap"]

ABOUT: dict[Projection, str] = {
    "pca": "What arrives at the head, projected on its two main directions (PCA).",
    "umap": "What arrives at the head, by UMAP: neighbours stay neighbours, but distances between groups say little.",
}

SEED = 0
SAMPLE = 5_000
"""Images that the axes are found on; all are projected."""

DIRECTIONS, ITERATIONS = 8, 8
"""Of the randomized decomposition (Halko et al. 2011), of which the first two directions are kept."""

NEIGHBOURS = 15
"""umap-learn's default: of how many neighbours each image keeps the distances."""


def project(features: torch.Tensor, method: Projection = "pca") -> torch.Tensor:
    """Return features in two dimensions.

    Args:
        features: (N, D), of any floating-point type.
        method: "pca", the two directions of the largest variance; or "umap", which keeps neighbours together (McInnes
            et al. 2018, arXiv:1802.03426).

    Returns:
        Coordinates (N, 2), float32, on the CPU. Rows that are not finite are NaN.

    Raises:
        UsageError: umap-learn is not installed.
    """
    rows = features.detach().float().cpu().flatten(1)
    finite = rows.isfinite().all(dim=1)
    points = torch.full((len(rows), 2), torch.nan)
    points[finite] = _umap(rows[finite]) if method == "umap" else _pca(rows[finite])
    return points


def check_projection(method: Projection) -> None:
    """Refuse UMAP where it is not installed.

    Raises:
        UsageError: umap-learn is not installed.
    """
    if method == "umap" and importlib.util.find_spec("umap") is None:
        raise UsageError("A map by UMAP needs umap-learn: pip install 'tl_toolkit[umap]'. PCA needs nothing more.")


def with_map(predictions: Predictions) -> Predictions:
    """Return predictions with the map of their features by PCA; as they are if the features were not kept."""
    if predictions.features is None or not len(predictions):
        return predictions
    return dataclasses.replace(predictions, map=project(predictions.features))


def _pca(rows: torch.Tensor) -> torch.Tensor:
    """Return the coordinates on the first two principal axes; each axis points to where its largest entry is positive.

    Args:
        rows: Finite features (N, D).
    """
    points = torch.zeros(len(rows), 2)
    if len(rows) < 2 or not rows.shape[1]:
        return points
    centered = rows - rows.mean(dim=0)
    with torch.random.fork_rng(devices=()):  # The decomposition begins with random directions.
        torch.manual_seed(SEED)
        sample = centered[torch.randperm(len(centered))[:SAMPLE]].double()
        axes = torch.svd_lowrank(sample, q=min(DIRECTIONS, *sample.shape), niter=ITERATIONS)[2].T[:2].float()
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * torch.where(largest < 0, -1.0, 1.0)
    points[:, : len(axes)] = centered @ axes.T
    return points


def _umap(rows: torch.Tensor) -> torch.Tensor:
    """Return the coordinates that UMAP gives.

    Args:
        rows: Finite features (N, D).
    """
    check_projection("umap")
    import umap

    if len(rows) <= NEIGHBOURS:  # Too few to have neighbours.
        return _pca(rows)
    reducer = umap.UMAP(n_components=2, n_neighbors=NEIGHBOURS, random_state=SEED, n_jobs=1)
    return torch.from_numpy(reducer.fit_transform(rows.numpy())).float()
