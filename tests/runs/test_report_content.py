"""What a report shows: collected from predictions and summaries that a run could have, and from odd ones."""

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.materials import content_of, material_of, noise, predictions_of
from tl_toolkit.events import EvalRecord
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.page.render import render
from tl_toolkit.report.tables import SplitMetrics
from tl_toolkit.runs import report_file
from tl_toolkit.runs.report_file import MAX_BYTES, write_page
from tl_toolkit.runs.suspicious_labels import SuspiciousLabel

NAMES = ("ants", "bees", "cats")
TARGETS = [0, 1, 2] * 20


def missing(content: ReportContent) -> dict[str, str]:
    return dict(content.missing)


def test_collect_shows_the_figures_of_the_split_with_intervals():
    predictions = predictions_of(TARGETS, 3)
    content = content_of(material_of(predictions, NAMES))
    right = int(predictions.right.sum())
    assert content.headline.label == "accuracy"
    assert content.headline.value == pytest.approx(right / 60)
    assert content.headline.low is not None
    assert content.headline.high is not None
    assert content.headline.low < right / 60 < content.headline.high
    low, high = 100 * content.headline.low, 100 * content.headline.high
    assert content.sentence == (
        f"The model is right for {right} of 60 val images: {100 * right / 60:.1f} % (95 % interval {low:.0f} to "
        f"{high:.0f} %). The weights were chosen by these images, so on new ones it may do a little worse."
    )
    assert content.split == "val, 60 images"
    assert [name for name, _ in content.classes] == list(NAMES)


def test_collect_gives_every_mistake_its_own_picture():
    predictions = predictions_of(TARGETS, 3)
    material = material_of(predictions, NAMES)
    content = content_of(material)
    [mistakes] = [each for each in content.galleries if each.title == "Most confident mistakes"]
    wrong = (~predictions.right).nonzero()[:, 0].tolist()
    assert sorted(image.name for image in mistakes.images) == sorted(f"image {index}" for index in wrong)
    for image in mistakes.images:
        index = int(image.name.removeprefix("image "))
        assert image.truth == NAMES[TARGETS[index]]
        assert image.predicted == NAMES[int(predictions.predicted[index])]
    assert len({image.picture for image in mistakes.images}) == len(wrong)
    assert content.confusion is not None
    for (true, predicted), images in content.confusion.images.items():
        for image in images:
            assert (image.truth, image.predicted) == (NAMES[true], NAMES[predicted])
    assert sum(content.confusion.counts.values()) == 60


def test_collect_of_a_split_with_one_class_shows_the_others_without_figures():
    content = content_of(material_of(predictions_of([1] * 12, 3), NAMES))
    rows = dict(content.classes)
    recall = content.class_columns.index("recall" if "recall" in content.class_columns else "accuracy") - 1
    assert rows["bees"][recall].value is not None
    assert rows["ants"][recall].value is None
    assert content.confusion is not None
    assert {true for true, _ in content.confusion.counts} == {1}
    assert "<html" in render(content)


def test_collect_of_one_image_says_how_little_it_says():
    content = content_of(material_of(predictions_of([0], 3), NAMES))
    assert content.headline.low is not None
    assert content.headline.high is not None
    assert content.headline.high - content.headline.low > 0.5
    assert "of 1 val images" in content.sentence
    assert "<html" in render(content)


def test_collect_of_logits_that_are_not_finite_lists_none_of_these_images():
    predictions = predictions_of(TARGETS, 3)
    predictions.logits[5] = math.nan
    predictions.logits[6, 0] = math.inf
    content = content_of(material_of(predictions, NAMES))
    assert missing(content)["2 of the images"] == "their logits are not finite; they are in no list"
    listed = {image.name for gallery in content.galleries for image in gallery.images}
    assert not {"image 5", "image 6"} & listed
    assert "<html" in render(content)


