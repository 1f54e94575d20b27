from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.benchmarks import onnx_photographs
from tl_toolkit.recipes.finetune import Run


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """One with ten images of several sizes, and one with two."""
    for name, count in (("many", 10), ("few", 2)):
        for number in range(count):
            path = tmp_path / name / f"{9 - number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (20 + 10 * number, 20), (25 * number, 0, 0)).save(path)
    return [tmp_path / "few", tmp_path / "many"]


def test_choose_spreads_evenly_over_sizes_and_fills_up_from_larger_folders(folders: list[Path]):
    chosen = onnx_photographs.choose(folders, 8)
    assert [path.parent.name for path in chosen] == ["few"] * 2 + ["many"] * 6
    assert [path.stem for path in chosen[2:]] == ["9", "7", "5", "4", "2", "0"]


def test_differences_are_of_the_class_and_the_largest_probability():
    expected = torch.tensor([[0.6, 0.4], [0.3, 0.7], [0.5, 0.5], [0.9, 0.1]])
    found = expected + torch.tensor([[-0.2, 0.2], [0.0, 0.0], [0.0, 0.0], [-0.1, 0.1]])
    figures = onnx_photographs.differences(found, expected)
    assert (figures["same class"], figures["most"]) == (0.75, pytest.approx(0.2))


def test_measure_tells_each_step_apart(judged_run: Run, folders: list[Path]):
    figures = onnx_photographs.measure(judged_run.path, folders, 4)
    assert (figures["photographs"], figures["longer side"]) == (4, [20, 30, 110])
    assert figures[onnx_photographs.DECODER]["most"] < 1e-5  # PNG files have no smaller scale.
    assert figures[onnx_photographs.KERNELS]["most"] < 0.02
