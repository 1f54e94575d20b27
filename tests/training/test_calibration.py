import math

import pytest
import torch
from torch.nn import functional

from tl_toolkit.training.calibration import HIGHEST, LOWEST, PRIOR_IMAGES, fit_temperature

IMAGES = 20_000


def drawn(classes: int, images: int = IMAGES) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and targets that are drawn from the very probabilities that they mean."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(images, classes, generator=generator)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_fit_temperature_finds_the_factor_that_logits_were_multiplied_by(factor: float):
    logits, targets = drawn(10)
    assert fit_temperature(factor * logits, targets, "cross-entropy") == pytest.approx(factor, rel=0.02)


@pytest.mark.parametrize("factor", [0.5, 3.0])
def test_fit_temperature_of_one_logit_finds_the_factor(factor: float):
    logits, targets = drawn(2)
    one = factor * (logits[:, 1:] - logits[:, :1])
    assert fit_temperature(one, targets, "bce") == pytest.approx(factor, rel=0.03)


def test_fit_temperature_of_yes_or_no_for_each_class_finds_the_factor():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(IMAGES, 3, generator=generator)
    labels = (torch.rand(IMAGES, 3, generator=generator) < logits.sigmoid()).float()
    assert fit_temperature(3 * logits, labels, "bce") == pytest.approx(3, rel=0.03)


def test_fit_temperature_of_soft_labels_gives_their_shares():
    logits, _ = drawn(5, 200)
    assert fit_temperature(2 * logits, logits.softmax(dim=1), "cross-entropy") == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("images", [12, 300])
def test_fit_temperature_has_the_lowest_loss_with_the_prior(images: int):
    logits, targets = drawn(4, images)
    logits = 3 * logits.double()

    def loss(temperature: float) -> float:
        of_prior = functional.cross_entropy(logits / temperature, logits.softmax(dim=1))
        return float(functional.cross_entropy(logits / temperature, targets) * images + PRIOR_IMAGES * of_prior)

    found = fit_temperature(logits, targets, "cross-entropy")
    assert loss(found) <= min(loss(found * factor) for factor in (0.98, 0.999, 1.001, 1.02))


def test_fit_temperature_where_all_are_right_or_all_wrong_stays_in_bounds():
    logits, _ = drawn(4, 30)
    best = logits.argmax(dim=1)
    right = fit_temperature(logits, best, "cross-entropy")
    assert LOWEST < right < 1
    assert fit_temperature(100 * logits, (best + 1) % 4, "cross-entropy") == pytest.approx(HIGHEST)
    assert fit_temperature(logits / 100, best, "cross-entropy") == pytest.approx(LOWEST)


def test_fit_temperature_of_few_images_stays_nearer_to_one():
    logits, targets = drawn(10)
    many, few = (fit_temperature(5 * logits[:count], targets[:count], "cross-entropy") for count in (IMAGES, 3))
    assert 1 < few < many


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_fit_temperature_of_logits_that_are_not_finite_is_one(value: float):
    logits, targets = drawn(4, 30)
    logits[3, 2] = value
    assert fit_temperature(logits, targets, "cross-entropy") == 1
    assert fit_temperature(logits[:0], targets[:0], "cross-entropy") == 1


def test_fit_temperature_in_parts_is_that_of_all_at_once(monkeypatch: pytest.MonkeyPatch):
    logits, targets = drawn(7, 100)
    whole = fit_temperature(2 * logits, targets, "cross-entropy")
    monkeypatch.setattr("tl_toolkit.training.calibration.CHUNK", 50)
    assert fit_temperature(2 * logits, targets, "cross-entropy") == pytest.approx(whole, rel=1e-9)
