from pathlib import Path

from PIL import Image

from tl_toolkit.data.quality.describe import describe
from tl_toolkit.data.sources.base import open_source


def test_describe_counts_and_warns_of_oddities(photos: Path):
    (photos / "0" / "bad.png").touch()
    Image.new("RGB", (50, 20)).save(photos / "1" / "colour.png")
    (photos / "nothing").mkdir()
    (photos / "nothing" / "bad.png").touch()
    (photos / "lonely").mkdir()
    Image.new("L", (8, 8)).save(photos / "lonely" / "1.png")
    described = describe(open_source(photos), lambda event: None)
    assert described.class_names == ("0", "1", "7", "lonely", "nothing")
    assert described.splits["train"].class_counts == (10, 11, 10, 1, 0)
    assert described.sizes == {"width": (8, 8, 50), "height": (8, 8, 20)}
    assert described.modes == {"L": 31, "RGB": 1}
    assert described.oddities == (
        "train has no image of nothing.",
        "train has a single image of lonely: too few to learn from, or to take one for val.",
        "train is unbalanced: its largest class, 1, has 11 images, its smallest, lonely, 1. "
        'sampler="balanced" shows each class as often, class_weights="balanced" counts rare ones more in the loss.',
        "Not all images are L: RGB 1. They are converted.",
    )
