import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_toolkit.errors import UsageError
from tl_toolkit.sampling.division import DividedKeys, Division, division_of_batches


class Order:
    """A sampler."""

    def __init__(self, count: int, first: int = 0) -> None:
        self.count, self.first = count, first

    def __iter__(self):
        return iter(range(self.first, self.count))


@settings(max_examples=300)
@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
def test_shares_hold_each_image_once(images: int, processes: int, parts: int, full: int):
    batch_size = full * processes * parts
    images = min(images, batch_size)
    shares = [Division(processes, rank, parts).shares(images, batch_size) for rank in range(processes)]
    counted = [range(share.start, share.stop) for rank in shares for share in rank if share.counts]
    assert sorted(image for each in counted for image in each) == list(range(images))
    assert len({len(rank) for rank in shares}) == 1  # All exchange gradients equally often.
    for rank in shares:
        for share in rank:
            assert share.part_start <= share.start < share.stop <= share.part_stop
    assert {(s.part_start, s.part_stop) for rank in shares for s in rank} == {
        (s.part_start, s.part_stop) for s in Division(1, 0, parts).shares(images, batch_size)
    }


@settings(max_examples=200)
@given(st.integers(1, 50), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_keys_of_all_processes_are_those_of_an_epoch(count: int, processes: int, parts: int, full: int, done: int):
    batch_size = full * processes * parts
    batches = -(-count // batch_size)
    done = min(done, batches)
    seen = []
    for rank in range(processes):
        division = Division(processes, rank, parts)
        keys = iter(DividedKeys(Order(count, done * batch_size), batch_size, batches, division))
        for batch in range(done, batches):
            for share in division.shares(min(batch_size, count - batch * batch_size), batch_size):
                computed = next(keys)
                if share.counts:
                    seen += computed
        assert next(keys, None) is None
    assert sorted(seen) == list(range(min(count, done * batch_size), count))


def test_parts_that_a_batch_cannot_be_divided_into_are_refused():
    assert division_of_batches(12, 3) == Division(1, 0, 3)
    with pytest.raises(UsageError, match=r"cannot be divided among 5 parts \(accumulate=5\): take 10 or 15\."):
        division_of_batches(12, 5)
