import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.benchmarks import gpu

ROOT = Path(__file__).parents[2]
TRIAL = ("--device", "cpu", "--size", "32", "--steps", "2", "--batch-size", "4", "--workers", "1", "--rounds", "1")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number in range(90):
        path = tmp_path / "pictures" / "train" / f"class{number % 2}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40), (2 * number, 200 * (number % 2), 0)).save(path)
    return tmp_path / "pictures"


def measured(printed: str) -> dict[tuple[str, str], float]:
    rows = re.findall(r"^\| (\S*) +\| (.+?) \| ([\d,]+) \|$", printed.replace("|  |", "| - |"), re.MULTILINE)
    return {(network, what): float(speed.replace(",", "")) for network, what, speed in rows}


def trial(pictures: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[tuple[str, str], float]:
    gpu.main([*arguments, "--photos", str(pictures), *TRIAL, "--skip-compiled"])
    return measured(capsys.readouterr().out)


def test_rows_of_step_and_decode_are_measured_on_a_cpu(pictures: Path, capsys: pytest.CaptureFixture[str]):
    figures = trial(pictures, capsys, "step", "decode", "--networks", "test_resnet")
    assert list(figures) == [
        ("test_resnet", "bare step, float32"),
        ("test_resnet", "bare step, bf16"),
        ("test_resnet", "bare step, bf16, channels_last"),
        ("-", "one process"),
        ("-", "1 worker processes"),
        ("-", "held decoded as uint8"),
    ]
    assert min(figures.values()) > 0


@pytest.mark.slow
def test_rows_of_train_and_probe_are_measured_on_a_cpu(pictures: Path, capsys: pytest.CaptureFixture[str]):
    figures = trial(pictures, capsys, "train", "probe", "--networks", "test_resnet", "vit_base_patch16_224")
    for network in ("test_resnet", "vit_base_patch16_224"):
        assert {what for name, what in figures if name == network} == {
            "tl, full",
            "timm's train.py",
            "forward alone, bf16, channels_last",
            "tl, features of the probe",
        }
    assert min(figures.values()) > 0


def test_script_without_a_gpu_says_how_to_try_it(pictures: Path, capsys: pytest.CaptureFixture[str]):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SystemExit) as error:
        gpu.main(["--photos", str(pictures)])
    assert error.value.code == 2
    assert "there is no CUDA device here; --device cpu --size 32 --steps 2 tries it" in capsys.readouterr().err
