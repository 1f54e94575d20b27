from pathlib import Path

import pytest
from PIL import Image

from tl_toolkit.report.figures import save_figure
from tl_toolkit.report.image_grid import CORRECT, WRONG, LabelledImage, image_grid

IMAGE = Image.new("RGB", (20, 30), "navy")


@pytest.mark.parametrize(
    ("image", "title"),
    [
        (LabelledImage(IMAGE, "cat", 0.981, None), "cat 98%"),
        (LabelledImage(IMAGE, "cat", 0.981, "cat"), "✓ cat 98%"),
        (LabelledImage(IMAGE, "cat", 0.5, "a very long name of a class"), "✗ cat 50%\nis a very long name of a…"),
        (LabelledImage(IMAGE, "caf\udce9", 1.0, None), "caf? 100%"),
        (LabelledImage(IMAGE, "cat", 0.981, None, "IMG_1.jpg"), "IMG_1.jpg\ncat 98%"),
    ],
)
def test_title_of_an_image_names_prediction_and_truth(image: LabelledImage, title: str):
    assert image.title == title


def test_image_grid_marks_the_wrong_ones():
    images = [LabelledImage(IMAGE, "cat", 0.9, truth) for truth in ("cat", "dog", None, "cat", "cat", "cat")]
    panels = image_grid(images).axes
    assert len(panels) == 10  # two rows of five
    frames = [tuple(round(value, 2) for value in axes.spines["top"].get_edgecolor()[:3]) for axes in panels[:3]]
    assert [axes.title.get_color() for axes in panels[:2]] == [CORRECT, WRONG]
    assert frames[1] != frames[0] == frames[2]


def test_image_grid_of_names_in_any_script_is_written(tmp_path: Path):
    save_figure(image_grid([LabelledImage(IMAGE.convert("L"), "写真 $x_$", 0.5, "Biene 🐝")]), tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as image:
        assert image.format == "PNG"


def test_image_grid_has_no_axes_around_empty_panels():
    panels = image_grid([LabelledImage(IMAGE, "cat", 0.9, None)] * 3, columns=2, proportions=2.0).axes
    assert [axes.axison for axes in panels] == [True, True, True, False]
