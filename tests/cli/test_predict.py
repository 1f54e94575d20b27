"""`tl predict` as a person types it."""

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


def test_predict_without_a_run_says_so(in_folder: Path, tiny_data: Path):
    done = run_tl("predict", tiny_data)
    assert done.exit_code == 2
    assert "There is no run in" in done.stderr


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
def test_predict_of_a_missing_file_says_so_without_a_table(form: str, tiny_run: Run, in_folder: Path):
    (in_folder / "cat.png").touch()
    done = run_tl("predict", in_folder / "cet.png", "-m", tiny_run.path, "-f", form)
    near = in_folder / "cat.png"
    assert (done.exit_code, done.stdout) == (2, "")
    message = f"Error: There is no file or folder {str(in_folder / 'cet.png')!r}. Did you mean {near}?"
    assert "".join(done.stderr.split()) == "".join(message.split())


def test_predict_lists_a_missing_file_beside_others(tiny_run: Run, tiny_data: Path, in_folder: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = run_tl("predict", image, "cat.png", "-m", tiny_run.path, "-f", "csv")
    assert done.exit_code == 3
    assert done.stdout.splitlines()[2] == "cat.png,,,No such file or directory"


@pytest.mark.parametrize("form", ["table", "csv", "json", "jsonl"])
@pytest.mark.parametrize("stdin", ["", "\n \n"])
def test_predict_of_an_empty_stdin_prints_nothing_but_a_message(form: str, stdin: str, tiny_run: Run, tmp_path: Path):
    done = run_tl("predict", "-", "-m", tiny_run.path, "-f", form, stdin=stdin)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: No path came on stdin: - reads one on each line, as in: find photos -name '*.jpg' | tl predict -\n"
    )


def test_predict_prints_a_table_and_says_which_model_it_took(
    tiny_run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
):
    (tiny_run.path.parent / "runs").symlink_to(tiny_run.path.parent)
    monkeypatch.chdir(tiny_run.path.parent)
    image = min((tiny_data / "test" / "1").iterdir())
    done = run_tl("predict", image)
    (tiny_run.path.parent / "runs").unlink()
    assert done.exit_code == 0, done.output
    assert "runs/run  the newest run" in done.stderr
    assert image.name in done.stdout


