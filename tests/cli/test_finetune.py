"""`tl finetune` as a person types it."""

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.helpers.terminal import run_tl
from tl_toolkit.cli.main import app
from tl_toolkit.errors import UsageError
from tl_toolkit.recipes import finetune as recipe
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.system.cpu_usage import Usage

TINY = [
    *("--arch", "resnet18", "--weights", "bundled", "--tune", "lp-ft", "--image-size", "32"),
    *("--epochs", "1", "--probe-epochs", "2"),
]


@pytest.mark.parametrize(("name", "words"), [("finetune", []), ("resume", ["--resume", "runs/a"])])
def test_finetune_in_a_long_process_counts_the_budget_from_the_command(
    monkeypatch: pytest.MonkeyPatch, name: str, words: list[str], in_folder: Path
):
    (in_folder / "runs" / "a").mkdir(parents=True)
    (in_folder / "runs" / "a" / "config.yaml").touch()
    counted_from: list[float] = []

    def note(*_: Any, started: Usage, **__: Any) -> None:
        counted_from.append(started.time)
        raise UsageError("enough")

    monkeypatch.setattr(recipe, name, note)
    before = time.perf_counter()
    done = CliRunner().invoke(app, ["finetune", *words])
    assert "enough" in done.output
    assert before <= counted_from[0] <= time.perf_counter()


def test_finetune_tells_choices_results_and_files(photos: Path, tmp_path: Path):
    done = run_tl("finetune", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 0, done.output
    for text in (
        "torchvision:resnet18, 32 px",
        "val is taken from train",
        "tune          1/1  loss",
        "of 3 images\nrun  ",
    ):
        assert text in done.stdout
    model = shlex.quote(str(tmp_path / "run"))
    assert done.stdout.endswith(
        f"""
run         {tmp_path / "run"}
report      {tmp_path / "run" / "report.html"}
next        tl predict -m {model} IMAGE
            tl predict -m {model} --grid grid.png
            tl export {model} --to state-dict --out model.pt
"""
    )
    for text in ("10% of each class of train", "model.safetensors", "workers "):
        assert text not in done.stdout


def test_finetune_verbose_tells_everything(photos: Path, tmp_path: Path):
    done = run_tl("finetune", photos, "--out", tmp_path / "run", "--verbose", *TINY)
    assert done.exit_code == 0, done.output
    for text in ("10% of each class of train", "model.safetensors", "workers ", "features ", "summary.json", "lr 0."):
        assert text in done.stdout


def test_finetune_takes_the_images_as_its_argument(photos: Path, in_folder: Path):
    done = run_tl("finetune", photos, "--data", f"{photos}/", "--quiet", *TINY)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("-resnet18-photos\n")
    refused = run_tl("finetune", photos, "--data", "digits", *TINY)
    assert refused.exit_code == 2
    assert refused.stderr == f"Error: Images are named twice, '{photos}' and --data 'digits': leave out one.\n"


def test_finetune_quiet_and_verbose_is_refused():
    done = run_tl("finetune", "--quiet", "--verbose")
    assert (done.exit_code, done.stderr) == (2, "Error: --quiet and --verbose are opposites: leave out one.\n")


def test_finetune_json_prints_the_summary_and_nothing_else(photos: Path, tmp_path: Path):
    done = run_tl("finetune", "--data", photos, "--out", tmp_path / "run", "--json", *TINY)
    assert json.loads(done.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "torchvision:resnet18" in done.stderr


def test_finetune_quiet_prints_the_folder_and_nothing_else(photos: Path, tmp_path: Path):
    done = run_tl("finetune", "--data", photos, "--out", tmp_path / "run", "--quiet", *TINY)
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())


def test_finetune_with_a_config_file_lets_flags_win(photos: Path, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {photos}\narch: resnet18\nweights: bundled\ntune: lp-ft\nimage_size: 48\nepochs: 7\nlr: 0.5\n"
    )
    done = run_tl("finetune", "--config", config, "--epochs", 1, "--lr", "0.001", "--json", "--out", tmp_path / "run")
    assert json.loads(done.stdout)["epochs"] == 1
    assert "resnet18, 48 px" in done.stderr


def test_finetune_with_a_bad_image_ends_with_three(photos: Path, tmp_path: Path):
    (photos / "0" / "bad.png").touch()
    done = run_tl("finetune", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 3
    assert "1 image cannot be read and is left out" in done.output
    assert "bad_images.csv" in done.stdout


def test_finetune_interrupted_says_so_and_ends_with_130(tiny_data: Path, tmp_path: Path):
    command = [Path(sys.executable).with_name("tl"), "finetune", *TINY, "--epochs", "5000", "--data", tiny_data]
    with subprocess.Popen(
        [*command, "--tune", "full", "--out", tmp_path / "run"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # A process started in the background of a script ignores SIGINT, and hands that down.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        try:
            deadline = time.monotonic() + 120
            while not (tmp_path / "run" / "model.safetensors").exists() and time.monotonic() < deadline:
                time.sleep(0.2)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "Stopped after step" in stderr
    assert "all is saved." in stderr
    assert f"Resume with: tl finetune --resume {shlex.quote(str(tmp_path / 'run'))}" in stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_finetune_with_resume_of_a_finished_run_shows_its_results(tiny_run: Run):
    done = run_tl("finetune", "--resume", tiny_run.path)
    assert done.exit_code == 0
    assert "is finished; --epochs N trains it for longer" in done.stdout
    assert f"next        tl predict -m {shlex.quote(str(tiny_run.path))} IMAGE\n" in done.stdout
    assert json.loads(run_tl("finetune", "--resume", tiny_run.path, "--json").stdout) == tiny_run.summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "RUN", "--lr", "0.1"], "--lr cannot change, only"),
        (["--resume", "RUN", "--config", "RUN/config.yaml"], "leave out --config"),
        (["--resume", "nowhere"], "nowhere is not a run folder"),
        (["--checkpoint-every", "often"], "--checkpoint-every must be a number of steps such as 50"),
        (["--checkpoint-every", "0"], "--checkpoint-every must be"),
    ],
)
def test_finetune_with_a_wrong_resume_says_so(arguments: list[str], message: str, tiny_run: Run):
    done = run_tl("finetune", *(argument.replace("RUN", str(tiny_run.path)) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr


def test_finetune_prints_the_worst_class_first(photos: Path, in_folder: Path):
    arguments = ["--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", 1, "--lr", 0.001]
    done = run_tl("finetune", "--data", photos, *arguments)
    assert done.exit_code == 0, done.output
    table = done.stdout.partition("class  accuracy")[2].splitlines()
    accuracies = [float(line.split()[1]) for line in table[1:4]]
    assert accuracies == sorted(accuracies)
    assert sorted(line.split()[0] for line in table[1:4]) == ["0", "1", "7"]
