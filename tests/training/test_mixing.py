import numpy as np
import pytest
import torch

from tl_toolkit.config.choices import Loss
from tl_toolkit.training.losses import Criterion
from tl_toolkit.training.mixing import Mixed, Mixing

IMAGES = torch.arange(8.0)[:, None, None, None].expand(8, 3, 16, 16)
"""Each has the number of its place in every pixel, so that what comes from which image can be seen."""

TARGETS = torch.arange(8) + 100


def partners_of(mixed: Mixed) -> torch.Tensor:
    """Places of the images that each one was mixed with."""
    return mixed.partners - 100


def test_mixup_takes_the_told_share_of_the_image_and_the_rest_of_its_partner():
    for step in range(50):
        mixed = Mixing(mixup=1.0, cutmix=0.0, seed=0)(IMAGES, TARGETS, step)
        expected = mixed.share * torch.arange(8.0) + (1 - mixed.share) * partners_of(mixed)
        torch.testing.assert_close(mixed.inputs, expected[:, None, None, None].expand_as(IMAGES))
        assert 0.5 <= mixed.share <= 1
        assert sorted(mixed.partners.tolist()) == TARGETS.tolist()


def test_cutmix_puts_a_rectangle_of_the_partner_whose_area_is_what_the_share_leaves():
    shares = []
    for step in range(200):
        mixed = Mixing(mixup=0.0, cutmix=1.0, seed=0)(IMAGES, TARGETS, step)
        shares.append(mixed.share)
        for index, partner in enumerate(partners_of(mixed).tolist()):
            from_partner = mixed.inputs[index] != index
            if partner == index:
                assert not from_partner.any()
                continue
            assert (mixed.inputs[index][from_partner] == partner).all()
            assert from_partner.float().mean() == pytest.approx(1 - mixed.share, abs=1e-6)
            rows, columns = from_partner.any(2).any(0), from_partner.any(1).any(0)
            assert from_partner.sum() == 3 * rows.sum() * columns.sum()
    assert np.ptp(shares) > 0.3


def test_mixing_of_both_methods_draws_each_about_as_often():
    cut = swapped = 0
    for step in range(200):
        mixed = Mixing(1.0, 1.0, seed=3)(IMAGES[:2], TARGETS[:2], step)
        if mixed.partners[0] != TARGETS[0] and mixed.share < 1:
            swapped += 1
            cut += bool((mixed.inputs[1] == 1).any())  # Mixup leaves no pixel as it was.
    assert swapped > 50
    assert 0.35 < cut / swapped < 0.65


def test_mixing_depends_on_seed_and_step_alone():
    def mix(seed: int, step: int) -> torch.Tensor:
        return Mixing(0.4, 1.0, seed)(IMAGES, TARGETS, step).inputs

    first = mix(1, 5)
    torch.manual_seed(99)
    np.random.seed(99)
    assert torch.equal(mix(1, 5), first)
    assert not torch.equal(mix(1, 6), first)
    assert not torch.equal(mix(2, 5), first)


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_mixing_of_equal_images_changes_nothing(mixup: float, cutmix: float):
    images = torch.rand(1, 3, 9, 7).expand(4, -1, -1, -1)
    for step in range(20):
        mixed = Mixing(mixup, cutmix, seed=0)(images, torch.arange(4), step)
        assert torch.equal(mixed.inputs, images)


def test_mixing_leaves_the_batch_as_it_was():
    images = IMAGES.clone()
    for step in range(5):
        Mixing(1.0, 1.0, seed=0)(images, TARGETS, step)
    assert torch.equal(images, IMAGES)


def test_cutmix_of_features_without_height_and_width_mixes_as_mixup_does():
    features = torch.arange(6.0)[:, None].expand(6, 4)
    mixed = Mixing(mixup=0.0, cutmix=1.0, seed=0)(features, torch.arange(6), 1)
    expected = mixed.share * torch.arange(6.0) + (1 - mixed.share) * mixed.partners
    torch.testing.assert_close(mixed.inputs, expected[:, None].expand_as(features))


def test_mixup_with_a_small_alpha_mixes_little():
    shares = {alpha: [Mixing(alpha, 0.0, 0)(IMAGES, TARGETS, step).share for step in range(100)] for alpha in (0.1, 5)}
    assert np.mean(shares[0.1]) > 0.9 > 0.75 > np.mean(shares[5])


def test_mixing_of_a_single_image_keeps_it():
    mixed = Mixing(1.0, 1.0, seed=0)(IMAGES[:1], TARGETS[:1], 3)
    assert torch.equal(mixed.inputs, IMAGES[:1])
    assert torch.equal(mixed.partners, TARGETS[:1])


@pytest.mark.parametrize("mixing", [Mixing(1.0, 0.0, 0), Mixing(0.0, 1.0, 0)])
@pytest.mark.parametrize("loss", ["bce", "cross-entropy"])
def test_mixed_loss_is_that_of_the_mixed_labels(mixing: Mixing, loss: Loss):
    generator = torch.Generator().manual_seed(0)
    labels = (torch.rand(8, 3, generator=generator) < 0.5).float()
    labels = labels if loss == "bce" else (labels + 1).softmax(dim=1)
    logits = torch.randn(8, 3, generator=generator)
    mixed = mixing(IMAGES, labels, 3)
    criterion = Criterion(loss, class_weights=torch.tensor([1.0, 2.0, 3.0]) if loss == "bce" else None)
    both = mixed.share * criterion(logits, labels) + (1 - mixed.share) * criterion(logits, mixed.partners)
    mixed_labels = mixed.share * labels + (1 - mixed.share) * mixed.partners
    assert both == pytest.approx(float(criterion(logits, mixed_labels)), rel=1e-6)
