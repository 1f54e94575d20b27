"""Drawing val out of train, and the numbers of images that the user sets."""

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.splits import grouped_sample, grouped_split, stratified_sample, stratified_split
from tl_toolkit.errors import ConfigError, DataError
from tl_toolkit.text import named, plural


def take_val(train: Samples, source: Source, config: FinetuneConfig) -> tuple[Samples, Samples, str]:
    """Return train without val, val, and how val was made."""
    count, names = config.val_images, split_names(train, source)
    if count is not None and count >= len(train):
        raise ConfigError(
            [f"{named('val_images')} is {count}, but train has {in_images(len(train))}: some must remain."]
        )
    if train.groups:
        return _take_groups(train, config)
    if config.draw == "in-order":
        first = len(train) - (count or max(1, round(len(train) * config.val_split)))
        rest, taken = list(range(first)), list(range(first, len(train)))
        origin = f"the last {len(taken):,} of train, as it is ordered"
    elif count is not None:
        rest, taken = stratified_sample(train.targets, names, count, config.seed)
        origin = f"drawn from each class of train, seed {config.seed}"
    else:
        rest, taken = stratified_split(train.targets, names, config.val_split, config.seed)
        origin = f"{config.val_split:.0%} of each class of train, seed {config.seed}"
    return train.subset(rest), train.subset(taken), origin


def _take_groups(train: Samples, config: FinetuneConfig) -> tuple[Samples, Samples, str]:
    """Return what `take_val` does, with each group as a whole in train or val.

    Raises:
        ConfigError: Val is to be taken in order.
        DataError: No group can leave train.
    """
    _check_draw(config)
    share = config.val_split if config.val_images is None else config.val_images / len(train)
    rest, taken = grouped_split(train.targets, train.groups, share, config.seed)
    groups = len(set(train.groups))
    if not taken:
        raise DataError(
            f"train has {plural(groups, 'group')}, and without any of them it lacks a class: there is none for val. "
            f"Add groups of these classes, or images of their own as val, or leave out {named('group_column')}."
        )
    count = len({train.groups[index] for index in taken})
    asked = f"{config.val_split:.0%} of each class" if config.val_images is None else f"{config.val_images:,} images"
    origin = f"{asked} of train as nearly as whole groups allow, {count:,} of {groups:,} groups, seed {config.seed}"
    return train.subset(rest), train.subset(taken), origin


def _check_draw(config: FinetuneConfig) -> None:
    if config.draw == "in-order":
        raise ConfigError([f"{named('draw', 'in-order')} may divide groups; leave it out, or {named('group_column')}."])


def draw_images(samples: Samples, source: Source, split: str, count: int | None, config: FinetuneConfig) -> Samples:
    """Return `count` images of a split; all if it is None."""
    if count is None:
        return samples
    if count > len(samples):
        raise ConfigError([f"{named(f'{split}_images')} is {count}, but {split} has {in_images(len(samples))}."])
    if samples.groups:
        _check_draw(config)
        return samples.subset(grouped_sample(samples.targets, samples.groups, count, config.seed)[1])
    if config.draw == "in-order":
        return samples.subset(range(count))
    return samples.subset(stratified_sample(samples.targets, split_names(samples, source), count, config.seed)[1])


def split_names(train: Samples, source: Source) -> list[str]:
    """Return names relative to the folder, so that the same folder elsewhere is split alike."""
    prefix = f"{source.root}/" if source.root else ""
    return [name.removeprefix(prefix) for name in train.names()]


def in_images(count: int) -> str:
    """Return a number of images in words."""
    return f"{count} image{'' if count == 1 else 's'}"
