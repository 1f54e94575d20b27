import numpy as np
import pytest
import torch

from tl_toolkit.features.batches import EvalFeatures, FeatureBatches, Features, UncachedFeatures, ViewBatchSampler
from tl_toolkit.io.row_cache import MemoryRows, Rows

CPU = torch.device("cpu")


def rows_of(values: torch.Tensor) -> Rows:
    """In two parts, as if they lay in two shards."""
    half = len(values) // 2
    where = np.arange(len(values))
    return Rows(
        [MemoryRows(values[:half]), MemoryRows(values[half:])],
        (where >= half).astype(int),
        np.where(where < half, where, where - half),
    )


def numbers(count: int) -> Features:
    values = torch.arange(float(count))[:, None]
    return Features([rows_of(values), rows_of(-values)], torch.arange(count))


def test_feature_batches_depend_on_seed_and_epoch_alone():
    def epoch(seed: int, number: int) -> torch.Tensor:
        loader = FeatureBatches(numbers(1000), ViewBatchSampler(1000, 2, 256, seed), CPU)
        loader.set_epoch(number)
        return torch.cat([inputs for inputs, _ in loader])

    assert torch.equal(epoch(0, 1), epoch(0, 1))
    assert not torch.equal(epoch(0, 1), epoch(0, 2))
    assert not torch.equal(epoch(0, 1), epoch(1, 1))
    assert sorted(epoch(0, 1).abs().flatten().tolist()) == list(range(1000))
    assert 300 < (epoch(0, 1) < 0).sum() < 700


def test_feature_batches_keep_features_and_targets_together():
    for inputs, targets in FeatureBatches(numbers(100), ViewBatchSampler(100, 2, 32, 0), CPU):
        assert torch.equal(inputs.abs().flatten().long(), targets)


@pytest.mark.parametrize(
    ("count", "drop_last", "sizes"),
    [(65, False, [32, 32]), (66, False, [32, 32, 2]), (66, True, [32, 32]), (1, False, [1])],
)
def test_order_leaves_out_a_last_batch_of_one(count: int, drop_last: bool, sizes: list[int]):
    order = ViewBatchSampler(count, 1, 32, 0, drop_last)
    assert [len(picked) for picked, _ in order] == sizes
    assert len(order) == len(sizes)


def test_balanced_order_has_each_class_as_often_and_views_for_each_time():
    targets = [0] * 95 + [1] * 5

    def epoch(number: int, first: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        order = ViewBatchSampler(100, 2, 32, 0, balance=targets)
        order.set_epoch(number, first)
        picked, views = zip(*order, strict=True)
        return torch.cat(picked), torch.cat(views)

    picked, views = epoch(1)
    assert torch.bincount(torch.tensor(targets)[picked]).tolist() == [50, 50]
    assert {0, 1} == set(views[picked == 99].tolist())
    assert all(torch.equal(one, other) for one, other in zip(epoch(1), (picked, views), strict=True))
    assert not torch.equal(epoch(2)[0], picked)
    assert torch.equal(epoch(1, first=2)[0], picked[64:])


def test_computed_features_come_in_the_same_batches():
    stored = FeatureBatches(numbers(70), ViewBatchSampler(70, 1, 32, 3), CPU)
    order = ViewBatchSampler(70, 1, 32, 3)
    loader = [(picked.float()[:, None], picked) for picked, _ in order]
    computed = UncachedFeatures(loader, lambda images: images, order)
    assert len(computed) == len(stored)
    for one, other in zip(computed, stored, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_eval_features_are_in_order_in_the_first_view():
    batches = list(EvalFeatures(numbers(70), 32))
    assert [len(targets) for _, targets in batches] == [32, 32, 6]
    assert torch.cat([inputs for inputs, _ in batches]).flatten().tolist() == list(range(70))
