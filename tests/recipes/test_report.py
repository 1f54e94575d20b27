"""Reports of runs: at their end, and from their folders, with their images and without."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tests.helpers.labels import tiled_digits, write_table
from tests.helpers.materials import content_of, predictions_of
from tests.helpers.processes import train
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import DecisionEvent, Event, FileWritten, WarningEvent
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.report import read_material
from tl_toolkit.report.content import Gallery, ReportContent
from tl_toolkit.runs import report_file
from tl_toolkit.runs.folder import REPORT_FILE
from tl_toolkit.runs.predictions_file import save_predictions

SMALL = {"arch": "timm:test_resnet", "weights": "none", "image_size": 32, "batch_size": 32, "threads": 1, "workers": 0}
QUICK: dict[str, Any] = {**SMALL, "tune": "full", "epochs": 1}


@pytest.fixture
def folder(tiny_run: Run, tmp_path: Path) -> Path:
    """A copy of a finished run without its report."""
    ignored = shutil.ignore_patterns("*.pt", REPORT_FILE)
    return Path(shutil.copytree(tiny_run.path, tmp_path / "run", ignore=ignored))


def collected(folder: Path, data: Any = None) -> ReportContent:
    return content_of(read_material(folder, data, "cpu", lambda _: None))


def gallery(content: ReportContent, title: str) -> Gallery:
    [found] = [each for each in content.galleries if each.title == title]
    return found


def shown(content: ReportContent) -> int:
    return sum(image.picture is not None for each in content.galleries for image in each.images)


def without_data(folder: Path) -> None:
    """Make a run one whose images are gone."""
    for name in ("config.yaml",):
        path = folder / name
        path.write_text(re.sub(r"^data: .*$", "data: /nowhere/photos", path.read_text(), flags=re.MULTILINE))


def test_finetune_ends_with_a_report_that_names_what_was_trained(tiny_run: Run):
    page = (tiny_run.path / REPORT_FILE).read_text(encoding="utf-8")
    assert "zeros ünd ones" in page
    assert "resnet18" in page
    assert f"{100 * tiny_run.summary['test_accuracy']:.1f} %" in page
    assert len(page.encode()) < 5_000_000


def test_finetune_without_report_writes_none(tiny_data: Path, tmp_path: Path):
    written: list[Path] = []
    run = tl.finetune(
        data=tiny_data,
        out=tmp_path / "run",
        report=False,
        callback=lambda event: written.append(event.path) if isinstance(event, FileWritten) else None,
        **QUICK,
    )
    assert not (run.path / REPORT_FILE).exists()
    assert REPORT_FILE not in {path.name for path in written}
    tl.write_report(run.path)
    assert (run.path / REPORT_FILE).is_file()


def test_finetune_whose_report_fails_keeps_the_run_and_says_how_to_write_it(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> None:
        raise RuntimeError("no more colours\nin the box")

    monkeypatch.setattr(report_file, "collect", fail)
    events: list[Event] = []
    run = tl.finetune(data=tiny_data, out=tmp_path / "run", callback=events.append, **QUICK)
    assert json.loads((run.path / "summary.json").read_text()) == run.summary
    assert tl.load(run.path).class_names == ("0", "1", "7")
    told = [event.message for event in events if isinstance(event, WarningEvent)]
    [message] = [message for message in told if "report" in message]
    place = re.escape(str(run.path))
    assert re.fullmatch(
        r"The report of .+ could not be written: no more colours. Everything else is saved; to try again: "
        rf"tl report ({place}|.+)",
        message,
    )
    assert not (run.path / REPORT_FILE).exists()


def test_summary_keeps_the_warnings_and_the_facts_of_the_data(photos: Path, tmp_path: Path):
    (photos / "7" / "broken.png").write_bytes(b"no image")
    run = tl.finetune(data=photos, out=tmp_path / "run", **QUICK)
    summary = run.summary
    assert any("cannot be read" in warning for warning in summary["warnings"])
    assert {split: sum(counts.values()) for split, counts in summary["images_by_class"].items()} == {
        "train": summary["train_images"],
        "val": summary["val_images"],
    }
    assert summary["image_facts"] == {"sizes": {"width": [8, 8, 8], "height": [8, 8, 8]}, "modes": {"L": 30}}
    content = collected(run.path)
    assert list(content.warnings) == summary["warnings"]
    facts = dict(content.data)
    assert facts["could not be read"] == "1 image, left out; see bad_images.csv"
    assert facts["modes"] == "L 30"


def test_report_of_a_run_gives_each_mistake_its_picture(folder: Path, tiny_data: Path):
    content = collected(folder)
    mistakes = gallery(content, "Most confident mistakes")
    model = tl.load(folder)
    for image in mistakes.images:
        found = model.predict(str(tiny_data / "test" / image.name))
        assert Path(image.name).parent.name == image.truth
        assert found.class_name == image.predicted != image.truth
        assert image.picture is not None
        assert image.heat_map is not None
    assert content.split == "test, 18 images"
    assert "pictures" not in dict(content.missing)


def test_report_replaces_that_of_the_run_and_no_other_file(folder: Path, tmp_path: Path):
    path = tl.write_report(folder)
    assert path == folder / REPORT_FILE
    tl.write_report(folder)
    other = tl.write_report(folder, out=tmp_path / "mail.html")
    assert other.read_text(encoding="utf-8").startswith("<!")
    with pytest.raises(UsageError, match=f"{re.escape(str(other))} exists; nothing is ever overwritten"):
        tl.write_report(folder, out=other)


def test_report_of_a_run_without_its_images_says_what_it_cannot_show(folder: Path):
    without_data(folder)
    events: list[Event] = []
    path = tl.write_report(folder, callback=events.append)
    [message] = [event.message for event in events if isinstance(event, WarningEvent)]
    assert message.startswith("The images of the run cannot be opened: There is no folder '/nowhere/photos'.")
    content = collected(folder)
    assert shown(content) == 0
    assert dict(content.missing)["pictures"].startswith("the images cannot be opened: There is no folder")
    assert content.confusion is not None  # Of the predictions that the run kept.
    assert "There is no folder" in path.read_text(encoding="utf-8")


def test_report_of_an_earlier_run_without_its_images_shows_its_summary(folder: Path):
    without_data(folder)
    (folder / "predictions.safetensors").unlink()
    content = collected(folder)
    assert content.headline.value == json.loads((folder / "summary.json").read_text())["test_accuracy"]
    assert content.classes
    assert content.confusion is None
    assert dict(content.missing)["mistakes, confusion matrix and calibration"].startswith("the run kept no predictions")


def test_report_of_an_earlier_run_computes_what_it_did_not_keep(folder: Path):
    before = collected(folder)
    (folder / "predictions.safetensors").unlink()
    events: list[Event] = []
    tl.write_report(folder, callback=events.append)
    after = collected(folder)
    assert ("test", "computed for 18 images") in [(e.what, e.value) for e in events if isinstance(e, DecisionEvent)]
    assert not [event for event in events if isinstance(event, WarningEvent)]
    assert after.confusion is not None
    assert before.confusion is not None
    assert after.confusion.counts == before.confusion.counts
    assert [image.name for image in gallery(after, "Least certain").images] == [
        image.name for image in gallery(before, "Least certain").images
    ]


def test_report_of_an_earlier_run_does_not_judge_by_val_that_it_learned_from(photos: Path, tmp_path: Path):
    run = tl.finetune(data=photos, out=tmp_path / "run", **(SMALL | {"tune": "linear-probe"}))
    summary = json.loads((run.path / "summary.json").read_text())
    (run.path / "summary.json").write_text(json.dumps(summary | {"refit_on_val": True}))
    (run.path / "predictions.safetensors").unlink()
    content = collected(run.path)
    assert content.confusion is None
    assert dict(content.missing)["mistakes, confusion matrix and calibration"] == (
        "the run kept no predictions, and the model learned from val after val was judged, so what it says of val now "
        "is no test of it"
    )
    assert content.headline.value == summary["val_accuracy"]


def test_report_of_images_that_moved_finds_them(folder: Path, tiny_data: Path, tmp_path: Path):
    whole = shown(collected(folder))
    moved = Path(shutil.copytree(tiny_data, tmp_path / "elsewhere" / "again"))
    without_data(folder)
    content = collected(folder, str(moved))
    assert shown(content) == whole
    for path in sorted(moved.rglob("*.png")):  # By content now.
        path.rename(path.with_stem(f"renamed {path.stem}"))
    assert shown(collected(folder, str(moved))) == whole


def test_report_never_shows_an_image_for_another(folder: Path, tiny_data: Path, tmp_path: Path):
    moved = Path(shutil.copytree(tiny_data, tmp_path / "moved"))
    whole = collected(folder, str(moved))
    [first, second, *_] = gallery(whole, "Least certain").images
    one, two = (moved / "test" / image.name for image in (first, second))
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.unlink()
    content = collected(folder, str(moved))
    found = {image.name: image.picture for image in gallery(content, "Least certain").images}
    assert found[first.name] is None
    assert found[second.name] == second.picture  # Its content is there, under the other name.
    one.write_bytes(kept)
    content = collected(folder, str(moved))
    assert dict(content.missing)["pictures of test"] == "1 of its 18 images is not in the data any more"


def test_report_of_data_that_the_user_names_wrongly_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(UsageError, match="There is no folder"):
        tl.write_report(folder, data=tmp_path / "nothing")
    events: list[Event] = []
    other = copy_digits(tmp_path / "other", ["3", "4"], 3)
    tl.write_report(folder, data=other, callback=events.append)
    assert [event.message for event in events if isinstance(event, WarningEvent)] == [
        "Pictures of test are missing: none of its 18 images is in the data any more."
    ]


def test_report_of_a_run_that_is_not_finished_says_so(stopped_run: Path):
    content = collected(stopped_run)
    assert content.sentence.endswith("The run is not finished: this is its best model so far.")
    assert content.confusion is not None
    assert shown(content) > 0
    assert content.epochs


def test_report_of_a_run_that_trains_on_leaves_the_predictions_of_its_earlier_end(folder: Path):
    names = ["image of long ago"] * 4
    old = predictions_of([0, 1, 2, 0], 3, names=names)
    save_predictions(folder, {"test": old}, ("0", "1", "7"))
    (folder / "summary.json").unlink()  # As resuming a finished run with more epochs does.
    content = collected(folder)
    assert content.split == "test, 18 images"
    assert "image of long ago" not in {image.name for each in content.galleries for image in each.images}


def test_report_of_a_run_without_a_model_says_how_to_go_on(stopped_run: Path):
    (stopped_run / "model.safetensors").unlink()
    with pytest.raises(UsageError, match="has no model.safetensors in it. Its run has not come so far"):
        tl.write_report(stopped_run)


def test_report_of_a_folder_that_is_no_run_is_refused(tmp_path: Path):
    with pytest.raises(UsageError, match="is not a run folder: it has no config.yaml"):
        tl.write_report(tmp_path)


def test_report_of_a_damaged_summary_says_so(folder: Path):
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"images_by_class": {"train": [1, 2]}}))
    with pytest.raises(ToolkitError, match="summary.json is damaged"):
        tl.write_report(folder)


def test_report_of_a_run_on_python_objects_takes_the_same_objects(tmp_path: Path):
    digits = open_source("digits").split("train").subset(range(0, 1_280, 16))
    images = np.stack([np.asarray(digits.open(index, 1)) for index in range(80)])
    data = images, [int(target) % 3 for target in digits.targets]  # type: ignore[union-attr]
    run = tl.finetune(data=data, out=tmp_path / "run", **QUICK)
    content = collected(run.path)
    assert shown(content) == 0
    assert dict(content.missing)["pictures"] == (
        "the run was trained on Python objects: in Python, data takes the same ones"
    )
    assert shown(collected(run.path, data)) > 0
    changed = images.copy()
    changed[:] = 7
    assert shown(collected(run.path, (changed, data[1]))) == 0


@pytest.mark.parametrize("kind", ["one logit", "several labels", "soft", "table"])
def test_finetune_of_every_task_ends_with_a_report(kind: str, photos: Path, tmp_path: Path):
    settings: dict[str, Any] = {"data": photos}
    if kind == "one logit":
        settings = {"data": copy_digits(tmp_path / "two", ["0", "1"], 12), "classes": 1}
    elif kind == "several labels":
        settings = {"data": write_table(tmp_path / "tiles", *tiled_digits(60)), "label_separator": ";"}
    elif kind == "soft":
        images, rows = tiled_digits(60)
        settings = {"data": (images, rows / rows.sum(axis=1, keepdims=True)), "task": "soft"}
    elif kind == "table":
        rows = [f"{path.relative_to(photos)},{path.parent.name}" for path in sorted(photos.rglob("*.png"))]
        (photos / "labels.csv").write_text("\n".join(["path,label", *rows]) + "\n")
        settings = {"data": photos / "labels.csv"}
    events: list[Event] = []
    run = tl.finetune(out=tmp_path / "run", callback=events.append, **settings, **QUICK)
    page = (run.path / REPORT_FILE).read_text(encoding="utf-8")
    assert not [event for event in events if isinstance(event, WarningEvent) and "report" in event.message]
    assert "image/webp" in page
    content = collected(run.path, settings["data"] if kind == "soft" else None)
    assert shown(content) > 0
    assert (content.confusion is None) == (kind == "several labels")


def test_report_with_names_that_break_html_and_utf8_shows_all_of_them(tmp_path: Path):
    data = copy_digits(tmp_path / "odd", ["0", "1"], 8)
    hostile = data / "<script>alert(1)<｜script> 'ü' \"&"
    (data / "0").rename(hostile)
    try:
        undecodable = hostile / "x\udcff.png"
        next(hostile.iterdir()).rename(undecodable)
    except OSError:
        pytest.skip("the file system takes only UTF-8")
    run = tl.finetune(data=data, out=tmp_path / "run", **QUICK)
    page = (run.path / REPORT_FILE).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert shown(collected(run.path)) > 0


def test_folder_with_a_report_is_still_a_run_folder(folder: Path, tiny_data: Path, tmp_path: Path):
    tl.write_report(folder)
    (folder / "model_card.md").write_text("# A model\n")
    data = Path(shutil.copytree(tiny_data / "train", tmp_path / "data"))
    shutil.copytree(folder, data / "runs" / "first")
    assert open_source(str(data)).class_names == ("0", "1", "7")
    assert tl.load(folder).class_names == ("0", "1", "7")
    assert tl.resume(folder).path == folder


@pytest.mark.slow
def test_report_of_several_processes_is_written_once_with_all_images(tmp_path: Path):
    data = copy_digits(tmp_path / "photos", ["0", "1", "7"], 12)
    words = ["--data", data, "--arch", "lenet5", "--weights", "none", "--tune", "full", "--epochs", "1"]
    run = train(2, tmp_path / "two", *words)
    assert (run / REPORT_FILE).is_file()
    content = collected(run)
    summary = json.loads((run / "summary.json").read_text())
    assert content.confusion is not None
    assert sum(content.confusion.counts.values()) == summary["val_images"]


def test_predictions_of_a_run_are_what_its_model_says(tiny_run: Run, tiny_data: Path):
    material = read_material(tiny_run.path, None, "cpu", lambda _: None)
    assert material.predictions is not None
    logits = tl.load(tiny_run.path, device="cpu").logits(list(material.predictions.names))
    assert torch.allclose(logits.float(), material.predictions.logits, atol=0.05)
    assert Path(material.predictions.names[0]).is_relative_to(tiny_data / "test")
