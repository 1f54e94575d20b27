"""`tl plot` as a person types it."""

from pathlib import Path

from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


def test_plot_overlays_runs_and_overwrites_nothing(tiny_run: Run, in_folder: Path):
    done = run_tl("plot", tiny_run.path, tiny_run.path, "--out", "both.pdf")
    assert done.exit_code == 0, done.output
    assert (in_folder / "both.pdf").read_bytes().startswith(b"%PDF")
    assert run_tl("plot", tiny_run.path).exit_code == 0
    assert (in_folder / "plot.png").is_file()
    again = run_tl("plot", tiny_run.path)
    assert (again.exit_code, "plot.png exists; nothing is ever overwritten" in again.stderr) == (2, True)


def test_plot_of_what_is_no_run_says_so(tiny_run: Run, in_folder: Path):
    (in_folder / "metrics.jsonl").write_text("{\n")
    (in_folder / "empty").mkdir()
    (in_folder / "empty" / "metrics.jsonl").touch()
    for run, message in (
        ("nowhere", "nowhere is not a run folder with metrics"),
        (".", "metrics.jsonl is damaged"),
        ("empty", "holds no evaluation yet"),
    ):
        done = run_tl("plot", run)
        assert done.exit_code in (1, 2)
        assert message in done.stderr
    assert "A plot ends in .png, .pdf, .svg" in run_tl("plot", tiny_run.path, "--out", "a.gif").stderr
