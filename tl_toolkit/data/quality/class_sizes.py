"""Classes with few images, and classes of very unequal size."""

from collections.abc import Mapping, Sequence

from tl_toolkit.sampling.class_balance import is_unbalanced
from tl_toolkit.text import join_names, named

FEW_IMAGES = 10


def class_size_warnings(counts: Mapping[str, Sequence[int]], class_names: Sequence[str]) -> list[str]:
    """Return warnings of odd class sizes; `counts` has the images of each class by the name of the split."""
    odd = []
    if len(class_names) == 1:
        odd.append(f"There is one class only, {class_names[0]}: nothing can be told apart.")
    for split, sizes in counts.items():
        sized = list(zip(class_names, sizes, strict=True))
        if empty := [name for name, count in sized if not count]:
            odd.append(f"{split} has no image of {join_names(empty)}.")
        if split != "train":
            continue
        if few := [name for name, count in sized if 1 < count < FEW_IMAGES]:
            odd.append(f"{split} has fewer than {FEW_IMAGES} images of {join_names(few)}.")
        odd += singleton_classes(sizes, class_names) + imbalance(sizes, class_names)
    return odd


def singleton_classes(counts: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """Return a warning if classes of train have a single image."""
    singles = [name for name, count in zip(class_names, counts, strict=True) if count == 1]
    if not singles:
        return []
    return [f"train has a single image of {join_names(singles)}: too few to learn from, or to take one for val."]


def imbalance(counts: Sequence[int], class_names: Sequence[str]) -> list[str]:
    """Return a warning with the remedy if the largest class of train is many times as large as the smallest."""
    if not is_unbalanced(counts):
        return []
    largest = max(range(len(counts)), key=lambda index: counts[index])
    smallest = min((index for index in range(len(counts)) if counts[index]), key=lambda index: counts[index])
    return [
        f"train is unbalanced: its largest class, {class_names[largest]}, has {counts[largest]:,} images, its "
        f"smallest, {class_names[smallest]}, {counts[smallest]:,}. {named('sampler', 'balanced')} shows all classes "
        f"equally often, {named('class_weights', 'balanced')} weights the loss by inverse class frequency."
    ]
