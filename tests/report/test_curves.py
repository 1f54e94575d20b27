from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from tests.helpers.events import eval_record
from tl_toolkit.errors import UsageError
from tl_toolkit.report import curves
from tl_toolkit.report.curves import Curve, draw_curves


def two_stages() -> list[object]:
    probe = [eval_record("probe", n, 2, val_loss=1 / n) for n in (1, 2)]
    return [*probe, *(eval_record("tune", n, 3, train_loss=0.4 / n) for n in (1, 2, 3))]


def test_draw_curves_of_two_stages_writes_a_png(tmp_path: Path):
    title = "resnet18 on cost $5_$6^ \\alpha 写真 caf\udce9"  # No formula, a script without glyphs, no UTF-8.
    draw_curves([Curve(title, two_stages())], tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as image:
        assert image.format == "PNG"
        assert image.size == (1350, 540)


def drawn(monkeypatch: pytest.MonkeyPatch, curves_drawn: list[Curve]) -> Figure:
    """The figure that would have been written."""
    figures: list[Figure] = []
    monkeypatch.setattr(curves, "save_figure", lambda figure, _: figures.append(figure))
    draw_curves(curves_drawn, Path("curves.png"))
    figures[0].draw_without_rendering()
    return figures[0]


def test_draw_curves_of_two_stages_says_what_each_trains_and_draws_each_by_itself(monkeypatch: pytest.MonkeyPatch):
    figure = drawn(monkeypatch, [Curve("run", two_stages())])
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "train", "val", "probe: the head", "tune: everything"
    ]  # fmt: skip
    loss = figure.axes[0]
    assert [list(line.get_xdata()) for line in loss.lines] == [[1, 2], [1, 2], [3, 4, 5], [3, 4, 5]]
    assert [patch.get_extents().intervalx.tolist() for patch in loss.patches] == [
        [*loss.transData.transform([(0, 0), (2, 0)])[:, 0]],
        [*loss.transData.transform([(2, 0), (5, 0)])[:, 0]],
    ]


@pytest.mark.parametrize("runs", [1, 2, 12])
def test_draw_curves_writes_nothing_over_the_lines(runs: int, monkeypatch: pytest.MonkeyPatch):
    figure = drawn(monkeypatch, [Curve(f"run {number}", two_stages()) for number in range(runs)])
    [legend] = figure.legends
    for axes in figure.axes:
        assert not axes.texts
        assert axes.get_legend() is None
        assert not axes.get_window_extent().overlaps(legend.get_window_extent())
        assert axes.get_window_extent().height > 200


def test_draw_curves_of_several_runs_writes_a_pdf(tmp_path: Path):
    sparse = [eval_record("tune", 1, 1, step) for step in (4, 8, 10)]
    draw_curves([Curve("_a $x", two_stages()), Curve("b", sparse)], tmp_path / "both.PDF")
    assert (tmp_path / "both.PDF").read_bytes().startswith(b"%PDF")


def test_epochs_of_a_curve_count_stages_on_and_know_parts_of_an_epoch():
    records = [*two_stages(), eval_record("tune", 4, 4, step=35)]
    assert Curve("run", records).epochs() == [1, 2, 3, 4, 5, 5.5]


def test_draw_curves_to_another_format_names_those_there_are(tmp_path: Path):
    with pytest.raises(UsageError, match=r"A plot ends in \.png, \.pdf, \.svg, but plot\.gif does not"):
        draw_curves([Curve("run", two_stages())], tmp_path / "plot.gif")
