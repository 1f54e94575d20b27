import dataclasses
import json
import math

import pytest
import torch

from tl_toolkit.errors import ModelFileError
from tl_toolkit.inference import novelty
from tl_toolkit.inference.novelty import (
    ClassDistances,
    NoveltyDetector,
    fit_distances,
    fit_novelty,
    highest,
    unit,
)
from tl_toolkit.io.packed_tensors import PackedTensor
from tl_toolkit.model_file import NoveltyNote

CLASSES, DIMS = 5, 60


def features_of(classes: torch.Tensor, seed: int, dims: int = DIMS, spread: float = 0.3) -> torch.Tensor:
    """Features that lie around a direction of each class."""
    centres = torch.randn(3000, dims, generator=torch.Generator().manual_seed(1))
    return centres[classes] + spread * torch.randn(len(classes), dims, generator=torch.Generator().manual_seed(seed))


def logits_of(classes: torch.Tensor) -> torch.Tensor:
    return 5 * torch.nn.functional.one_hot(classes, CLASSES).float()


def some_note(train: int = 200, val: int = 200, dims: int = DIMS, classes: int = CLASSES) -> NoveltyNote:
    of_train, of_val = torch.arange(train) % classes, torch.arange(val) % classes
    return fit_novelty("fc", features_of(of_train, 2, dims), of_train, features_of(of_val, 3, dims), logits_of(of_val))


