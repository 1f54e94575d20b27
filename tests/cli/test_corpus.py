"""Every kind of image file through the real commands."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.corpus import Bad, Good, Kind
from tests.helpers.terminal import run_tl
from tl_toolkit.cli import console

SMALL = ["--arch", "lenet5_cifar", "--weights", "none", "--tune", "full", "--epochs", "1"]
CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80\xae")
"""What a terminal obeys, in UTF-8, but for the end of a line."""


def bad_paths(corpus: dict[str, Kind]) -> list[str]:
    return sorted(path for path, kind in corpus.items() if isinstance(kind.expected, Bad))


@pytest.fixture(scope="module")
def trained(corpus: dict[str, Kind], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, object]:
    """A run on the whole corpus, in two worker processes, and what the command printed."""
    run = tmp_path_factory.mktemp("run") / "run"
    data = Path(next(iter(corpus))).parents[2]
    return run, run_tl("finetune", "--data", data, "--out", run, "--workers", 2, *SMALL)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def test_finetune_of_every_kind_learns_from_the_good_and_lists_the_bad(
    corpus: dict[str, Kind], trained: tuple[Path, object]
):
    run, done = trained
    assert done.exit_code == 3, done.output
    listed = read_csv(run / "bad_images.csv")
    assert sorted(row["path"] for row in listed) == bad_paths(corpus)
    for row in listed:
        assert re.fullmatch(corpus[row["path"]].expected.reason, row["reason"]), row
    summary = json.loads((run / "summary.json").read_text())
    assert summary["train_images"] + summary["val_images"] + len(listed) == len(corpus) + 30
    assert f"{len(listed)} images cannot be read and are left out" in done.output
    assert not CONTROL.findall(done.output.encode())


def test_predict_of_every_kind_gives_each_a_class_or_its_reason(corpus: dict[str, Kind], trained: tuple[Path, object]):
    folder = Path(next(iter(corpus))).parent
    command = [Path(sys.executable).with_name("tl"), "predict", folder, "-m", trained[0], "-f", "jsonl"]
    done = subprocess.run(command, capture_output=True, timeout=100)
    assert done.returncode == 3, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    results_by_path = {os.fsdecode(os.fsencode(result["path"])): result for result in results}
    assert len(results) == len(results_by_path) == len(corpus)
    assert sorted(path for path, result in results_by_path.items() if "error" in result) == bad_paths(corpus)
    for path, result in results_by_path.items():
        assert "class_name" in result or re.fullmatch(corpus[path].expected.reason, result["error"])
    assert done.stderr.decode().splitlines()[-1] == f"Warning: {len(bad_paths(corpus))} could not be read."


def test_predict_table_of_every_kind_shows_names_that_a_terminal_does_not_obey(
    corpus: dict[str, Kind], trained: tuple[Path, object]
):
    done = run_tl("predict", Path(next(iter(corpus))).parent, "-m", trained[0])
    assert done.exit_code == 3
    assert not CONTROL.findall(done.stdout_bytes)
    shown = "".join(done.stdout.split())
    for text in (
        "escape\\x1b[31mred",
        "new\\nline.png",
        ":cat:.png",
        "[boldred]markup.png",
        "🐱",
        "8\\xff\\xfe.png",
    ):
        assert text in shown


def test_predict_csv_of_every_kind_keeps_names_as_they_are(
    corpus: dict[str, Kind], trained: tuple[Path, object], tmp_path: Path
):
    out = tmp_path / "out.csv"
    run_tl("predict", Path(next(iter(corpus))).parent, "-m", trained[0], "--out", out)
    assert sorted(row["path"] for row in read_csv(out)) == sorted(corpus)


@pytest.mark.parametrize("named", [True, False])
def test_predict_of_single_files_by_name_or_folder_reads_the_same(
    corpus: dict[str, Kind], trained: tuple[Path, object], named: bool
):
    folder = Path(next(iter(corpus))).parent
    paths = [str(path) for path in (folder / "folder.jpg", folder / "pipe.jpg", folder / "rgb.png")]
    arguments = paths if named else ["-"]
    done = run_tl("predict", *arguments, "-m", trained[0], "-f", "jsonl", stdin="\n".join(paths))
    reasons = [json.loads(line).get("error") for line in done.stdout.splitlines()]
    assert reasons == ["Is a directory", "a named pipe, not a file", None]


def test_evaluate_of_every_kind_judges_the_good_and_lists_the_bad(
    corpus: dict[str, Kind], trained: tuple[Path, object]
):
    data = Path(next(iter(corpus))).parents[2]
    done = run_tl("evaluate", "--data", data, "-m", trained[0], "--split", "train", "--json", "--workers", 1)
    assert done.exit_code == 3, done.output
    result = json.loads(done.stdout)
    assert sorted(image["path"] for image in result["bad_images"]) == bad_paths(corpus)
    assert result["images"] == 30 + sum(isinstance(kind.expected, Good) for kind in corpus.values())
    assert not CONTROL.findall(done.stderr_bytes)


def test_data_info_of_every_kind_counts_the_good_and_lists_the_bad(corpus: dict[str, Kind]):
    done = run_tl("data", "info", Path(next(iter(corpus))).parents[2])
    assert done.exit_code == 3
    bad = bad_paths(corpus)
    assert f"Warning: {len(bad)} images cannot be read:\n" in done.stderr
    folder = str(Path(bad[0]).parent)
    assert len([line for line in done.stderr.splitlines() if line.startswith(folder)]) == len(bad)
    assert not CONTROL.findall(done.stdout_bytes)


def test_result_on_a_terminal_is_escaped_and_to_a_program_as_it_is(monkeypatch: pytest.MonkeyPatch):
    ours, theirs = os.openpty()
    with open(theirs, "w") as terminal:  # noqa: PTH123  # a descriptor
        monkeypatch.setattr(sys, "stdout", terminal)
        console.write_lines(["a\x1b[31m\x9b,b\r\n"], "surrogateescape")
    assert os.read(ours, 100) == b"a\\x1b[31m\\x9b,b\r\n"
    os.close(ours)
    reading, writing = os.pipe()
    with open(writing, "w") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", pipe)
        console.write_lines(["a\x1b[31m,b\r\n"], "surrogateescape")
    assert os.read(reading, 100) == b"a\x1b[31m,b\r\n"
    os.close(reading)
