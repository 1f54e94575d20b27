"""The splits of a run: what can be read of a source, divided, with the classes checked."""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import torch

from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.drawing import draw_images, in_images, take_val
from tl_toolkit.data.fingerprints import content_fingerprints, digest_cache
from tl_toolkit.data.pixels import ARRAYS
from tl_toolkit.data.quality.class_sizes import imbalance, singleton_classes
from tl_toolkit.data.quality.duplicate_policy import apply_duplicate_policy, report_duplicates
from tl_toolkit.data.quality.image_facts import ImageFacts, image_facts
from tl_toolkit.data.quality.label_counts import train_label_warnings
from tl_toolkit.data.quality.readability import ExcludedImage, check_splits, readability_cache
from tl_toolkit.data.samples import Samples
from tl_toolkit.data.sources.base import Source
from tl_toolkit.data.targets import (
    are_rows,
    class_indices,
    classes_in,
    count_classes,
    name_target,
    target_bytes,
    target_of,
)
from tl_toolkit.errors import ConfigError, DataError
from tl_toolkit.events import Callback, DecisionEvent, WarningEvent
from tl_toolkit.io.row_cache import cache_folder
from tl_toolkit.sampling.class_balance import balanced_weights, positive_weights
from tl_toolkit.text import bullets, join_names, named, plural

MIN_RELIABLE_VAL = 20
CLASSES = "classes"


@dataclass(frozen=True)
class Splits:
    """The images of a run.

    Attributes:
        train: Images to learn from.
        val: Images to choose by.
        test: Images to evaluate on, once; None if the data has none.
        bad: Images that cannot be read.
        dropped: Copies that were left out.
        val_origin: How val was made.
        val_from_train: Whether val was taken out of train, rather than being the data's own.
        known_files: Whether to take the contents of unchanged files from the cache.
        class_names: In the order of the targets.
        image_facts: Sizes and modes of all readable images of the data; None if they were not looked at.
    """

    train: Samples
    val: Samples
    test: Samples | None
    bad: list[ExcludedImage]
    dropped: list[ExcludedImage]
    val_origin: str
    val_from_train: bool = False
    known_files: bool = False
    class_names: tuple[str, ...] = ()
    image_facts: ImageFacts | None = None

    @property
    def present(self) -> dict[str, Samples]:
        """The splits that are not None, by name."""
        splits = {"train": self.train, "val": self.val, "test": self.test}
        return {name: samples for name, samples in splits.items() if samples is not None}

    def fingerprints(self) -> dict[str, str]:
        """Return a description of each split that changes when its images do: their number and a digest.

        `contents_of(split)` has a digest of the contents, wherever the images are, unless reading changes them.
        """
        prints = {CLASSES: ", ".join(self.class_names)}
        for name in ("train", "val", "test"):
            samples, contents = self.present.get(name), self.contents.get(name, [])
            prints[name] = _fingerprint(samples) if samples else "none"
            if samples and all(contents):
                prints[contents_of(name)] = _digest(contents, samples)
        return prints

    @functools.cached_property
    def contents(self) -> dict[str, list[bytes | None]]:
        """A fingerprint of each image's content, by split; None for an image that may change when it is read."""
        cache = digest_cache(cache_folder()) if self.known_files else None
        return {name: content_fingerprints(samples, cache) for name, samples in self.present.items()}


def prepare_splits(source: Source, config: FinetuneConfig, min_size: int, callback: Callback) -> Splits:
    """Leave out what cannot be read, look for copies, and take val out of train if there is none.

    Args:
        source: The images.
        config: The run's settings.
        min_size: Height and width at which it is enough to decode them.
        callback: Called with progress, decisions and warnings.

    Raises:
        DataError: There is nothing to learn from, images are unreadable and `strict` is set, or there are copies
            and `duplicates` is "fail".
    """
    for note in source.notes:
        callback(WarningEvent(note))
    cache = readability_cache(cache_folder()) if config.uses_cache else None
    checked = check_splits(source.splits, callback, min_size, cache)
    readable = {split: result.readable for split, result in checked.items()}
    bad = [image for result in checked.values() for image in result.bad]
    if bad:
        _report_bad(bad, config.strict, callback)
    if source.task == "multi-class":
        _check_every_class_has_images(readable["train"], source, bad)
    whole, dropped = apply_duplicate_policy(readable, source.class_names, config.duplicates, callback)
    facts = image_facts(info for result in checked.values() for info in result.results.values())
    splits = dataclasses.replace(_divide(whole, source, config, bad, dropped), image_facts=facts)
    if source.task == "multi-class":
        _check_every_class_remains(splits, source.class_names)
    else:
        _check_labels(splits.train, source, callback)
    _report_groups(splits, config, callback)
    if config.drop_last and len(splits.train) < config.batch_size:
        size = f"train has {in_images(len(splits.train))}, {named('batch_size')} is {config.batch_size}"
        raise ConfigError([f"{named('drop_last')} leaves no batch: {size}."])
    report_duplicates(splits.present, source.class_names, config.duplicates, callback)
    _check_val(splits, source, callback)
    if source.task == "multi-class":
        _report_class_sizes(splits.train, source.class_names, config, callback)
    elif source.task == "multi-label":
        _report_label_counts(splits.train, source.class_names, config, callback)
    if splits.test is not None and not len(splits.test):
        callback(WarningEvent("test has no readable image, so there will be no test accuracy."))
    return splits


