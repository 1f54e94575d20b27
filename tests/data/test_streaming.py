"""A stream gives the same samples for any number of workers, and from any position on."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tl_toolkit.data.streaming import StreamDataset, StreamLoader, shuffle
from tl_toolkit.data.transforms import EvalTransform, StrongAugmentation
from tl_toolkit.errors import ImageError
from tl_toolkit.input_spec import InputSpec

SPEC = InputSpec(height=8, width=8, channels=1, mean=(0.5,), std=(0.5,))


class Shards:
    """Images whose target is their number; its pixels tell it too."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = sizes
        self.num_shards = len(sizes)

    def read_shard(self, shard: int) -> Iterator[tuple[np.ndarray, int]]:
        first = sum(self.sizes[:shard])
        for number in range(first, first + self.sizes[shard]):
            yield (np.arange(64, dtype=np.uint8).reshape(8, 8) + number).astype(np.uint8), number


def noise(image: object) -> torch.Tensor:
    """A transform that draws from torch's own generator."""
    return torch.randint(256, (1, 2, 2), dtype=torch.uint8)


def dataset(sizes: Sequence[int], transform: object = noise, **settings: object) -> StreamDataset:
    return StreamDataset(Shards(sizes), transform, channels=1, seed=3, **settings)


def samples(data: StreamDataset, batch_size: int = 4, workers: int = 0, at: tuple[int, int] = (0, 0)) -> list[object]:
    """(target, pixels) of the samples from a position on."""
    loader = StreamLoader(data, batch_size, workers)
    loader.seek(*at)
    return [
        (int(target), image.numpy().tobytes())
        for pixels, targets in loader
        for image, target in zip(pixels, targets, strict=True)
    ]


@settings(max_examples=100)
@given(
    sizes=st.lists(st.integers(0, 9), max_size=8),
    lanes=st.integers(1, 5),
    block_size=st.integers(1, 4),
    buffer_size=st.integers(1, 12),
    batch_size=st.integers(1, 7),
    data=st.data(),
)
def test_stream_from_any_position_gives_the_rest_of_the_epoch(sizes, lanes, block_size, buffer_size, batch_size, data):
    stream = dataset(sizes, lanes=lanes, block_size=block_size, buffer_size=buffer_size)
    whole = samples(stream, batch_size, at=(2, 0))
    assert sorted(target for target, _ in whole) == list(range(sum(sizes)))
    consumed = data.draw(st.integers(0, len(whole)))
    assert samples(stream, 4, at=(2, consumed)) == whole[consumed:]


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes:UserWarning")
@pytest.mark.parametrize(
    ("sizes", "workers"), [((5, 0, 17, 3, 1, 8, 2), 1), ((5, 0, 17, 3, 1, 8, 2), 2), ((1, 40), 2), ((9, 9, 9, 3), 3)]
)
def test_stream_with_workers_gives_the_same_samples_from_any_position(sizes: tuple[int, ...], workers: int):
    stream = dataset(sizes, StrongAugmentation(SPEC, allow_hflip=True), lanes=4, block_size=2, buffer_size=5)
    whole = samples(stream)
    assert len(whole) == sum(sizes)
    for consumed in (0, 7, len(whole) - 2):
        assert samples(stream, 3, workers, (0, consumed)) == whole[consumed:]


def test_stream_in_another_epoch_has_another_order_and_augmentation():
    stream = dataset((10, 10, 10), lanes=2, buffer_size=4)
    first, second = samples(stream, at=(0, 0)), samples(stream, at=(1, 0))
    assert [target for target, _ in first] != [target for target, _ in second]
    assert dict(first).keys() == dict(second).keys()
    assert len({pixels for _, pixels in [*first, *second]}) == 60


def test_stream_gives_a_batch_transform_other_numbers_for_each_sample():
    class Recorder:
        NUM_RANDOM = 1
        draws: list[float] = []

        def __call__(self, images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
            self.draws += draws[:, 0].tolist()
            return images

    recorder = Recorder()
    assert len(samples(dataset((8, 8), EvalTransform(SPEC), batch_transform=recorder, lanes=2, block_size=4))) == 16
    assert len(set(recorder.draws)) == 16


def test_loader_counts_the_samples_that_it_gave_and_goes_on_to_the_next_epoch():
    stream = dataset((9, 2), lanes=2, block_size=2, buffer_size=3)
    loader = StreamLoader(stream, 4)
    positions = [(len(targets), loader.epoch, loader.consumed) for _, targets in loader]
    assert positions == [(4, 0, 4), (4, 0, 8), (3, 0, 11)]
    assert (loader.epoch, loader.consumed) == (1, 0)
    after = [int(target) for _, targets in loader for target in targets]
    assert after == [target for target, _ in samples(stream, at=(1, 0))]


def test_stream_reads_each_shard_in_one_worker_alone(tmp_path):
    class Noting(Shards):
        def read_shard(self, shard: int) -> Iterator[tuple[np.ndarray, int]]:
            with (tmp_path / str(shard)).open("a") as file:
                file.write("read\n")
            return super().read_shard(shard)

    assert len(samples(StreamDataset(Noting((4, 4, 4, 4)), noise, channels=1, lanes=4), workers=2)) == 16
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["read\n"] * 4


def test_resumed_stream_decodes_nothing_before_the_round():
    decoded: list[object] = []
    stream = dataset((8, 8), lambda image: decoded.append(image) or noise(image), lanes=2, block_size=2, buffer_size=3)
    assert len(samples(stream, at=(0, 9))) == 7
    assert len(decoded) == 8


def test_stream_with_an_image_that_cannot_be_read_names_its_sample():
    class Missing(Shards):
        def read_shard(self, shard: int) -> Iterator[tuple[str, int]]:
            yield "gone.png", 0

    with pytest.raises(ImageError, match="sample 0 of lane 0 in epoch 0: No such file or directory"):
        samples(StreamDataset(Missing((1,)), noise, lanes=1))


def test_shuffle_holds_a_bounded_number_of_samples():
    read: list[int] = []
    shuffled = shuffle((read.append(number) or number for number in range(20)), 5, (1,))
    assert next(shuffled) in range(5)
    assert len(read) == 6
    assert sorted([*shuffled]) != list(range(20))
