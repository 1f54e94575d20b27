from tl_toolkit.data.quality.label_counts import label_warnings, train_label_warnings

CLASSES = ("cat", "dog", "owl")


def test_labels_that_are_always_or_rarely_there_are_told():
    assert train_label_warnings((12, 3, 12), 12, CLASSES) == [
        "Every image of train has cat, owl: nothing can be learned of when it is not there.",
        "train has fewer than 10 images with dog.",
    ]


def test_unequal_labels_are_told_with_the_remedy():
    assert train_label_warnings((500, 20, 50), 600, CLASSES) == [
        'The labels of train are unbalanced: 500 images have cat, 20 have dog. class_weights="balanced" makes the '
        "images with a label count as much as those without it."
    ]
    assert not train_label_warnings((500, 20, 50), 600, CLASSES, unequal=False)


def test_labels_without_images_are_told_by_split():
    counts = {"train": (10, 20, 0), "test": (0, 0, 5)}
    assert label_warnings(counts, {"train": 40, "test": 9}, CLASSES) == [
        "train has no image with owl.",
        "test has no image with cat, dog.",
    ]