def check_classes(source: Source, config: FinetuneConfig) -> None:
    """Check that the source has two classes or more, as many as the user said, and a train split.

    Raises:
        ConfigError: They differ.
        DataError: There are fewer than two, or nothing to train on.
    """
    if "train" not in source.splits:
        raise DataError(
            f"{source.name} has no train split, only {', '.join(source.splits)}: there is nothing to learn from."
        )
    found = len(source.class_names)
    if source.task != "multi-class" and found < 2:
        raise DataError(
            f"{source.name} has one label only ({join_names(source.class_names)}). For a yes or no, give each image "
            "one of two classes."
        )
    has = f"{source.name} has {found} classes ({join_names(source.class_names)})"
    if config.one_logit and found != 2:
        raise ConfigError([f"{named('classes')} is 1, one logit for two classes, but {has}."])
    if config.classes is not None and not config.one_logit and config.classes != found:
        raise ConfigError([f"{named('classes')} is {config.classes}, but {has}."])
    if found < 2:
        raise DataError(
            f"{source.name} has one class only ({source.class_names[0]}); telling images apart takes two or more."
        )


def _divide(
    whole: dict[str, Samples],
    source: Source,
    config: FinetuneConfig,
    bad: list[ExcludedImage],
    dropped: list[ExcludedImage],
) -> Splits:
    """Take val out of train if there is none, and reduce each split to the size that the user set."""
    train, test = whole["train"], whole.get("test")
    if "val" in whole:
        val, val_origin = draw_images(whole["val"], source, "val", config.val_images, config), "the data's own split"
        if config.val_images is not None:
            val_origin += f", {config.val_images:,} images of it"
    else:
        train, val, val_origin = take_val(train, source, config)
    train = draw_images(train, source, "train", config.train_images, config)
    if test is not None:
        test = draw_images(test, source, "test", config.test_images, config)
    elif config.test_images is not None:
        raise ConfigError([f"{named('test_images')} is {config.test_images}, but {source.name} has no test split."])
    return Splits(train, val, test, bad, dropped, val_origin, "val" not in whole, config.uses_cache, source.class_names)


def _report_groups(splits: Splits, config: FinetuneConfig, callback: Callback) -> None:
    """Tell where whole groups made a split larger or smaller than the user set."""
    for name, samples in splits.present.items():
        asked = getattr(config, f"{name}_images")
        if samples.groups and asked not in (None, len(samples)):
            groups = plural(len(set(samples.groups)), "group")
            why = f"{named(f'{name}_images', asked)}, as nearly as whole groups allow"
            callback(DecisionEvent(f"{name} size", f"{in_images(len(samples))} of {groups}", why))


def _check_val(splits: Splits, source: Source, callback: Callback) -> None:
    """Refuse an empty val, and warn of what makes it unreliable."""
    val = splits.val
    if not len(val):
        raise DataError(f"val has no readable images to choose by ({splits.val_origin}). Add images.")
    if source.task == "multi-label" and not classes_in(val.targets):
        raise DataError(f"No image of val has a label ({splits.val_origin}), so nothing can be chosen by it. Add some.")
    if len(val) < MIN_RELIABLE_VAL:
        noisy = f"val has {in_images(len(val))} only, so model selection will be noisy: see {named('val_split')}."
        callback(WarningEvent(noisy))
    if missing := _missing(val, source.class_names):
        unknown = "accuracy" if source.task == "multi-class" else "average precision"
        preposition = "of" if source.task == "multi-class" else "with"
        callback(WarningEvent(f"val has no image {preposition} {missing}: their {unknown} will be unknown."))


