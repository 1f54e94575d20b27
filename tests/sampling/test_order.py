"""The order of an epoch: each sample once, and of samples in shards a few shards at a time."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tl_toolkit.sampling import order
from tl_toolkit.sampling.class_balance import class_balanced_order
from tl_toolkit.sampling.order import epoch_order, shard_order


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def small_buffer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "BUFFER_SAMPLES", 1)


def shards_of(sizes: Sequence[int]) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(sizes)) * 3, torch.tensor(sizes, dtype=torch.int64))


@given(sizes=st.lists(st.integers(0, 40), max_size=30), buffer=st.integers(1, 50), seed=st.integers(0, 9))
def test_shard_order_has_each_sample_once_and_reads_few_shards_at_a_time(sizes: list[int], buffer: int, seed: int):
    shards = shards_of(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order, "BUFFER_SAMPLES", buffer)
        drawn = shard_order(shards, generator(seed))
    assert sorted(drawn.tolist()) == list(range(len(shards)))
    filled = [size for size in sizes if size]
    length = max(buffer, 4 * -(-len(shards) // max(1, len(filled))))
    read = shards[drawn].tolist()
    spans = {shard: [place for place, other in enumerate(read) if other == shard] for shard in set(read)}
    # A shard is read from its first sample to its last; nothing of it comes before or after that.
    for shard, places in spans.items():
        size = sizes[shard // 3]
        assert places[-1] - places[0] < size + 2 * length


def test_shard_order_mixes_shards_and_moves_every_sample(small_buffer: None):
    shards = shards_of([50] * 20)
    drawn = shard_order(shards, generator())
    in_use = [len(set(shards[drawn[start : start + 50]].tolist())) for start in range(200, 800, 50)]
    assert min(in_use) >= 4, "a batch should come from several shards"
    assert max(in_use) <= 10, "it should not come from most of them"
    follows = (drawn[1:] == drawn[:-1] + 1).sum()
    assert follows < 20, "neighbours in a shard should be apart"


def test_shard_order_in_another_epoch_has_other_neighbours_of_shards(small_buffer: None):
    shards = shards_of([50] * 20)
    first, second = (shards[shard_order(shards, generator(seed))] for seed in (1, 2))
    assert not torch.equal(first, second)
    assert set(first[:100].tolist()) != set(second[:100].tolist())


def test_shard_order_depends_on_the_generator_alone():
    shards = shards_of([7, 3, 9])
    assert torch.equal(shard_order(shards, generator(4)), shard_order(shards, generator(4)))


def test_shard_order_of_samples_that_fit_the_buffer_shuffles_all_of_them():
    drawn = shard_order(shards_of([100] * 10), generator())
    assert 30 < int((drawn[:100] >= 500).sum()) < 70
    assert 30 < int((drawn[-100:] >= 500).sum()) < 70


def test_epoch_order_without_shards_is_that_of_torch():
    assert torch.equal(epoch_order(50, generator()), torch.randperm(50, generator=generator()))


def test_epoch_order_without_shards_but_balance_is_the_balanced_one():
    targets = torch.tensor([0] * 30 + [1] * 3)
    assert torch.equal(epoch_order(33, generator(), targets), class_balanced_order(targets, generator()))


def test_epoch_order_with_balance_takes_the_same_images_in_the_turn_of_their_shards(small_buffer: None):
    targets = torch.tensor([0] * 900 + [1] * 100)
    shards = torch.arange(1000) % 20 * 5
    drawn = epoch_order(1000, generator(), targets, shards)
    assert sorted(drawn.tolist()) == sorted(class_balanced_order(targets, generator()).tolist())
    in_use = [len(set(shards[drawn[start : start + 50]].tolist())) for start in range(200, 800, 50)]
    assert max(in_use) <= 10
