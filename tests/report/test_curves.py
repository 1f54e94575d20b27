from pathlib import Path

from PIL import Image

from tl_toolkit.report.curves import draw_curves
from tl_toolkit.training.loop import EpochRecord


def test_draw_curves_of_two_stages_writes_a_png(tmp_path: Path):
    records = [EpochRecord("probe", n, 2, 1 / n, 0.5, 1 / n, 0.6, 0.1, 1.0, 9.0) for n in (1, 2)]
    records += [EpochRecord("tune", n, 3, 0.4 / n, 0.7, 0.5 / n, 0.8, 0.1, 1.0, 9.0) for n in (1, 2, 3)]
    title = "resnet18 on cost $5_$6^ \\alpha 写真 caf\udce9"  # No formula, a script without glyphs, no UTF-8.
    draw_curves(records, title, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (1350, 540)
