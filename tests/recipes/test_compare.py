"""Comparing runs: which images count, what is warned of, and what cannot be compared."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.events import decisions, warning_messages
from tests.helpers.folders import copy_digits
from tests.helpers.runs import write_run
from tl_toolkit.config.choices import Loss, Task
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.events import Event
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.model_file import SplitFingerprints, read_metadata, read_weights, save_model
from tl_toolkit.recipes.compare import compare
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.predictions_file import read_predictions, save_predictions

ON_VAL = (
    "Compared on val, since {} has no test split. Runs choose their best epoch by val, so these figures are a little "
    "too good."
)


def predictions(
    images: int = 200, share: float = 0.8, seed: int = 0, first: int = 0, classes: int = 2, task: Task = "multi-class"
) -> Predictions:
    """Predictions of a made-up model that has a share of its images right, which are numbered from `first`."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(first, first + images) % classes
    wrong = torch.rand(images, generator=generator) >= share
    logits = 3 * torch.nn.functional.one_hot((targets + wrong) % classes, classes).float()
    contents = [number.to_bytes(5, "big") for number in range(first, first + images)]
    of_labels = task == "multi-label"
    truth = targets if task == "multi-class" else torch.nn.functional.one_hot(targets, classes).float()
    loss: Loss = "bce" if of_labels else "cross-entropy"
    return Predictions(logits - 1.5 * of_labels, truth, ["image"] * images, contents, loss, task)


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., str]:
    """Writes a run with predictions of test, and returns its path."""

    def write(name: str, found: Predictions | None = None, **values: Any) -> str:
        kept = None if found is None else {"test": found, "val": predictions(40, seed=9, first=10_000)}
        return str(write_run(tmp_path / name, kept, **values))

    return write


def test_compare_finds_a_better_and_a_worse_run(make: Callable[..., str]):
    weak, strong = make("weak", predictions(share=0.7)), make("strong", predictions(share=0.95, seed=1))
    found = compare([weak, strong])
    assert found.results[1].verdict is not None
    assert found.results[1].verdict.outcome == "better"
    assert found.sentences[0].startswith("strong is better than weak: its top-1 is ")
    assert "on the same 200 test images" in found.sentences[0]
    assert (found.images, found.where, found.differing) == (200, "test images", [])
    assert set(found.results[0].figures) == {"accuracy", "balanced_accuracy", "macro_f1", "loss"}
    turned = compare([strong, weak]).results[1]
    assert turned.verdict is not None
    assert turned.verdict.outcome == "worse"
    assert turned.verdict.difference.value == -found.results[1].verdict.difference.value


def test_compare_of_equally_good_runs_cannot_tell_them_apart(make: Callable[..., str]):
    [sentence] = compare([make("a", predictions(seed=1)), make("b", predictions(seed=2))]).sentences
    assert sentence.startswith("b is not distinguishable from a: ")


def test_compare_of_several_runs_corrects_each_against_the_first(make: Callable[..., str]):
    places = [make(name, predictions(share=share, seed=seed)) for seed, (name, share) in enumerate(
        {"a": 0.8, "b": 0.8, "c": 0.9}.items())]  # fmt: skip
    found = compare(places)
    alone = [compare([places[0], other]).results[1].verdict for other in places[1:]]
    together = [result.verdict for result in found.results[1:]]
    assert found.results[0].verdict is None
    assert all("after Holm's correction for 2 comparisons" in sentence for sentence in found.sentences)
    assert [each and each.difference.p for each in together] == [each and each.p for each in alone]
    smallest = min(each.p for each in alone if each)
    assert min(each.p for each in together if each) == pytest.approx(2 * smallest)


def test_compare_counts_only_images_of_both(make: Callable[..., str]):
    events: list[Event] = []
    found = compare([make("a", predictions(200)), make("b", predictions(200, first=150))], callback=events.append)
    assert found.images == 50
    assert warning_messages(events) == [
        "The runs have only 50 images in common, of up to 200: they divided their data differently. To judge the "
        "models on more: data=DATA"
    ]


def test_compare_of_runs_without_a_shared_image_shows_them_without_a_verdict(make: Callable[..., str]):
    figures = {"test_accuracy": 0.7, "test_intervals": {"accuracy": [0.6, 0.8]}}
    found = compare([make("a", predictions(20), **figures), make("b", predictions(20, first=500))])
    assert found.reference is None
    assert found.sentences == [
        "b cannot be compared: none of its 20 test images is among those of the other runs. Judge the models on images "
        "that none has learned from: data=DATA"
    ]
    assert dataclasses.astuple(found.results[0].figures["accuracy"]) == (0.7, 0.6, 0.8)


def test_compare_without_a_test_split_takes_val_and_warns(make: Callable[..., str], tmp_path: Path):
    other = write_run(tmp_path / "b", {"val": predictions(40, seed=8, first=10_000)}, refit_on_val=True)
    events: list[Event] = []
    found = compare([make("a", predictions()), str(other)], callback=events.append)
    assert found.where == "val images"
    assert warning_messages(events) == [
        ON_VAL.format(other)[:-1] + "; it is from before the last head learned from val too."
    ]


