"""Unknown images without torch, beside what torch computes."""

import dataclasses

import numpy as np
import pytest
import torch

from tl_toolkit.errors import ModelFileError
from tl_toolkit.inference.array_novelty import ArrayNovelty
from tl_toolkit.inference.novelty import MAX_VALUES, NoveltyDetector, fit_novelty
from tl_toolkit.model_file import NoveltyNote


def note_of(classes: int, dims: int, one_logit: bool = False) -> tuple[NoveltyNote, torch.Tensor, torch.Tensor]:
    """What a model file holds, and new features with their logits."""
    generator = torch.Generator().manual_seed(0)
    kinds = torch.arange(3 * classes) % classes
    centres = torch.randn(classes, dims, generator=generator)
    features = centres[kinds] + 0.3 * torch.randn(len(kinds), dims, generator=generator)
    logits = 5 * torch.nn.functional.one_hot(kinds, classes).float()
    if one_logit:
        logits = logits[:, :1] - 2
    note = fit_novelty("fc", features[classes:], kinds[classes:], features[:classes], logits[:classes])
    new = torch.cat([features[:20], torch.randn(20, dims, generator=generator), torch.zeros(1, dims)])
    return note, new, torch.cat([logits[:20], logits[:20], logits[:1]])


@pytest.mark.parametrize(
    ("classes", "dims", "one_logit"), [(20, 40, False), (20, 40, True), (1500, 300, False)], ids=["few", "one", "basis"]
)
def test_novelty_is_that_of_torch(classes: int, dims: int, one_logit: bool):
    note, features, logits = note_of(classes, dims, one_logit)
    assert (note.basis is not None) == (classes * dims > MAX_VALUES)
    found = ArrayNovelty.of(note).novelty(features.numpy(), logits.numpy())
    expected = NoveltyDetector.of(note).novelty(features, logits).numpy()
    assert found.dtype == np.float32
    assert found == pytest.approx(expected, abs=2e-3 * float(np.abs(expected).max()))
    assert ArrayNovelty.of(note).threshold == note.threshold


def test_novelty_of_what_is_no_number_is_infinite():
    note, features, logits = note_of(20, 40)
    found = ArrayNovelty.of(note).novelty(np.full((1, 40), np.nan, np.float32), logits[:1].numpy())
    assert found.tolist() == NoveltyDetector.of(note).novelty(features[:1] * torch.nan, logits[:1]).tolist() == [np.inf]


def test_novelty_of_other_features_raises():
    note, _, _ = note_of(20, 40)
    with pytest.raises(ModelFileError, match=r"are of features with 40 values, but it gives \(1, 7\)"):
        ArrayNovelty.of(note).novelty(np.zeros((1, 7), np.float32), np.zeros((1, 20), np.float32))


def test_damaged_statistics_are_refused_alike():
    note, _, _ = note_of(20, 40)
    damaged = dataclasses.replace(note, variances=note.variances[1:])
    for kind in (ArrayNovelty, NoveltyDetector):
        with pytest.raises(
            ModelFileError, match="statistics of the training images are damaged: its tensors do not fit"
        ):
            kind.of(damaged)