def _report_bad(bad: list[ExcludedImage], strict: bool, callback: Callback) -> None:
    report = bullets(list(map(str, bad)))
    if strict:
        remedy = f"Mend or remove them, or leave out {named('strict')}."
        raise DataError(f"{in_images(len(bad))} cannot be read:\n{report}\n{remedy}")
    left_out = "is left out" if len(bad) == 1 else "are left out"
    callback(WarningEvent(f"{in_images(len(bad))} cannot be read and {left_out}:\n{report}"))


def contents_of(split: str) -> str:
    """Return the name of the fingerprint of a split's contents."""
    return f"contents of {split}"


def _fingerprint(samples: Samples) -> str:
    identities = [
        identity or samples.name(index).encode("utf-8", "surrogateescape")
        for index, identity in enumerate(samples.identities())
    ]
    return f"{in_images(len(samples))}, {_digest(identities, samples)}"


def _digest(identities: Sequence[bytes | None], samples: Samples) -> str:
    digest = blake2b(digest_size=8)
    for identity, target in zip(identities, target_bytes(samples.targets), strict=True):
        digest.update((identity or b"") + b" " + target + b"\n")
    return digest.hexdigest()


def _check_every_class_has_images(train: Samples, source: Source, bad: list[ExcludedImage]) -> None:
    empty = _missing(train, source.class_names)
    if not empty:
        return
    found = f"train has no readable image of {empty}"
    if source.class_remedy:
        first = f"; the first that cannot be read is {bad[0]}" if bad else ""
        raise DataError(f"{found}{first}. Add images, or {source.class_remedy}.")
    if source.root is not None:
        raise DataError(f"{found}. Add images, or remove the empty folders.")
    if bad:
        raise DataError(f"{found}; the first that cannot be read is {bad[0]}. {ARRAYS}")
    raise DataError(f"{found}. Targets are the numbers from 0 on, without gaps: leave out classes without images.")


def _check_every_class_remains(splits: Splits, class_names: tuple[str, ...]) -> None:
    if empty := _missing(splits.train, class_names):
        raise DataError(
            f"train has no image left of {empty}: val has {in_images(len(splits.val))} "
            f"({splits.val_origin}), train {in_images(len(splits.train))} of the rest. Add images of these classes, or "
            f"see {named('draw', 'stratified')}, {named('train_images')} and {named('val_images')}."
        )


def _check_labels(train: Samples, source: Source, callback: Callback) -> None:
    """Warn of labels that no image of train has.

    Raises:
        DataError: All images of train have the same labels.
    """
    if are_rows(train.targets) and not np.ptp(train.targets, axis=0).any():
        raise DataError(
            f"All {in_images(len(train))} of train have the same labels, "
            f"{name_target(target_of(train.targets, 0), source.class_names)}: nothing can be told apart."
        )
    if empty := _missing(train, source.class_names):
        callback(WarningEvent(f"train has no image with {empty}: the model will hardly ever say so."))


def _report_label_counts(
    train: Samples, class_names: tuple[str, ...], config: FinetuneConfig, callback: Callback
) -> None:
    """Warn of labels that are too rare or too frequent to learn, and report what balances them."""
    counts = count_classes(train.targets, len(class_names))
    balanced = config.class_weights == "balanced"
    if balanced:
        weights = positive_weights(torch.from_numpy(np.asarray(train.targets)))
        value = f"images with a label count {weights.min():.3g} to {weights.max():.3g} times in its loss"
        callback(DecisionEvent("balance", value, named("class_weights", "balanced")))
    for message in train_label_warnings(counts, len(train), class_names, not balanced):
        callback(WarningEvent(message))


def _missing(samples: Samples, class_names: tuple[str, ...]) -> str:
    """Return the names of the classes without an image; empty if all have one."""
    return join_names(
        [class_names[target] for target in sorted(set(range(len(class_names))) - classes_in(samples.targets))]
    )


def _report_class_sizes(
    train: Samples, class_names: tuple[str, ...], config: FinetuneConfig, callback: Callback
) -> None:
    """Warn of classes that are too small or much smaller than others, and report what balances them."""
    counts = count_classes(train.targets, len(class_names))
    for message in singleton_classes(counts, class_names):
        callback(WarningEvent(message))
    if config.sampler == "balanced":
        callback(DecisionEvent("balance", "each class is shown as often", named("sampler", "balanced")))
    elif config.class_weights == "balanced":
        weights = balanced_weights(class_indices(train.targets), len(class_names))
        value = f"images count {weights.min():.3g} to {weights.max():.3g} times in the loss"
        callback(DecisionEvent("balance", value, named("class_weights", "balanced")))
    else:
        for message in imbalance(counts, class_names):
            callback(WarningEvent(message))
