import pytest
import torch

from tl_toolkit.data.dataset import ImageDataset, InMemoryDataset, ViewDataset
from tl_toolkit.data.loaders import train_loader, view_loader
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.data.transforms import EvalTransform, FixedView, PadCrop, keyed_random, train_transform
from tl_toolkit.input_spec import InputSpec

SPEC = InputSpec(height=16, width=16)
DIGITS = open_source("digits").split("test").subset(range(20))


def augmented(seed: int = 0) -> ImageDataset:
    return ImageDataset(DIGITS, train_transform(SPEC, "strong", allow_hflip=True), seed=seed)


def test_item_by_epoch_and_index_depends_on_them_and_the_seed_alone():
    image, target = augmented()[3, 7]
    torch.rand(5)
    assert torch.equal(image, augmented()[3, 7][0])
    assert target == DIGITS.targets[7]
    for other in (augmented()[4, 7], augmented()[3, 8], augmented(seed=1)[3, 7]):
        assert not torch.equal(image, other[0])


def test_item_by_index_is_not_augmented():
    dataset = ImageDataset(DIGITS, EvalTransform(SPEC))
    assert torch.equal(dataset[2][0], dataset[2][0])
    assert dataset[2][0].dtype == torch.uint8


def test_keyed_random_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    with keyed_random(1, 2, 3):
        torch.rand(9)
    assert torch.equal(torch.rand(1), expected)


def epoch_of(workers: int, epoch: int) -> list[torch.Tensor]:
    loader = train_loader(augmented(), 8, workers)
    loader.sampler.set_epoch(epoch)
    return [part for batch in loader for part in batch]


def test_loader_with_two_workers_gives_the_same_as_with_none():
    for one, other in zip(epoch_of(0, 2), epoch_of(2, 2), strict=True):
        assert torch.equal(one, other)


def test_loader_that_is_balanced_augments_an_image_anew_each_time():
    targets = [0] * 18 + [1] * 2
    loader = train_loader(augmented(), 20, 0, balance=targets)
    loader.sampler.set_epoch(1)
    keys = list(loader.sampler)
    loader.sampler.first = 8
    assert list(loader.sampler) == keys[8:]
    loader.sampler.first = 0
    assert torch.bincount(torch.tensor(targets)[[index % 20 for _, index in keys]]).tolist() == [10, 10]
    images, given = next(iter(loader))
    last = [place for place, (_, index) in enumerate(keys) if index % 20 == 19]
    assert len(last) == 5
    assert {int(given[place]) for place in last} == {DIGITS.targets[19]}
    assert len({images[place].numpy().tobytes() for place in last}) == 5
    assert torch.equal(images[last[0]], augmented()[1, 19][0])


def test_loader_in_another_epoch_gives_another_order():
    dataset = ImageDataset(open_source("digits").split("test"), EvalTransform(SPEC))
    sampler = train_loader(dataset, 8, 0).sampler
    orders = []
    for epoch in (1, 2):
        sampler.set_epoch(epoch)
        orders.append([index for _, index in sampler])
    assert orders[0] != orders[1]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(len(dataset)))


def test_loader_leaves_torch_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    epoch_of(0, 1)
    assert torch.equal(torch.rand(1), expected)


def test_train_loader_leaves_out_a_last_batch_of_one():
    dataset = ImageDataset(DIGITS.subset(range(17)), EvalTransform(SPEC))
    assert [len(targets) for _, targets in train_loader(dataset, 8, 0)] == [8, 8]


def viewed(augment: str = "light", allow_hflip: bool = True) -> ViewDataset:
    augmentation = train_transform(SPEC, augment, allow_hflip)
    return ViewDataset(DIGITS, [FixedView(SPEC, augmentation, allow_hflip, number) for number in range(3)], SPEC)


def test_views_are_the_plain_image_its_mirror_and_a_crop_whatever_the_seed():
    plain = ImageDataset(DIGITS, EvalTransform(SPEC))[4][0]
    views = viewed()
    assert torch.equal(views[0, 4][0], plain)
    assert torch.equal(views[1, 4][0], plain.flip(2))
    assert not torch.equal(views[2, 4][0], plain)
    assert torch.equal(views[2, 4][0], viewed()[2, 4][0])


def test_views_of_images_that_are_not_mirrored_are_the_plain_image_and_crops():
    views = viewed("strong", allow_hflip=False)
    plain = ImageDataset(DIGITS, EvalTransform(SPEC))[4][0]
    assert torch.equal(views[0, 4][0], plain)
    assert not torch.equal(views[1, 4][0], plain.flip(2))
    assert not torch.equal(views[1, 4][0], views[2, 4][0])


def test_view_loader_gives_the_batches_that_it_is_told():
    order = [(torch.tensor([3, 5]), torch.tensor([0, 2])), (torch.tensor([1]), torch.tensor([1]))]
    for workers in (0, 2):
        batches = list(view_loader(viewed(), order, workers))
        assert [targets.tolist() for _, targets in batches] == [
            [DIGITS.targets[3], DIGITS.targets[5]],
            [DIGITS.targets[1]],
        ]
        assert torch.equal(batches[0][0][1], viewed()[2, 5][0])


def test_loader_of_a_dataset_that_is_random_itself_gives_the_same_with_workers():
    class Noise(torch.utils.data.Dataset):
        targets = [0, 1] * 8

        def __len__(self) -> int:
            return 16

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.rand(3, 16, 16), index % 2

    dataset = ImageDataset(open_source(Noise()).split("train"), train_transform(SPEC, "light", allow_hflip=True))
    batches = [[images for images, _ in train_loader(dataset, 8, workers)] for workers in (0, 2)]
    assert all(torch.equal(one, other) for one, other in zip(*batches, strict=True))


def test_decoded_dataset_gives_what_an_image_dataset_gives():
    transform, augmentation = EvalTransform(SPEC), PadCrop(SPEC, allow_hflip=True)
    one_by_one = ImageDataset(DIGITS, transform, seed=5, batch_transform=augmentation)
    pixels = torch.stack([ImageDataset(DIGITS, transform)[index][0] for index in range(20)])
    decoded = InMemoryDataset(pixels, DIGITS.targets, 5, augmentation)
    loaders = [train_loader(dataset, 8, 0) for dataset in (one_by_one, decoded)]
    for epoch in (1, 2):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        batches = list(zip(*loaders, strict=True))
        assert len(batches) == 3
        for ours, theirs in batches:
            assert torch.equal(ours[0], theirs[0])
            assert torch.equal(ours[1], theirs[1])
    image, target = decoded[2, 3]
    assert torch.equal(image, one_by_one[2, 3][0])
    assert target == DIGITS.targets[3]
    assert not torch.equal(image, decoded[1, 3][0])
    for dataset in (decoded, one_by_one):
        again, target = dataset[2, 23]  # The same image, a second time in this epoch.
        assert torch.equal(again, decoded[2, 23][0])
        assert not torch.equal(again, image)
        assert target == DIGITS.targets[3]
        with pytest.raises(IndexError):
            dataset[20]


def test_train_loader_with_drop_last_has_full_batches_alone():
    batches = list(train_loader(augmented(), 8, 0, drop_last=True))
    assert [len(targets) for _, targets in batches] == [8, 8]
