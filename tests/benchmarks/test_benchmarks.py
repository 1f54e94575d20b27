import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.benchmarks import allocator, busy, gpu, limits, multilabel, precision, serving, shards, side_by_side
from tests.benchmarks.league import __main__ as league
from tests.benchmarks.timing import in_turn, run, show
from tl_toolkit.recipes.finetune import Run


def test_in_turn_measures_all_in_each_round():
    called: list[str] = []
    figures = in_turn(2, {name: lambda name=name: called.append(name) or float(len(called)) for name in "ab"})
    assert called == ["a", "b", "a", "b"]
    assert figures == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


def test_show_tells_medians_and_how_many_times_better(capsys: pytest.CaptureFixture[str]):
    show("work", "s", {"tl": [2.0, 1.0, 3.0], "other": [20.0]}, "tl", more_is_better=False)
    assert "10.00x" in capsys.readouterr().out
    show("work", "images/s", {"tl": [2.0], "other": [20.0]}, "tl", more_is_better=True)
    assert "0.10x" in capsys.readouterr().out


def test_run_finds_objects_behind_other_output():
    done = run([sys.executable, "-c", """print("{'loss': 1}"); print('bar {"accuracy": 0.5, "n": {"a": 1}}')"""])
    assert done.lines == [{"accuracy": 0.5, "n": {"a": 1}}]


def test_run_of_a_program_that_fails_shows_why():
    with pytest.raises(SystemExit, match="ZeroDivisionError"):
        run([sys.executable, "-c", "1 / 0"])


@pytest.mark.parametrize(
    ("script", "word"),
    [
        (side_by_side, "Rows:"),
        (limits, "Rows:"),
        (league, "Entrants:"),
        (allocator, "NETWORK"),
        (precision, "NETWORK"),
        (busy, "--cores"),
        (shards, "--cold"),
        (serving, "--clients"),
        (gpu, "Rows:"),
        (multilabel, "--only-build"),
    ],
)
def test_script_explains_itself(script: object, word: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as error:
        script.main(["--help"])
    assert error.value.code == 0
    assert word in capsys.readouterr().out


def test_decode_row_prints_both_ways_of_decoding(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    shutil.copytree(photos, tmp_path / "photographs" / "train")
    for path in (tmp_path / "photographs").rglob("*.png"):
        path.rename(path.with_suffix(".jpg"))
    limits.main(["decode", "--photos", str(tmp_path / "photographs"), "--rounds", "1"])
    assert "Pillow, full decode" in capsys.readouterr().out


def test_shards_prints_a_row_for_each_way_of_reading(photos: Path, capsys: pytest.CaptureFixture[str]):
    for flags in ([], ["--only-read"]):
        shards.main(["--photos", str(photos), "--rounds", "1", *flags])
        assert "shards, a few at a time" in capsys.readouterr().out


def test_load_of_a_server_prints_a_row_for_each_number_of_clients(
    photos: Path, tiny_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    for number, path in enumerate(photos.rglob("*.png")):
        Image.open(path).save(tmp_path / f"{number}.jpg")
    serving.main([str(tiny_run.path), str(tmp_path), "--clients", "1", "2", "--requests", "8", "--last", "12"])
    shown = capsys.readouterr().out
    assert "30 photographs" in shown
    assert [row.split()[1:4:2] for row in shown.splitlines() if row.startswith("│ ")] == [["1", "8"], ["2", "12"]]


def test_load_that_fails_or_grows_is_told(capsys: pytest.CaptureFixture[str]):
    steady = serving.Load(1, 2.0, [0.1] * 4, [], [100, 200, 200, 200])
    growing = serving.Load(1, 2.0, [0.1] * 4, [], [100, 200, 210, 300])
    assert (steady.growth, growing.growth) == (0.0, 0.5)
    assert growing.quantile(0.5) == pytest.approx(100)
