"""The commands as a person types them; the slow imports happen once, in this process."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from tests.conftest import copy_digits
from tl_toolkit.cli.main import app
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.text import flag_of

TINY = [
    *("--arch", "resnet18", "--weights", "bundled", "--tune", "lp-ft", "--image-size", "32"),
    *("--epochs", "1", "--probe-epochs", "2"),
]
FLAGS = [flag_of(field.name) for field in fields(FinetuneConfig)]
OWN_FLAGS = ["--config", "--resume", "--verbose", "--quiet", "--json", "--trust"]


def tl(*arguments: object, stdin: str = "") -> Result:
    return CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments], input=stdin)


@pytest.mark.parametrize(
    "command",
    [[], ["finetune"], ["predict"], ["evaluate"], ["export"], ["plot"], ["rank"], ["models"], ["data"], ["cache"]],
)
def test_help_of_every_command_imports_no_torch(command: list[str]):
    code = (
        "import sys\nfrom tl_toolkit.cli.main import app\n"
        "try: app([*sys.argv[1:], '--help'])\n"
        "finally: print('HEAVY', sorted({'torch', 'timm', 'torchvision', 'matplotlib', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert "Usage:" in done.stdout
    assert done.stdout.rstrip().endswith("HEAVY []")


def test_unknown_allocator_exits_with_2_and_says_which_there_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TL_ALLOCATOR", "fast")
    done = tl("models", "list")
    assert done.exit_code == 2
    assert "TL_ALLOCATOR is 'fast'; it can be tuned (the default) or system." in done.output


def flags_in(shown: str) -> set[str]:
    return set(re.findall(r"^│ [ *]*(--[a-z-]+)", shown, re.MULTILINE))


def test_help_all_of_finetune_shows_every_flag_and_default():
    shown = tl("finetune", "--help-all").stdout
    assert flags_in(shown) == {*FLAGS, *OWN_FLAGS, "--help-all", "--help"}
    assert "[default: stratified]" in shown
    assert "Show all" in shown


def test_help_of_finetune_shows_the_settings_that_most_people_use():
    shown = tl("finetune", "--help").stdout
    common = [
        "--arch", "--weights", "--tune", "--time-budget", "--val-split", "--epochs", "--lr", "--seed", "--augment",
        "--image-size", "--out",
    ]  # fmt: skip
    assert flags_in(shown) == {*common, *OWN_FLAGS, "--help-all", "--help"}
    assert f"Show all {len(FLAGS)} settings, and exit." in shown
    assert "[default: 0]" in shown  # Of the seed, although 0 == False.


@pytest.mark.parametrize("command", ["predict", "evaluate", "export", "rank", "plot"])
def test_help_of_every_other_command_is_short(command: str):
    assert len(flags_in(tl(command, "--help").stdout)) <= 15


def test_finetune_tells_choices_results_and_files(photos: Path, tmp_path: Path):
    done = tl("finetune", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 0, done.output
    for text in ("torchvision:resnet18, 32 px", "val is taken from train", "tune          1/1  loss", "accuracy "):
        assert text in done.stdout
    model = shlex.quote(str(tmp_path / "run"))
    assert done.stdout.endswith(
        f"""
run         {tmp_path / "run"}
next        tl predict -m {model} IMAGE
            tl predict -m {model} --grid grid.png
            tl export {model} --to state-dict --out model.pt
