"""A fixed split of a source, written as a table that names its images."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.drawing import take_val
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.targets import are_rows
from tl_toolkit.errors import DataError, UsageError
from tl_toolkit.io.files import write_csv
from tl_toolkit.text import join_names, named

PATH, LABEL, SPLIT, GROUP = "path", "label", "split", "group"


def divide_source(
    source: Source, val_split: float | None, test_split: float | None, seed: int, default_val: float
) -> dict[str, Samples]:
    """Return the splits of a source, with val and test out of train where there are none.

    Images are drawn as a run draws val, so that without test the split is that of a run with the same share and seed in
    which every image can be read.

    Args:
        source: The images.
        val_split: Share of train to use as val; None for the default, or what the source has.
        test_split: Share of train to use as test; None for none, or what the source has.
        seed: Another seed gives another split.
        default_val: The share for val if the source has none.

    Raises:
        UsageError: The source has a split that is to be made.
        DataError: It has no train, or too few images.
    """
    splits = dict(source.splits)
    asked = {"val": val_split, "test": test_split}
    for split, share in asked.items():
        if share is not None and split in splits:
            raise UsageError(f"{source.name} has {split} of its own: leave out {named(f'{split}_split')}.")
    if "train" not in splits:
        raise DataError(f"{source.name} has no train split, only {', '.join(splits)}: there is nothing to divide.")
    share = (default_val if val_split is None else val_split) if "val" not in splits else 0.0
    if share + (test_split or 0) >= 1:
        raise UsageError(f"{named('val_split')} and {named('test_split')} leave nothing to train on.")
    train = splits["train"]
    if test_split is not None:
        train, splits["test"], _ = take_val(train, source, FinetuneConfig(val_split=test_split, seed=seed))
        share /= 1 - test_split  # Of what is left.
    if "val" not in splits:
        train, splits["val"], _ = take_val(train, source, FinetuneConfig(val_split=share, seed=seed))
    splits["train"] = train
    if empty := [split for split, samples in splits.items() if not len(samples)]:
        raise DataError(f"{source.name} has too few images of each class for {join_names(empty)}. Add images.")
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def write_split(source: Source, splits: dict[str, Samples], path: Path) -> tuple[str, ...]:
    """Write a table with the columns path, label, split, and group if groups are known; soft labels take a column each.

    Paths are relative to the table, URLs are as they are.

    Returns:
        The columns of labels.

    Raises:
        UsageError: The images are no files.
        ToolkitError: The table cannot be written.
    """
    check_locations(source)
    labels = source.class_names if source.task == "soft" else (LABEL,)
    grouped = any(samples.groups for samples in splits.values())
    header = [PATH, *labels, SPLIT, *([GROUP] if grouped else [])]
    if double := [name for name in labels if header.count(name) > 1]:
        raise UsageError(f"{source.name} has a class named {double[0]}, as a column of the table is too. Rename it.")
    write_csv(path, header, _rows(source, splits, path.parent))
    return labels


def check_locations(source: Source) -> None:
    """Check that a table can name the images.

    Raises:
        UsageError: They are no files.
    """
    for samples in source.splits.values():
        if len(samples) and samples.images.location(0) is None:
            raise UsageError(
                f"The images of {source.name} are no files that a table could name ({samples.name(0)}). "
                "`tl data pack DATA --out shards/` writes them as shards, with the splits that they have."
            )


def _rows(source: Source, splits: dict[str, Samples], folder: Path) -> Iterator[list[object]]:
    for split, samples in splits.items():
        for index in range(len(samples)):
            group = [samples.groups[index]] if samples.groups else []
            yield [_path_from(folder, samples, index), *_labels(source, samples, index), split, *group]


def _path_from(folder: Path, samples: Samples, index: int) -> str:
    location = samples.images.location(index) or samples.name(index)
    if "://" in location:
        return location
    try:
        return os.path.relpath(location, folder)
    except ValueError:  # On another drive of Windows.
        return os.path.abspath(location)  # noqa: PTH100  # Links stay.


def _labels(source: Source, samples: Samples, index: int) -> list[object]:
    targets = samples.targets
    if not are_rows(targets):
        return [source.class_names[targets[index]]]
    row = targets[index]
    if source.task == "soft":
        return [f"{value:.6g}" for value in row]
    return [json.dumps([source.class_names[at] for at in row.nonzero()[0]], ensure_ascii=False)]