def test_compare_on_a_split_that_the_user_names_says_nothing(make: Callable[..., str]):
    events: list[Event] = []
    found = compare([make("a", predictions()), make("b", predictions())], split="val", callback=events.append)
    assert (found.images, found.where, events) == (40, "val images", [])


def test_compare_of_runs_with_other_classes_compares_what_it_can(make: Callable[..., str]):
    few = predictions()
    many = dataclasses.replace(predictions(seed=3), logits=torch.nn.functional.pad(predictions(seed=3).logits, (0, 1)))
    events: list[Event] = []
    found = compare([make("few", few), make("many", many, class_names=("cat", "dog", "owl"))], callback=events.append)
    assert set(found.results[1].figures) == {"accuracy", "balanced_accuracy"}
    assert warning_messages(events) == [
        "The runs know different classes (2 and 3 of them): only images of classes that all know are compared, and "
        "among fewer classes a right one is easier to find."
    ]


def test_compare_of_classes_in_another_order_is_the_same(make: Callable[..., str]):
    first, second = predictions(seed=1), predictions(seed=2)
    turned = dataclasses.replace(second, logits=second.logits.flip(1), targets=1 - second.targets)
    places = [make("a", first), make("b", second), make("c", turned, class_names=("dog", "cat"))]
    found = compare(places)
    assert found.images == 200
    assert found.results[1].test == found.results[2].test


def test_compare_of_other_tasks_has_no_verdict(make: Callable[..., str]):
    labels = predictions(task="multi-label")
    score = {"task": "multi-label", "val_mean_average_precision": 0.7, "stages": {
        "probe": {"val_mean_average_precision": 0.7, "epoch": 3}}}  # fmt: skip
    found = compare([make("a", predictions()), make("b", labels, **score)])
    assert found.sentences == ["b cannot be compared: its data are multi-label, those of the first run multi-class."]


def test_compare_of_several_labels_is_by_mean_average_precision(make: Callable[..., str]):
    score = {"task": "multi-label", "val_mean_average_precision": 0.7, "stages": {
        "probe": {"val_mean_average_precision": 0.7, "epoch": 3}}}  # fmt: skip
    places = [make(name, predictions(share=share, seed=seed, task="multi-label", classes=3), class_names="xyz", **score)
              for seed, (name, share) in enumerate({"a": 0.6, "b": 0.95}.items())]  # fmt: skip
    found = compare(places)
    assert found.sentences[0].startswith("b is better than a: its mAP is ")
    assert set(found.results[0].figures) == {
        "mean_average_precision", "macro_f1", "micro_f1", "subset_accuracy", "loss"
    }  # fmt: skip


def test_compare_of_logits_that_are_no_numbers_says_so(make: Callable[..., str]):
    broken = predictions()
    broken.logits[3, 0] = float("nan")
    found = compare([make("a", predictions()), make("b", broken), make("c", predictions(seed=4))])
    assert found.sentences[0] == "b cannot be compared: its model gives NaN or infinity for 1 of 200 images."
    assert found.sentences[1].startswith("c is not distinguishable from a: ")


def test_compare_of_images_without_fingerprints_says_so(make: Callable[..., str]):
    unknown = dataclasses.replace(predictions(), contents=[None] * 200)
    found = compare([make("a", predictions()), make("b", unknown)])
    assert found.sentences[0] == (
        "b cannot be compared: its images have no fingerprints of their contents, by which those of another run are "
        "found."
    )


def test_compare_shows_settings_and_facts_that_differ(make: Callable[..., str]):
    long = "/data/" + "x" * 60
    first = make("a", predictions(), settings={"epochs": 5, "workers": 2}, arch="timm:one", versions={"torch": "2.1"})
    second = make("b", predictions(), data=long, versions={"torch": "2.2"})
    rows = dict(compare([first, second]).differing)
    assert rows == {
        "arch": ["timm:one", "timm:small"],
        "data": ["photos", f"/data/{'x' * 13}...{'x' * 18}"],
        "epochs": ["5", "not set"],
        "torch version": ["2.1", "2.2"],
    }


def test_compare_of_a_run_without_predictions_and_model_says_what_is_missing(make: Callable[..., str]):
    found = compare([make("a", predictions()), make("b", test_images=200)])
    place = found.results[1].run.place
    assert (
        found.sentences
        == [
            f"b cannot be compared: {place} has no model yet.",
        ]
        or found.sentences[-1] == f"b cannot be compared: {place} has no model yet."
    )


def test_compare_of_a_run_that_is_trained_further_leaves_its_old_predictions(make: Callable[..., str]):
    place = make("b", predictions())
    (Path(place) / "summary.json").unlink()
    found = compare([make("a", predictions()), place], split="test")
    assert found.sentences == [f"b cannot be compared: {found.results[1].run.place} has no model yet."]


