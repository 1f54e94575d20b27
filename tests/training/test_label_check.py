import pytest
import torch

from tests.helpers.stages import cluster_features
from tl_toolkit.training import label_check
from tl_toolkit.training.cross_validation import FOLDS, assign_folds, held_out_logits
from tl_toolkit.training.label_check import check_labels, why_too_costly
from tl_toolkit.training.losses import Criterion

SIZES = [40, 30, 20]


def flipped(count: int = 5, spread: float = 0.5) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """Three corners of a cube, a class each, with the labels of some images changed to the next class."""
    generator = torch.Generator().manual_seed(1)
    targets = torch.cat([torch.full((size,), target) for target, size in enumerate(SIZES)])
    features = 4 * torch.nn.functional.one_hot(targets, 3) + spread * torch.randn(len(targets), 3, generator=generator)
    places = torch.randperm(len(targets), generator=generator)[:count]
    targets[places] = (targets[places] + 1) % 3
    return features, targets, sorted(places.tolist())


def test_flipped_labels_are_found_with_the_class_that_they_were():
    features, targets, places = flipped()
    found = check_labels(features, targets, 3)
    assert sorted(issue.index for issue in found.issues) == places
    assert (found.found, found.judged) == (5, 90)
    for issue in found.issues:
        assert issue.suggested == (targets[issue.index] - 1) % 3
        assert 0 <= issue.given_probability < issue.suggested_probability <= 1


def test_list_is_that_of_the_rule_written_out():
    features, targets, _ = flipped(8, 2.5)
    probabilities = torch.zeros(len(targets), 3)
    for held_out, logits in held_out_logits(features, targets, 3, Criterion(), steps=label_check.STEPS):
        probabilities[held_out] = logits.softmax(dim=1)
    expected = []
    thresholds = [float(probabilities[targets == c, c].mean()) for c in range(3)]
    for index, row in enumerate(probabilities.tolist()):
        reaching = [c for c in range(3) if row[c] >= thresholds[c]]
        likeliest = max(reaching, key=row.__getitem__, default=None)
        if likeliest is not None and likeliest != targets[index]:
            expected.append((row[targets[index]], index))
    assert len(expected) > 3
    assert [issue.index for issue in check_labels(features, targets, 3).issues] == [
        index for _, index in sorted(expected)
    ]


def test_clean_labels_are_not_suspicious():
    features, targets = flipped(0)[:2]
    assert check_labels(features, targets, 3).issues == []


def test_no_probe_learns_from_the_image_that_it_judges():
    features, targets, places = flipped()
    whole = {issue.index: issue.given_probability for issue in check_labels(features, targets, 3).issues}
    assert max(whole.values()) < 0.2  # A probe that had learned from them would give them their labels.
    assert whole.keys() == set(places)


def test_copies_of_a_wrong_image_do_not_vouch_for_each_other():
    features, targets = cluster_features(SIZES, 0.3, width=64)
    wrong = int((targets == 0).nonzero()[0, 0])
    features = torch.cat([features, 8 * features[wrong].expand(6, -1)])
    targets = torch.cat([targets, torch.ones(6, dtype=torch.long)])
    groups = [f"image {index}" for index in range(90)] + ["copies"] * 6
    alone = {issue.index for issue in check_labels(features, targets, 3, groups).issues}
    assert alone >= set(range(90, 96))
    assert not {issue.index for issue in check_labels(features, targets, 3).issues} & set(range(90, 96))


def test_only_image_of_a_class_and_rows_that_are_not_finite_are_not_judged():
    features, targets, _ = flipped()
    features = torch.cat([features, torch.ones(1, features.shape[1])])
    targets = torch.cat([targets, torch.tensor([3])])
    features[7] = torch.nan
    found = check_labels(features, targets, 4)
    assert found.judged == 89
    assert 7 not in {issue.index for issue in found.issues}


def test_one_class_and_one_image_have_no_suspicious_labels():
    assert check_labels(torch.randn(10, 4), torch.zeros(10, dtype=torch.long), 1).issues == []
    assert check_labels(torch.randn(1, 4), torch.zeros(1, dtype=torch.long), 2).judged == 0


def test_list_has_an_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_check, "MAX_LISTED", 2)
    features, targets, _ = flipped()
    found = check_labels(features, targets, 3)
    assert (len(found.issues), found.found) == (2, 5)


def test_probes_of_many_images_learn_from_a_part_of_each_class(monkeypatch: pytest.MonkeyPatch):
    features, targets, places = flipped()
    learned: list[torch.Tensor] = []
    real = label_check.held_out_logits

    def recorded(*args: object, **options: object) -> object:
        learned.append(options["learned"])
        return real(*args, **options)

    monkeypatch.setattr(label_check, "held_out_logits", recorded)
    operations = 6.0 * 90 * (FOLDS - 1) * features.shape[1] * 3 * label_check.STEPS * label_check.LBFGS_ITERATIONS
    monkeypatch.setattr(label_check, "MAX_OPERATIONS", operations / 2)
    found = check_labels(features, targets, 3)
    for target in range(3):
        own = targets == target
        assert int(learned[0][own].sum()) == pytest.approx(int(own.sum()) / 2, abs=1.5)
    assert set(places) <= {issue.index for issue in found.issues}
    assert found.judged == 90


def test_check_that_would_take_minutes_says_so():
    assert why_too_costly(3_000, 1280, 101) == ""
    assert why_too_costly(50_000, 1280, 10) == ""
    assert why_too_costly(40, 1280, 10) == ""  # Few images are quick, however few of each class.
    assert why_too_costly(50_000, 2048, 10_000) == "it would take minutes: 50,000 images of 10,000 classes"


def test_held_out_logits_are_of_each_fold_once():
    features, targets = cluster_features(SIZES)
    folds = assign_folds(targets)
    found = list(held_out_logits(features, targets, 3, Criterion()))
    assert [mask.equal(folds == fold) for fold, (mask, _) in enumerate(found)] == [True] * FOLDS
    assert sum(len(logits) for _, logits in found) == 90