def test_predict_json_per_image_has_the_promised_keys(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    (tmp_path / "bad.png").touch()
    done = run_tl(
        "predict", image, "-", "--model", tiny_run.path, "-f", "json", "--top-k", 2, stdin=f"{tmp_path}/bad.png\n"
    )
    first, second = json.loads(done.stdout)
    assert done.exit_code == 3
    assert list(first) == ["path", "class_name", "probability", "top_k"]
    assert [list(each) for each in first["top_k"]] == [["class_name", "probability"]] * 2
    assert second == {"path": f"{tmp_path}/bad.png", "error": "the file is empty"}


def test_predict_jsonl_and_csv_agree(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    folder = tiny_data / "test"
    run_tl("predict", folder, "--model", tiny_run.path, "--out", tmp_path / "out.csv")
    lines = run_tl("predict", folder, "--model", tiny_run.path, "--format", "jsonl").stdout.splitlines()
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


def test_predict_of_names_from_stdin_survives_bytes_that_are_no_text(tiny_run: Run, tmp_path: Path):
    command = [Path(sys.executable).with_name("tl"), "predict", "-", "-m", tiny_run.path, "-f", "jsonl"]
    done = subprocess.run(command, input=b"caf\xe9.png\n" + b"x" * 300 + b"\n", capture_output=True, check=False)
    assert done.returncode == 3, done.stderr
    first, second = (json.loads(line) for line in done.stdout.splitlines())
    assert os.fsencode(first["path"]) == b"caf\xe9.png"
    assert second["error"] == "File name too long"


def test_predict_of_an_empty_folder_says_so(tiny_run: Run, in_folder: Path):
    done = run_tl("predict", ".", "-m", tiny_run.path)
    assert done.exit_code == 2
    assert "There is no image in ." in done.stderr


def test_predict_grid_draws_the_models_own_test_images(tiny_run: Run, in_folder: Path):
    done = run_tl("predict", "--grid", "grid.png", "--model", tiny_run.path)
    assert done.exit_code == 0, done.output
    assert re.search(r"grid\.png  test, .*, 18 images, \d+ of 18 right", done.stderr)
    assert "unseen      all 18 images  the model learned from none of them" in done.stderr
    assert (in_folder / "grid.png").is_file()
    assert done.stdout == ""


def test_predict_grid_of_images_takes_the_truth_from_their_folders(tiny_run: Run, tiny_data: Path, in_folder: Path):
    stray = in_folder / "stray.png"
    shutil.copy(min((tiny_data / "test" / "1").iterdir()), stray)
    done = run_tl("predict", tiny_data / "test" / "1", stray, "--grid", "grid.pdf", "-m", tiny_run.path, "-f", "csv")
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
        done = run_tl("predict", "-m", tiny_run.path, *arguments)
        assert (done.exit_code, message in done.stderr) == (2, True), done.stderr


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    path = tmp_path / "noise.png"
    Image.effect_noise((32, 32), 100).convert("RGB").save(path)
    return path


def test_predict_marks_an_image_unlike_those_of_training(judged_run: Run, tiny_data: Path, noise: Path):
    known = min((tiny_data / "test" / "1").iterdir())
    done = run_tl("predict", known, noise, "-m", judged_run.path)
    marked = [line for line in done.stdout.splitlines() if line.endswith("  unknown")]
    assert (done.exit_code, len(marked)) == (0, 1)
    assert "noise.png" in marked[0]
    assert "%" in marked[0]
    assert "unknown     1 of 2 images  unlike the training images; the classes may be wrong" in done.stderr


def test_predict_abstains_in_a_table_and_says_how_often(judged_run: Run, tiny_data: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = run_tl("predict", image, "-m", judged_run.path, "--abstain-below", 1)
    [row] = [line for line in done.stdout.splitlines() if image.name in line]
    plain = judged_run.model.predict(image)
    assert done.exit_code == 0
    assert "not sure" in row
    assert ", ".join(f"{each.class_name} {100 * each.probability:.1f} %" for each in plain.top_k) in row
    assert "not sure    1 of 1 image  the likeliest class is below 100.0 %" in done.stderr


def test_predict_csv_has_what_is_judged_after_the_other_columns(judged_run: Run, tiny_data: Path, noise: Path):
    missing = noise.with_name("missing.png")
    done = run_tl("predict", noise, missing, "-m", judged_run.path, "-f", "csv", "--abstain-below", 0)
    rows = list(csv.reader(io.StringIO(done.stdout)))
    assert rows[0] == ["path", "class_name", "probability", "error", "abstained", "novelty", "unknown"]
    assert rows[1][3:5] + rows[1][6:] == ["", "false", "true"]
    assert rows[2] == [str(missing), "", "", "No such file or directory", "", "", ""]


def test_predict_json_of_an_abstained_image_still_has_its_classes(judged_run: Run, noise: Path):
    done = run_tl("predict", noise, "-m", judged_run.path, "-f", "json", "--abstain-below", 1)
    [result] = json.loads(done.stdout)
    assert (result["abstained"], result["unknown"], len(result["top_k"])) == (True, True, 3)
    assert done.exit_code == 0


def test_predict_no_calibration_gives_the_networks_own_probabilities(judged_run: Run, noise: Path):
    done = run_tl("predict", noise, "-m", judged_run.path, "-f", "json", "--no-calibration")
    expected = judged_run.model.logits([noise]).softmax(dim=1).amax()
    assert json.loads(done.stdout)[0]["probability"] == pytest.approx(float(expected), abs=1e-5)
    calibrated = json.loads(run_tl("predict", noise, "-m", judged_run.path, "-f", "json").stdout)
    assert calibrated[0]["probability"] != pytest.approx(float(expected), abs=1e-3)


def test_predict_abstaining_below_more_than_1_is_a_usage_error(judged_run: Run, noise: Path):
    done = run_tl("predict", noise, "-m", judged_run.path, "--abstain-below", 80)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == "Error: --abstain-below is a probability from 0 to 1, not 80.\n"


def test_predict_explain_draws_each_image_beside_its_heat_map(tiny_run: Run, tiny_data: Path, in_folder: Path):
    (in_folder / "bad.png").touch()
    folder = tiny_data / "test" / "1"
    done = run_tl("predict", folder, "bad.png", "--explain", "why.png", "-m", tiny_run.path, "-f", "csv")
    assert done.exit_code == 3  # An image cannot be read; the others are drawn.
    assert len(done.stdout.splitlines()) == 8
    assert re.search(
        r"explained +why\.png +Grad-CAM of layer\d, \d x \d places; the crop of the input hides", done.stderr
    )
    with Image.open(in_folder / "why.png") as image:
        assert image.width > 800  # Two pairs beside each other.


def test_predict_explain_works_with_a_full_model(tiny_run: Run, tiny_data: Path, in_folder: Path):
    image = min((tiny_data / "test" / "1").iterdir())
    done = run_tl("predict", image, "--explain", "why.svg", "-m", tiny_run.path / "full_model.pt")
    assert done.exit_code == 0, done.output
    assert image.name in (in_folder / "why.svg").read_text()


def test_predict_explain_refuses_what_it_cannot_draw(tiny_run: Run, tiny_data: Path, in_folder: Path):
    (in_folder / "old.png").touch()
    (in_folder / "bad.png").touch()
    image = min((tiny_data / "test" / "1").iterdir())
    for arguments, message in (
        (["--explain", "a.png"], "Say which images"),
        (["--explain", "a.png", "--grid", "b.png"], "--explain is for IMAGES: say which."),
        ([image, "--explain", "old.png"], "old.png exists; nothing is ever overwritten"),
        ([image, "--explain", "a.gif"], "A plot ends in .png, .pdf, .svg, but a.gif does not."),
        ([image, "--explain", "no/a.png"], "There is no folder no for a.png."),
        ([image, "--explain", "a.png", "--grid", "a.png"], "--grid and --explain are two pictures"),
    ):
        done = run_tl("predict", "-m", tiny_run.path, *arguments)
        assert (done.exit_code, message in " ".join(done.stderr.split())) == (2, True), done.stderr
    done = run_tl("predict", "bad.png", "--explain", "a.png", "-m", tiny_run.path)
    assert (done.exit_code, (in_folder / "a.png").exists()) == (3, False)
