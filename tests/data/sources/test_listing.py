from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tests.helpers.folders import touch_files
from tl_toolkit.data.sources.listing import images_below, list_folder
from tl_toolkit.report.figures import save_figure


def test_images_below_takes_nested_images_and_no_litter(tmp_path: Path):
    root = touch_files(tmp_path, "2/x.jpg", "1.jpg", ".DS_Store", "Thumbs.db", "2/.hidden/y.jpg")
    images, passed_over = images_below(root)
    assert images == [str(root / "1.jpg"), str(root / "2" / "x.jpg")]
    assert passed_over.notes() == []


def test_images_below_a_folder_with_a_link_above_it_stays_below(tmp_path: Path):
    root = touch_files(tmp_path, "ants/1.jpg", "bees/2.jpg")
    (root / "ants" / "up").symlink_to("..", target_is_directory=True)
    images, passed_over = images_below(root / "ants")
    assert images == [str(root / "ants" / "1.jpg")]
    assert passed_over.notes() == [f"Passed over {root}/ants/up: a link to a folder that it lies in."]


def test_images_below_two_links_to_the_same_folder_are_given_once(tmp_path: Path):
    root = touch_files(tmp_path / "all", "1.jpg")
    touch_files(tmp_path / "elsewhere", "2.jpg")
    for name in ("one", "two"):
        (root / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert images_below(root)[0] == [str(root / "1.jpg"), str(root / "one" / "2.jpg")]


def test_list_folder_with_a_link_to_itself_lists_it_as_an_image(tmp_path: Path):
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "loop").symlink_to("loop")
    assert list_folder(tmp_path).images == ["loop", "loop.png"]


def test_list_folder_knows_the_figures_that_tl_drew_among_other_pngs(tmp_path: Path):
    figure = Figure()
    figure.subplots().plot([0, 1])
    save_figure(figure, tmp_path / "grid.png")
    save_figure(figure, tmp_path / "grid.pdf")
    noise = np.random.default_rng(0).integers(0, 256, (99, 99, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    figure.savefig(tmp_path / "mine.png")
    found = list_folder(tmp_path)
    assert found.images == ["mine.png", "noise.png"]
    assert found.passed_over.own == [str(tmp_path / "grid.png")]
    assert found.passed_over.no_images == [str(tmp_path / "grid.pdf")]


def test_images_below_an_empty_folder_that_is_called_like_an_image_gives_it(tmp_path: Path):
    (tmp_path / "photo.jpg").mkdir()
    assert images_below(tmp_path / "photo.jpg")[0] == images_below(tmp_path)[0] == [str(tmp_path / "photo.jpg")]
