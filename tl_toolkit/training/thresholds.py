"""The probability from which an image is given a label, chosen for each label on val."""

import torch

from tl_toolkit.metrics.label_scores import CHUNK, rank

PRIOR_IMAGES = 30
"""The threshold of a label with as many images in val is halfway between its own and the common one, in logits. Of
0, 3, 10, 30 and the common threshold alone it gave the highest macro F1 on other images, or within 0.2 points of it,
with 5 to 36 images a label (tests/benchmarks/NOTES.md)."""

LIMIT, STEPS = 15.0, 100
"""Common thresholds are tried from -`LIMIT` to `LIMIT`, `STEPS` to a logit: a probability of 3e-7 and nearly 1."""


def choose_thresholds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the thresholds (classes) with the highest F1 on a split, as probabilities, float32 on the CPU.

    The best threshold for few images is best by chance (Yang 2001, "A study of thresholding strategies for text
    categorization"; Lipton, Elkan and Narayanaswamy 2014, arXiv:1402.1892). So that of each label is pulled towards one
    for all labels, which has the highest F1 over all of them together: by `PRIOR_IMAGES` divided by the images with the
    label. A label without images has the common one.

    Args:
        logits: (N, classes).
        labels: Which images have which label (N, classes).
    """
    common = common_threshold(logits, labels)
    columns = max(1, CHUNK // max(1, len(logits)))
    parts = zip(torch.split(logits, columns, dim=1), torch.split(labels, columns, dim=1), strict=True)
    own = torch.cat([best_thresholds(some.cpu(), theirs.cpu()) for some, theirs in parts]).clamp(-LIMIT, LIMIT)
    images = labels.sum(dim=0).cpu().double()
    return ((images * own + PRIOR_IMAGES * common) / (images + PRIOR_IMAGES)).sigmoid().float()


def best_thresholds(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the logit for each label (classes) with the highest F1, halfway to the next lower score; float64.

    Of equally good ones it is the highest.
    """
    hits, precision, last = rank(logits, labels)
    places = torch.arange(1, len(logits) + 1, dtype=torch.float64)[:, None]
    f1 = 2 * precision * places / (places + hits.sum(dim=0))
    f1[last != torch.arange(len(logits))[:, None]] = -1  # Images with the same score cannot be told apart.
    best = f1.argmax(dim=0, keepdim=True)
    ranked = logits.double().sort(dim=0, descending=True).values
    lowest = ranked.gather(0, best)[0]
    below = ranked.gather(0, (best + 1).clamp(max=len(logits) - 1))[0]
    return torch.where(below < lowest, (below + lowest) / 2, lowest)


def common_threshold(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the logit, one for all labels, with the highest F1 over all of them; 0 if no image has a label."""
    bins = ((logits.clamp(-LIMIT, LIMIT) + LIMIT) * STEPS).long().flatten()
    count = round(2 * LIMIT * STEPS) + 1
    given, right = (
        torch.bincount(some, minlength=count).double().cpu().flip(0).cumsum(0)
        for some in (bins, bins[labels.flatten()])
    )
    if not right[-1]:
        return torch.zeros((), dtype=torch.float64)
    best = count - 1 - int((2 * right / (given + right[-1])).argmax())
    return torch.tensor(best / STEPS - LIMIT, dtype=torch.float64)