def test_compare_of_a_damaged_run_says_which_file(make: Callable[..., str]):
    place = make("a", predictions())
    (Path(place) / "predictions.safetensors").write_bytes(b"half")
    found = compare([make("b", predictions()), make("c", predictions()), place])
    assert found.sentences[1].startswith(f"a cannot be compared: {place}/predictions.safetensors is damaged: ")
    (Path(place) / "summary.json").write_text("{")
    with pytest.raises(ToolkitError, match=r"a/summary.json is damaged: "):
        compare([make("d", predictions()), place])


@pytest.mark.parametrize("count", [1, 27])
def test_compare_of_too_few_or_too_many_runs_says_how_many(count: int, make: Callable[..., str]):
    with pytest.raises(UsageError, match=r"cannot be compared: name 2 to 26\."):
        compare([make(f"run {number}") for number in range(count)])


@pytest.fixture
def second_run(tiny_run: Run, tmp_path: Path) -> Path:
    """A copy of a real run, with the same weights."""
    return Path(shutil.copytree(tiny_run.path, tmp_path / "second"))


def test_compare_of_a_run_without_predictions_judges_its_model_again(tiny_run: Run, second_run: Path):
    (second_run / "predictions.safetensors").unlink()
    events: list[Event] = []
    found = compare([tiny_run.path, second_run], callback=events.append)
    assert found.images == 18
    assert [event.why for event in decisions(events, "judged")] == ["computed now: the run kept no predictions of test"]
    assert found.results[1].test is not None
    assert (found.results[1].test.only_first, found.results[1].test.only_this) == (0, 0)
    assert found.results[1].test.differences["loss"].value == pytest.approx(0, abs=1e-3)


def test_compare_of_a_run_whose_images_are_gone_says_so(tiny_run: Run, second_run: Path, tmp_path: Path):
    file = second_run / "model.safetensors"
    metadata = read_metadata(file)
    gone = {**metadata.training, "data": str(tmp_path / "gone")}
    save_model(file, read_weights(file), dataclasses.replace(metadata, training=gone))
    (second_run / "predictions.safetensors").unlink()
    found = compare([tiny_run.path, second_run])
    assert found.reference is None
    assert found.sentences[-1].startswith(f"second cannot be compared: There is no folder '{tmp_path}/gone'.")
    assert found.results[1].figures["accuracy"].value == tiny_run.summary["test_accuracy"]


def test_compare_of_model_files_on_other_images(tiny_run: Run, second_run: Path, tmp_path: Path):
    images = copy_digits(tmp_path / "images", ["0", "1", "7"], 8, "test")
    file = shutil.copy(second_run / "model.safetensors", tmp_path / "model.safetensors")
    found = compare([tiny_run.path, file], images)
    assert (found.images, found.where) == (24, "train images")
    assert found.results[1].run.folder is None
    assert found.results[1].verdict is not None
    with pytest.raises(ToolkitError, match="The model does not know 1 of the data's 1 classes: 5"):
        compare([tiny_run.path, file], copy_digits(tmp_path / "other", ["5"], 3))


def test_compare_warns_of_images_that_a_model_learned_from(tiny_run: Run, second_run: Path, tiny_data: Path):
    events: list[Event] = []
    found = compare([tiny_run.path, second_run], tiny_data, "train", callback=events.append)
    assert found.images == 60
    messages = [text for text in warning_messages(events) if "on them it does better than on new images" in text]
    assert len(messages) == 2
    assert all("learned from 54 of these 60 images" in text for text in messages)  # 6 are val.


def test_compare_warns_of_test_images_in_the_train_split_of_the_other_run(tiny_run: Run, tmp_path: Path):
    other = Path(shutil.copytree(tiny_run.path, tmp_path / "other"))
    kept = read_predictions(other)
    assert kept is not None
    contents = [each for each in kept["test"].contents if each]
    metadata = read_metadata(other / "model.safetensors")
    note = SplitFingerprints.of({"train": contents[:5], "val": contents[5:7]}, ("train",))
    weights = read_weights(other / "model.safetensors")
    save_model(other / "model.safetensors", weights, dataclasses.replace(metadata, split_note=note))
    events: list[Event] = []
    compare([tiny_run.path, other], callback=events.append)
    assert [text.split("other ")[1] for text in warning_messages(events)] == [
        "learned from 5 of these 18 images: on them it does better than on new images."
    ]


def test_compare_of_predictions_with_other_classes_than_the_summary_says_so(make: Callable[..., str]):
    place = Path(make("a", predictions()))
    save_predictions(place, {"test": dataclasses.replace(predictions(), logits=torch.zeros(200, 3))}, ("cat", "dog"))
    found = compare([make("b", predictions()), make("c", predictions()), place])
    assert "a/predictions.safetensors has 3 classes, but summary.json 2. Remove it" in found.sentences[1]