"""
    )
    for text in ("10% of each class of train", "model.safetensors", "workers "):
        assert text not in done.stdout


def test_finetune_verbose_tells_everything(photos: Path, tmp_path: Path):
    done = tl("finetune", photos, "--out", tmp_path / "run", "--verbose", *TINY)
    assert done.exit_code == 0, done.output
    for text in ("10% of each class of train", "model.safetensors", "workers ", "features ", "summary.json", "lr 0."):
        assert text in done.stdout


def test_finetune_takes_the_images_as_its_argument(photos: Path, in_folder: Path):
    done = tl("finetune", photos, "--data", f"{photos}/", "--quiet", *TINY)
    assert done.exit_code == 0, done.output
    assert done.stdout.endswith("-resnet18-photos\n")
    refused = tl("finetune", photos, "--data", "digits", *TINY)
    assert refused.exit_code == 2
    assert refused.stderr == f"Error: Images are named twice, '{photos}' and --data 'digits': leave out one.\n"


def test_finetune_quiet_and_verbose_is_refused():
    done = tl("finetune", "--quiet", "--verbose")
    assert (done.exit_code, done.stderr) == (2, "Error: --quiet and --verbose are opposites: leave out one.\n")


def test_finetune_json_prints_the_summary_and_nothing_else(photos: Path, tmp_path: Path):
    done = tl("finetune", "--data", photos, "--out", tmp_path / "run", "--json", *TINY)
    assert json.loads(done.stdout) == json.loads((tmp_path / "run" / "summary.json").read_text())
    assert "torchvision:resnet18" in done.stderr


def test_finetune_quiet_prints_the_folder_and_nothing_else(photos: Path, tmp_path: Path):
    done = tl("finetune", "--data", photos, "--out", tmp_path / "run", "--quiet", *TINY)
    assert done.stdout == f"{tmp_path / 'run'}\n"
    assert all(line.startswith("Warning: ") for line in done.stderr.splitlines())


def test_finetune_with_a_config_file_lets_flags_win(photos: Path, tmp_path: Path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data: {photos}\narch: resnet18\nweights: bundled\ntune: lp-ft\nimage_size: 48\nepochs: 7\nlr: 0.5\n"
    )
    done = tl("finetune", "--config", config, "--epochs", 1, "--lr", "0.001", "--json", "--out", tmp_path / "run")
    assert json.loads(done.stdout)["epochs"] == 1
    assert "resnet18, 48 px" in done.stderr


def test_finetune_with_a_bad_image_ends_with_three(photos: Path, tmp_path: Path):
    (photos / "0" / "bad.png").touch()
    done = tl("finetune", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert done.exit_code == 3
    assert "1 image cannot be read and is left out" in done.output
    assert "bad_images.csv" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["finetune", "--classes", "5"], 2, "Error: --classes is 5, but digits has 10 classes"),
        (["finetune", "--arch", "resnt18"], 2, "Error: No architecture is named 'resnt18'. Did you mean resnet18"),
        (["finetune", "--arch", "vgg16", "--classes", "10"], 1, "vgg16-397923af.pth is not in the cache"),
        (["finetune", "--data", "nowhere"], 2, "Error: There is no folder 'nowhere'"),
        (["finetune", "--head", "foo"], 2, "'foo' is not one of"),
        (["finetune", "--save", "foo"], 2, "--save must be state-dict or full-model"),
        (["finetune", "--lr", "0"], 2, "--lr must be above 0"),
        (["finetune", "--config", "nowhere.yaml"], 2, "Cannot read the config file nowhere.yaml"),
        (["predict", "."], 2, "There is no run in"),
        (["predict", "cat.png"], 2, "There is no file or folder 'cat.png'."),
        (["predict", "cat.png", "dog*.png"], 2, "None of these is there: 'cat.png', 'dog*.png'."),
        (["predict", "cat.png", "--out", "x.txt"], 2, "x.txt ends in none of .json, .jsonl, .csv; say --format"),
        (["predict"], 2, "Say which images: files, folders or globs"),
        (["evaluate", "--model", "nowhere"], 2, "There is no model 'nowhere'"),
        (["export", "nowhere", "--to", "state-dict", "--out", "x.pt"], 2, "There is no model 'nowhere'"),
        (["models", "no-such-network"], 2, "No architecture is named 'no-such-network'"),
        (["models", "show", "resnet81"], 2, "Did you mean resnet18"),
        (["data", "info", "nowhere"], 2, "There is no folder 'nowhere'"),
        (["data", "get", "mnst"], 2, "Did you mean mnist"),
        (["tune"], 2, "No such command 'tune'"),
    ],
)
def test_mistakes_end_with_their_code_and_one_message(in_folder: Path, arguments: list[str], code: int, message: str):
    done = tl(*arguments)
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert "Traceback" not in done.output


def test_predict_without_a_run_says_so(in_folder: Path, tiny_data: Path):
    done = tl("predict", tiny_data)
    assert done.exit_code == 2
    assert "There is no run in" in done.stderr


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_predict_of_a_missing_file_says_so_without_a_table(form: str, tiny_run: Run, in_folder: Path):
    (in_folder / "cat.png").touch()
    done = tl("predict", in_folder / "cet.png", "-m", tiny_run.path, "-f", form)
    near = in_folder / "cat.png"
    assert (done.exit_code, done.stdout) == (2, "")
    message = f"Error: There is no file or folder {str(in_folder / 'cet.png')!r}. Did you mean {near}?"
    assert "".join(done.stderr.split()) == "".join(message.split())


def test_predict_lists_a_missing_file_beside_others(tiny_run: Run, tiny_data: Path, in_folder: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = tl("predict", image, "cat.png", "-m", tiny_run.path, "-f", "csv")
    assert done.exit_code == 3
    assert done.stdout.splitlines()[2] == "cat.png,,,No such file or directory"


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_predict_of_an_empty_stdin_prints_nothing_but_a_message(form: str, stdin: str, tiny_run: Run, tmp_path: Path):
    done = tl("predict", "-", "-m", tiny_run.path, "-f", form, stdin=stdin)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: No path came on stdin: - reads one on each line, as in: find photos -name '*.jpg' | tl predict -\n"
    )


def test_help_of_predict_says_what_a_probability_means():
    shown = " ".join(tl("predict", "--help").stdout.split())
    assert "how sure the network is among the classes that it knows" in shown
    assert 'There is no "none of these"' in shown
    assert "It is not calibrated" in shown


@pytest.mark.parametrize(
    "command", [["predict", "IMAGE", "-m"], ["evaluate", "-m"], ["export", "--to", "state-dict", "--out", "x.pt"]]
)
def test_commands_given_an_image_as_model_say_what_it_is(command: list[str], tiny_data: Path, in_folder: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = tl(*(image if word == "IMAGE" else word for word in command), image)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"{image} is an image (PNG), not a model. Give a run folder" in done.stderr


def test_evaluate_of_the_runs_own_images_judges_what_it_has_not_seen(photos: Path, in_folder: Path):
    arguments = ["--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", 1, "--val-split", 0.2]
    assert tl("finetune", "--data", photos, *arguments, "--quiet").exit_code == 0
    done = tl("evaluate")
    assert done.exit_code == 0, done.output
    assert "split       val of the run  6 of 30 images; the model learned from the rest" in done.stderr
    assert "photos, val of the run" in done.stdout
    assert re.search(r"seen +none in training\n", done.stdout)
    as_json = json.loads(tl("evaluate", "--json").stdout)
    keys = ("split", "split_of_run", "images", "seen_images", "left_out_images")
    assert [as_json[key] for key in keys] == ["val", True, 6, 0, 24]
    train = tl("evaluate", "--split", "train")
    assert re.search(r"seen +24 \(80.0 %\) in training\n", train.stdout)
    assert "The model learned from 24 of these 30 images (80.0 %)" in train.stderr
    grid = tl("predict", "--grid", "grid.png")
    assert "split       val of the run  6 of 30 images; the model learned from the rest" in grid.stderr
    assert re.search(r"grid\.png  val of the run, photos, 6 images, \d of 6 right", grid.stderr)


def test_predict_prints_a_table_and_says_which_model_it_took(
    tiny_run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
):
    (tiny_run.path.parent / "runs").symlink_to(tiny_run.path.parent)
    monkeypatch.chdir(tiny_run.path.parent)
    image = min((tiny_data / "test" / "1").iterdir())
    done = tl("predict", image)
    (tiny_run.path.parent / "runs").unlink()
    assert done.exit_code == 0, done.output
    assert "runs/run  the newest run" in done.stderr
    assert image.name in done.stdout


def test_predict_json_per_image_has_the_promised_keys(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    (tmp_path / "bad.png").touch()
    done = tl(
        "predict", image, "-", "--model", tiny_run.path, "-f", "json", "--top-k", 2, stdin=f"{tmp_path}/bad.png\n"
    )
    first, second = json.loads(done.stdout)
    assert done.exit_code == 3
    assert list(first) == ["path", "class_name", "probability", "top_k"]
    assert [list(each) for each in first["top_k"]] == [["class_name", "probability"]] * 2
    assert second == {"path": f"{tmp_path}/bad.png", "error": "the file is empty"}


def test_predict_jsonl_and_csv_agree(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    folder = tiny_data / "test"
    tl("predict", folder, "--model", tiny_run.path, "--out", tmp_path / "out.csv")
    lines = tl("predict", folder, "--model", tiny_run.path, "--format", "jsonl").stdout.splitlines()
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text())))
    assert len(lines) == len(rows) == 18
    for line, row in zip(map(json.loads, lines), rows, strict=True):
        assert (line["path"], line["class_name"]) == (row["path"], row["class_name"])
        assert line["probability"] == pytest.approx(float(row["probability"]))


def test_predict_a_name_of_undecodable_bytes_gives_it_back(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    name = os.fsencode(tmp_path) + b"/caf\xe9 \xf0\x9f\x90\x9d.png"
    Path(os.fsdecode(name)).write_bytes(min((tiny_data / "test" / "1").iterdir()).read_bytes())
    command = [Path(sys.executable).with_name("tl"), "predict", name, "-m", tiny_run.path, "-f", "csv"]
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout.splitlines()[1].startswith(name)


def test_evaluate_prints_top1_and_each_class(tiny_run: Run):
    done = tl("evaluate", "--model", tiny_run.path)
    assert done.exit_code == 0, done.output
    assert "what the model was trained on" in done.stderr
    assert "accuracy" in done.stdout
    as_json = json.loads(tl("evaluate", "--model", tiny_run.path, "--json").stdout)
    assert as_json["accuracy"] == tiny_run.summary["test_accuracy"]
    assert list(as_json["class_accuracy"]) == ["0", "1", "7"]


def test_evaluate_with_unknown_classes_lists_them(tiny_run: Run, tmp_path: Path):
    copy_digits(tmp_path / "data", ["3"], 2)
    done = tl("evaluate", "--model", tiny_run.path, "--data", tmp_path / "data")
    assert done.exit_code == 1
    assert "does not know 1 of the data's 1 classes: 3" in done.stderr


def test_export_writes_what_plain_torch_loads(tiny_run: Run, tmp_path: Path):
    done = tl("export", tiny_run.path, "--to", "state-dict", "--out", tmp_path / "w.pt")
    assert done.exit_code == 0, done.output
    assert torch.load(tmp_path / "w.pt", weights_only=True)["fc.weight"].shape == (3, 512)
    again = tl("export", tiny_run.path, "--to", "state-dict", "--out", tmp_path / "w.pt")
    assert again.exit_code == 2
    assert "nothing is ever overwritten" in again.stderr


def test_module_run_by_python_is_tl():
    done = subprocess.run([sys.executable, "-m", "tl_toolkit", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == tl("--version").stdout


def test_data_info_shows_counts_sizes_and_oddities(photos: Path):
    (photos / "0" / "bad.png").touch()
    done = tl("data", "info", photos)
    assert done.exit_code == 3
    assert "photos, 3 classes" in done.stdout
    assert "modes       L 30\n" in done.stdout
    assert "the file is empty" in done.stderr
    assert json.loads(tl("data", "info", photos, "--json").stdout)["splits"]["train"]["images"] == 30


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
    assert f"Go on with: tl finetune --resume {shlex.quote(str(tmp_path / 'run'))}" in stderr
    assert "Traceback" not in stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()


def test_finetune_with_resume_of_a_finished_run_shows_its_results(tiny_run: Run):
    done = tl("finetune", "--resume", tiny_run.path)
    assert done.exit_code == 0
    assert "is finished; --epochs N trains it for longer" in done.stdout
    assert f"next        tl predict -m {shlex.quote(str(tiny_run.path))} IMAGE\n" in done.stdout
    assert json.loads(tl("finetune", "--resume", tiny_run.path, "--json").stdout) == tiny_run.summary


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--resume", "RUN", "--lr", "0.1"], "--lr cannot be given anew"),
        (["--resume", "RUN", "--config", "RUN/config.yaml"], "leave out --config"),
        (["--resume", "nowhere"], "nowhere is no run"),
        (["--checkpoint-every", "often"], "--checkpoint-every must be a number of steps such as 50"),
        (["--checkpoint-every", "0"], "--checkpoint-every must be"),
    ],
)
def test_finetune_with_a_wrong_resume_says_so(arguments: list[str], message: str, tiny_run: Run):
    done = tl("finetune", *(argument.replace("RUN", str(tiny_run.path)) for argument in arguments))
    assert done.exit_code == 2
    assert message in done.stderr


def test_predict_of_names_from_stdin_survives_bytes_that_are_no_text(tiny_run: Run, tmp_path: Path):
    command = [Path(sys.executable).with_name("tl"), "predict", "-", "-m", tiny_run.path, "-f", "jsonl"]
    done = subprocess.run(command, input=b"caf\xe9.png\n" + b"x" * 300 + b"\n", capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert os.fsencode(first["path"]) == b"caf\xe9.png"
    assert second["error"] == "File name too long"


def test_predict_of_an_empty_folder_says_so(tiny_run: Run, in_folder: Path):
    done = tl("predict", ".", "-m", tiny_run.path)
    assert done.exit_code == 2
    assert "There is no image in ." in done.stderr


def test_plot_overlays_runs_and_overwrites_nothing(tiny_run: Run, in_folder: Path):
    done = tl("plot", tiny_run.path, tiny_run.path, "--out", "both.pdf")
    assert done.exit_code == 0, done.output
    assert (in_folder / "both.pdf").read_bytes().startswith(b"%PDF")
    assert tl("plot", tiny_run.path).exit_code == 0
    assert (in_folder / "plot.png").is_file()
    again = tl("plot", tiny_run.path)
    assert (again.exit_code, "plot.png exists; nothing is ever overwritten" in again.stderr) == (2, True)


def test_plot_of_what_is_no_run_says_so(tiny_run: Run, in_folder: Path):
    (in_folder / "metrics.jsonl").write_text("{\n")
    (in_folder / "empty").mkdir()
    (in_folder / "empty" / "metrics.jsonl").touch()
    for run, message in (
        ("nowhere", "nowhere is no run folder that has metrics"),
        (".", "metrics.jsonl is damaged"),
        ("empty", "holds no evaluation yet"),
    ):
        done = tl("plot", run)
        assert done.exit_code in (1, 2)
        assert message in done.stderr
    assert "A plot ends in .png, .pdf, .svg" in tl("plot", tiny_run.path, "--out", "a.gif").stderr


def test_predict_grid_draws_the_models_own_test_images(tiny_run: Run, in_folder: Path):
    done = tl("predict", "--grid", "grid.png", "--model", tiny_run.path)
    assert done.exit_code == 0, done.output
    assert re.search(r"grid\.png  test, .*, 18 images, \d+ of 18 right", done.stderr)
    assert "unseen      all 18 images  the model learned from none of them" in done.stderr
    assert (in_folder / "grid.png").is_file()
    assert done.stdout == ""


def test_predict_grid_of_images_takes_the_truth_from_their_folders(tiny_run: Run, tiny_data: Path, in_folder: Path):
    stray = in_folder / "stray.png"
    shutil.copy(min((tiny_data / "test" / "1").iterdir()), stray)
    done = tl("predict", tiny_data / "test" / "1", stray, "--grid", "grid.pdf", "-m", tiny_run.path, "-f", "csv")
    assert done.exit_code == 0, done.output
    assert re.search(r"all 7 images, \d of 6 right", done.stderr)
    assert len(done.stdout.splitlines()) == 8


def test_predict_with_nothing_to_do_says_what_it_needs(tiny_run: Run, in_folder: Path):
    (in_folder / "grid.png").touch()
    for arguments, message in (
        ([], "Say which images: files, folders or globs"),
        (["--grid", "grid.png"], "grid.png exists; nothing is ever overwritten"),
        (["--grid", "grid.bmp"], "A plot ends in .png"),
        (["--grid", "g.png", "--out", "a.csv"], "--out is for the results of IMAGES"),
    ):
        done = tl("predict", "-m", tiny_run.path, *arguments)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


def test_finetune_prints_the_worst_class_first(photos: Path, in_folder: Path):
    arguments = ["--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", 1, "--lr", 0.001]
    done = tl("finetune", "--data", photos, *arguments)
    assert done.exit_code == 0, done.output
    table = done.stdout.partition("class  accuracy")[2].splitlines()
    accuracies = [float(line.split()[1]) for line in table[1:4]]
    assert accuracies == sorted(accuracies)
    assert sorted(line.split()[0] for line in table[1:4]) == ["0", "1", "7"]
