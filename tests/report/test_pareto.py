from pathlib import Path

import pytest
from PIL import Image

from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.report.figures import check_figure_file, figure_format
from tl_toolkit.report.pareto import Point, draw_pareto, pareto_front


def point(label: str, milliseconds: float, accuracy: float) -> Point:
    return Point(label, milliseconds, accuracy, 0.01)


QUICK, BETTER, BEST = point("quick", 1, 0.7), point("better", 3, 0.8), point("best", 9, 0.9)
SLOW, ALIKE = point("slow", 10, 0.85), point("alike", 3, 0.75)


def test_pareto_front_leaves_out_what_another_beats_in_time_and_accuracy():
    assert pareto_front([SLOW, BEST, ALIKE, QUICK, BETTER]) == [QUICK, BETTER, BEST]


def test_pareto_front_of_one_is_that_one_and_of_none_is_empty():
    assert pareto_front([BEST]) == [BEST]
    assert pareto_front([]) == []


def test_pareto_front_of_equal_accuracy_keeps_the_quicker_one():
    assert pareto_front([point("slower", 2, 0.7), QUICK]) == [QUICK]


@pytest.mark.parametrize("points", [[BEST], [QUICK, BETTER, BEST, SLOW, ALIKE]])
def test_draw_pareto_writes_a_picture(points: list[Point], tmp_path: Path):
    draw_pareto(points, tmp_path / "front.png")
    with Image.open(tmp_path / "front.png") as image:
        assert image.width > 800
        assert len(image.convert("RGB").getcolors(maxcolors=2**24) or []) > 10
    assert [path.name for path in tmp_path.iterdir()] == ["front.png"]


@pytest.mark.parametrize(("name", "begins"), [("front.pdf", b"%PDF"), ("front.SVG", b"<?xml")])
def test_draw_pareto_takes_the_format_of_the_files_name(name: str, begins: bytes, tmp_path: Path):
    draw_pareto([QUICK, BEST], tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(begins)


def test_draw_pareto_labels_every_network(tmp_path: Path):
    draw_pareto([QUICK, BEST], tmp_path / "front.svg")
    text = (tmp_path / "front.svg").read_text()
    assert "quick" in text
    assert "best" in text


def test_check_figure_file_refuses_what_exists_or_cannot_be_drawn(tmp_path: Path):
    (tmp_path / "there.png").touch()
    with pytest.raises(UsageError, match=r"there.png exists; nothing is ever overwritten"):
        check_figure_file(tmp_path / "there.png", "plot")
    with pytest.raises(UsageError, match=r"A plot ends in .png, .pdf, .svg, but front.gif does not"):
        check_figure_file(tmp_path / "front.gif", "plot")
    check_figure_file(tmp_path / "front.PDF", "plot")
    assert figure_format(tmp_path / "front.PDF") == "pdf"


def test_draw_pareto_into_a_folder_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(ToolkitError, match="Cannot write .*nowhere/front.png"):
        draw_pareto([BEST], tmp_path / "nowhere" / "front.png")