def test_nearest_is_the_mahalanobis_distance_with_the_whole_covariance(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(novelty, "DIRECTIONS", DIMS)
    classes = torch.arange(400) % CLASSES
    distances = fit_distances(features_of(classes, 2), classes)
    covariance = (distances.directions.T * distances.variances) @ distances.directions
    covariance += distances.rest * (torch.eye(DIMS) - distances.directions.T @ distances.directions)
    new = unit(features_of(classes[:7], 4))
    apart = new[:, None] - distances.means
    expected = torch.einsum("ncd,de,nce->nc", apart, covariance.inverse(), apart).sqrt().amin(dim=1)
    assert torch.allclose(distances.nearest(new), expected, rtol=1e-3)


def test_fit_distances_finds_the_covariance_within_classes():
    classes = torch.arange(4000) % CLASSES
    features = features_of(classes, 2, dims=8, spread=0.02)
    distances = fit_distances(features, classes)
    rows = unit(features)
    within = rows - torch.stack([rows[classes == each].mean(dim=0) for each in range(CLASSES)])[classes]
    expected = torch.linalg.eigvalsh(within.T @ within / (4000 - CLASSES)).flip(0)
    assert torch.allclose(distances.variances, expected[:7], rtol=0.1)
    assert distances.means.shape == (CLASSES, 8)


@pytest.mark.parametrize("images", [6, 30, 700])
def test_novelty_tells_noise_from_new_images_of_known_classes(images: int):
    detector = NoveltyDetector.of(some_note(train=images))
    known = detector.novelty(features_of(torch.arange(100) % CLASSES, 5), logits_of(torch.arange(100) % CLASSES))
    noise = detector.novelty(torch.randn(100, DIMS, generator=torch.Generator().manual_seed(6)), torch.zeros(100, 5))
    assert float((noise > detector.threshold).float().mean()) == 1
    assert float((known > detector.threshold).float().mean()) <= 0.15
    assert float(known.amax()) < float(noise.amin())


def test_novelty_of_val_has_mean_0_and_standard_deviation_1():
    classes = torch.arange(200) % CLASSES
    scores = NoveltyDetector.of(some_note()).novelty(features_of(classes, 3), logits_of(classes))
    assert (float(scores.mean()), float(scores.std())) == (pytest.approx(0, abs=1e-3), pytest.approx(1, abs=1e-3))


@pytest.mark.parametrize(("images", "flagged"), [(1000, 49), (100, 4), (19, 0), (10, 0)])
def test_threshold_flags_at_most_the_stated_share_of_val(images: int, flagged: int):
    note = some_note(val=images)
    assert (note.val_images, note.flagged) == (images, flagged)


def test_threshold_flags_the_stated_share_of_new_images():
    classes = torch.arange(4000) % CLASSES
    new, logits = features_of(classes, 7), logits_of(classes)
    shares = []
    for seed in range(30):
        of_val = torch.arange(60) % CLASSES
        note = fit_novelty("", features_of(classes, 2), classes, features_of(of_val, 10 + seed), logits_of(of_val))
        detector = NoveltyDetector.of(note)
        shares.append(float((detector.novelty(new, logits) > detector.threshold).double().mean()))
    assert 0.03 < sum(shares) / len(shares) < 0.06


def test_a_lower_highest_logit_is_more_novel():
    detector = NoveltyDetector.of(some_note())
    features = features_of(torch.zeros(2, dtype=torch.long), 8)[:1].repeat(2, 1)
    sure, unsure = detector.novelty(features, torch.tensor([[5.0, 0, 0, 0, 0], [1.0, 0, 0, 0, 0]])).tolist()
    assert sure <= unsure


def test_highest_of_one_logit_is_that_of_two_around_zero():
    one = torch.tensor([[3.0], [-1.0]])
    assert torch.equal(highest(one), highest(torch.cat([-one / 2, one / 2], dim=1)))


@pytest.mark.parametrize("rows", ["alike", "zero", "one of each class", "one"])
def test_fit_distances_of_too_little_variation_stays_finite(rows: str):
    features = {
        "alike": torch.ones(20, DIMS),
        "zero": torch.zeros(20, DIMS),
        "one of each class": features_of(torch.arange(4), 2),
        "one": torch.ones(1, DIMS),
    }[rows]
    classes = torch.arange(len(features)) if "one" in rows else torch.arange(20) % 2
    found = fit_distances(features, classes).nearest(torch.randn(9, DIMS, generator=torch.Generator().manual_seed(0)))
    assert bool(found.isfinite().all())


def test_features_that_are_no_numbers_are_unknown():
    detector = NoveltyDetector.of(some_note())
    features = features_of(torch.zeros(1, dtype=torch.long), 8)
    features[0, 3] = math.nan
    [score] = detector.novelty(features, torch.zeros(1, CLASSES)).tolist()
    assert score == math.inf


def test_note_of_thousands_of_classes_stays_small_and_tells_noise():
    dims, of_train = 256, torch.arange(6000) % 3000
    some = torch.arange(300)
    note = fit_novelty(
        "fc", features_of(of_train, 2, dims), of_train, features_of(some, 3, dims), torch.zeros(300, 3000)
    )
    assert note.basis is not None
    assert len(json.dumps(dataclasses.asdict(note))) < 4 / 3 * 2 * (novelty.MAX_VALUES + 40 * dims) + 10_000
    detector = NoveltyDetector.of(note)
    known = detector.novelty(features_of(some, 4, dims), torch.zeros(300, 3000))
    noise = torch.randn(300, dims, generator=torch.Generator().manual_seed(5))
    assert float(detector.novelty(noise, torch.zeros(300, 3000)).median()) > float(known.median())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": PackedTensor((2, DIMS), "????")}, "a tensor is not base64"),
        ({"centre": PackedTensor.of(torch.zeros(3))}, "its tensors do not fit each other"),
        ({"centre": PackedTensor.of(torch.zeros(()))}, "its centre is no vector"),
        ({"rest": 0.0}, "its variances are not positive"),
        ({"basis": PackedTensor.of(torch.zeros(3, 3))}, "statistics of the training images are damaged"),
    ],
)
def test_detector_of_a_damaged_note_raises(change: dict[str, object], message: str):
    with pytest.raises(ModelFileError, match=message):
        NoveltyDetector.of(dataclasses.replace(some_note(), **change))


def test_novelty_of_other_features_raises():
    with pytest.raises(ModelFileError, match="features with 60 values, but the head takes"):
        NoveltyDetector.of(some_note()).novelty(torch.zeros(1, 7), torch.zeros(1, CLASSES))


def test_packed_distances_are_those_that_the_threshold_was_chosen_with():
    classes = torch.arange(200) % CLASSES
    detector = NoveltyDetector.of(some_note())
    plain = fit_distances(features_of(classes, 2), classes)
    new = features_of(classes, 9)
    assert isinstance(detector.distances, ClassDistances)
    assert torch.allclose(detector.distances.nearest(new), plain.nearest(new), rtol=1e-2)
