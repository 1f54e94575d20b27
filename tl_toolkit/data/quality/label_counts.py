"""Labels that images have too rarely or too often to learn, in data with several labels an image or soft labels."""

from collections.abc import Mapping, Sequence

from tl_toolkit.data.quality.class_sizes import FEW_IMAGES
from tl_toolkit.sampling.class_balance import is_unbalanced
from tl_toolkit.text import join_names, named


def label_warnings(
    counts: Mapping[str, Sequence[int]], images: Mapping[str, int], class_names: Sequence[str]
) -> list[str]:
    """Return warnings of odd labels.

    Args:
        counts: Images with each label, by split.
        images: Images in all, by split.
        class_names: In the order of the counts.
    """
    odd = []
    for split, sizes in counts.items():
        sized = list(zip(class_names, sizes, strict=True))
        if empty := [name for name, count in sized if not count]:
            odd.append(f"{split} has no image with {join_names(empty)}.")
        if split == "train":
            odd += train_label_warnings(sizes, images[split], class_names)
    return odd


def train_label_warnings(
    sizes: Sequence[int], images: int, class_names: Sequence[str], unequal: bool = True
) -> list[str]:
    """Return warnings of labels that train has too rarely or too often; `unequal` adds very unequal ones."""
    sized = list(zip(class_names, sizes, strict=True))
    odd = []
    if always := [name for name, count in sized if count == images]:
        odd.append(f"Every image of train has {join_names(always)}: nothing can be learned of when it is not there.")
    if few := [name for name, count in sized if 0 < count < FEW_IMAGES]:
        odd.append(f"train has fewer than {FEW_IMAGES} images with {join_names(few)}.")
    if unequal and is_unbalanced(sizes):
        largest = max(range(len(sizes)), key=lambda index: sizes[index])
        smallest = min((index for index in range(len(sizes)) if sizes[index]), key=lambda index: sizes[index])
        odd.append(
            f"The labels of train are unbalanced: {sizes[largest]:,} images have {class_names[largest]}, "
            f"{sizes[smallest]:,} have {class_names[smallest]}. {named('class_weights', 'balanced')} makes the images "
            "with a label count as much as those without it."
        )
    return odd