def test_collect_of_ten_thousand_classes_summarises_them(tmp_path: Path):
    classes, images = 10_000, 400
    names = [f"class {index:05} " + "x" * 40 for index in range(classes)]
    targets = torch.arange(images) % 7
    content = content_of(material_of(predictions_of(targets, classes, seed=1), names))
    assert content.confusion is not None
    assert (len(content.confusion.class_names), len(content.confusion.counts)) == (0, 0)
    assert 0 < len(content.confusion.pairs) <= 30
    assert len(content.confusion.pair_images) == len(content.confusion.pairs)
    assert all(content.confusion.pair_images)
    assert len(content.classes) == 1_000
    told = missing(content)
    assert told["confusion matrix"] == (
        "10,000 classes are too many to draw, the limit is 120; the most frequent mistakes are listed"
    )
    assert told["other classes"] == "the 1,000 worst of 10,000 are listed; `tl evaluate --json` has all"
    path = write_page(material_of(predictions_of(targets, classes, seed=1), names), tmp_path / "report.html")
    assert path.stat().st_size < MAX_BYTES


def test_collect_of_several_labels_leaves_out_what_makes_no_sense():
    rows = (torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    content = content_of(material_of(predictions_of(rows, 3, "multi-label"), NAMES))
    assert content.confusion is None
    assert content.calibration is None
    assert content.headline.label == "mAP"
    assert content.sentence.startswith("The mean average precision on 40 val images is ")
    assert missing(content)["confusion matrix"] == "an image may have several labels, so it has no cell of its own"
    assert missing(content)["calibration"] == "each label has a probability of its own"
    assert content.class_columns[:2] == ["label", "images"]
    assert "<html" in render(content)


def test_collect_of_soft_labels_compares_the_largest_share():
    rows = torch.rand(30, 3, generator=torch.Generator().manual_seed(0)).softmax(dim=1)
    content = content_of(material_of(predictions_of(rows, 3, "soft"), NAMES))
    assert content.confusion is not None
    assert sum(content.confusion.counts.values()) == 30
    [first, *_] = content.galleries[0].images
    assert " + " in first.truth
    assert "<html" in render(content)


def test_collect_without_predictions_shows_what_the_summary_says():
    summary = {"val_accuracy": 0.9, "val_images": 50, "class_accuracy": {"ants": 0.8, "bees": 1.0}, "seconds": 3.0}
    metrics = SplitMetrics.of_summary(summary, "val")
    content = content_of(
        material_of(
            predictions_of(TARGETS, 3),
            NAMES,
            summary=summary,
            metrics=metrics,
            predictions=None,
            images={},
            missing=[("pictures", "the images are gone")],
        )
    )
    assert content.headline.value == 0.9
    assert content.headline.low is not None  # By the number of images, which old summaries have.
    assert [row[1][0].value for row in content.classes] == [0.8, 1.0, None]
    assert (content.confusion, content.calibration) == (None, None)
    assert [gallery.images for gallery in content.galleries] == []
    assert missing(content)["pictures"] == "the images are gone"
    assert "<html" in render(content)


def test_collect_of_an_unfinished_run_says_so():
    content = content_of(
        material_of(predictions_of(TARGETS, 3), NAMES, summary={}, metrics=None, predictions=None, images={})
    )
    assert content.sentence == (
        "The best accuracy on val while training is 80.0 %. The run is not finished: this is its best model so far."
    )
    assert content.headline.value == 0.8


def test_collect_of_names_that_break_html_shows_them_as_text(tmp_path: Path):
    names = ("<script>alert('ants')</script>", 'ü"bees"&', "cats \udcff\u202e")
    files = [f"/data/<img src=x onerror=alert({index})> \udcfe.png" for index in range(60)]
    path = write_page(material_of(predictions_of(TARGETS, 3, names=files), names), tmp_path / "report.html")
    page = path.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "ü&#34;bees&#34;&amp;" in page
    assert "\u202e" not in page


def test_collect_shows_suspicious_labels_with_their_pictures():
    found = [SuspiciousLabel("val", "image 3", "ants", "bees", 0.01, 0.97)]
    found += [SuspiciousLabel("train", "gone.png", "cats", "ants", 0.1, 0.8)]
    content = content_of(material_of(predictions_of(TARGETS, 3), NAMES, suspicious=found))
    [labels] = [each for each in content.galleries if each.title == "Suspicious labels"]
    first, second = labels.images
    assert (first.truth, first.predicted, first.probability) == ("ants", "bees", 0.97)
    assert first.picture is not None
    assert second.picture is None
    assert second.note == "train: given cats, looks like ants"
    assert "suspicious labels" not in missing(content)


def test_collect_says_how_many_pictures_had_no_room():
    content = content_of(material_of(predictions_of(TARGETS, 3), NAMES), max_bytes=3_000)
    shown = {image.picture for gallery in content.galleries for image in gallery.images if image.picture}
    assert 0 < sum(map(len, shown)) <= 3_000
    [told] = [what for what, why in content.missing if why == "there was no room for them"]
    assert told.startswith("pictures of ")


def test_collect_after_its_time_reads_no_pictures():
    content = content_of(material_of(predictions_of(TARGETS, 3), NAMES), seconds=time.monotonic() - 1)
    assert all(image.picture is None for gallery in content.galleries for image in gallery.images)
    assert "there was no time for them; `tl report` takes more" in missing(content).values()


def test_collect_of_a_map_shows_a_sample_of_very_many_images():
    predictions = predictions_of([0, 1] * 2_500, 2)
    points = torch.randn(5_000, 2)
    points[0] = math.nan
    material = material_of(_with_map(predictions, points), NAMES[:2], images={})
    content = content_of(material)
    assert 1_000 < len(content.map_points) <= 2_000
    assert all(math.isfinite(point.x) for point in content.map_points)


def _with_map(predictions: Predictions, points: torch.Tensor) -> Predictions:
    values = predictions.logits, predictions.targets, predictions.names, predictions.contents
    return Predictions(*values, predictions.loss, predictions.task, map=points)


def test_curves_of_very_many_evaluations_keep_the_last_of_each_stage():
    records = [
        EvalRecord(stage, 1, 1, step, 1_000, 0.5, 0.75, 0.4, 0.8, 1e-2, 64, 1.0, 64.0)
        for stage in ("probe", "tune")
        for step in range(1, 1_001)
    ]
    records = [dataclasses.replace(each, epoch=2, val_accuracy=0.9) if each.step == 777 else each for each in records]
    material = material_of(predictions_of(TARGETS, 3), NAMES, records=records)
    summary = {**material.summary, "best_stage": "tune", "best_epoch": 2}
    content = content_of(dataclasses.replace(material, summary=summary))
    assert len(content.epochs) <= 403
    assert [(each.stage, each.epoch) for each in content.epochs if each.kept] == [("tune", 0.777)]
    assert [each.epoch for each in content.epochs if each.stage == "probe"][-1] == 1.0
    assert [stage for stage, _, _ in content.stages] == ["probe", "tune"]


def test_write_page_that_is_too_large_leaves_pictures_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    material = material_of(predictions_of(TARGETS, 3), NAMES)
    whole = write_page(material, tmp_path / "whole.html", math.inf).stat().st_size
    monkeypatch.setattr(report_file, "MAX_BYTES", whole - 1_000)
    smaller = write_page(material, tmp_path / "smaller.html", math.inf)
    assert smaller.stat().st_size <= whole - 1_000
    assert "there was no room for them" in smaller.read_text(encoding="utf-8")


@pytest.mark.parametrize("changes", [{"contents": [b"other"] * 60}, {"places": [None] * 60}])
def test_collect_never_shows_a_changed_or_missing_image(changes: dict[str, Any]):
    found = dataclasses.replace(noise(60), **changes)
    content = content_of(material_of(predictions_of(TARGETS, 3), NAMES, images={"val": found}))
    assert all(image.picture is None for gallery in content.galleries for image in gallery.images)
    reason = "each has changed since" if "contents" in changes else "each is no longer there"
    assert reason in missing(content).values()
