import shutil
from pathlib import Path

import pytest
import torch

import tl_toolkit as tl
from tests.helpers.folders import copy_digits
from tl_toolkit.data.image_sets import DatasetImages, FileImages
from tl_toolkit.data.samples import Samples
from tl_toolkit.errors import DataError, TrainingError, UnknownNameError, UsageError
from tl_toolkit.events import DecisionEvent, Event
from tl_toolkit.inference.scoring import remap_targets
from tl_toolkit.recipes.finetune import Run


def test_evaluate_of_a_run_gives_the_summarys_figures(tiny_run: Run, tiny_data: Path):
    result = tl.evaluate(tl.load(tiny_run.path), tiny_data)
    assert result.split == "test"
    assert result.scores.accuracy == tiny_run.summary["test_accuracy"]
    assert result.scores.images == 18
    assert list(result.class_accuracy) == ["0", "1", "7"]


def test_evaluate_matches_classes_by_name(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    shutil.copytree(tiny_data / "test" / "7", tmp_path / "data" / "7")
    result = tl.evaluate(tiny_run.model, tmp_path / "data")
    sevens = tl.evaluate(tiny_run.model, tiny_data).class_accuracy["7"]
    assert result.class_accuracy == {"7": pytest.approx(sevens)}


def test_evaluate_with_a_class_that_the_model_does_not_know_lists_it(tiny_run: Run, tmp_path: Path):
    copy_digits(tmp_path / "data", ["0", "3", "4"], 2)
    with pytest.raises(DataError, match="does not know 2 of the data's 3 classes: 3, 4. It knows 0, 1, 7"):
        tl.evaluate(tiny_run.model, tmp_path / "data")


def test_evaluate_leaves_out_what_cannot_be_read_and_says_so(tiny_run: Run, tmp_path: Path):
    folder = copy_digits(tmp_path / "data", ["0", "1"], 3)
    (folder / "0" / "bad.png").write_text("bad")
    result = tl.evaluate(tiny_run.model, folder)
    assert result.scores.images == 6
    assert [Path(image.path).name for image in result.bad_images] == ["bad.png"]


def test_evaluate_keeps_what_the_scores_were_computed_from(tiny_run: Run, tiny_data: Path):
    result = tl.evaluate(tiny_run.model, tiny_data)
    assert len(result.predictions) == 18
    assert result.class_names == ("0", "1", "7")
    assert float(result.predictions.right.double().mean()) == pytest.approx(result.scores.accuracy)
    assert Path(result.predictions.names[0]).is_file()


def test_evaluate_of_logits_that_are_not_finite_names_the_first_image(
    tiny_run: Run, tiny_data: Path, monkeypatch: pytest.MonkeyPatch
):
    forward = tiny_run.model.module.forward

    def broken(images: torch.Tensor) -> torch.Tensor:
        logits = forward(images).clone()
        logits[1, 0] = float("nan")
        logits[3, 1] = float("inf")
        return logits

    monkeypatch.setattr(tiny_run.model.module, "forward", broken)
    with pytest.raises(TrainingError) as caught:
        tl.evaluate(tiny_run.model, tiny_data, callback=lambda _: None)
    name = sorted((tiny_data / "test" / "0").iterdir())[1]
    assert str(caught.value) == (
        f"The network gives no finite numbers (NaN or infinity) for 2 of 18 images, the first of them {name}. "
        'Large weights may overflow in bf16: try precision="fp32", and look at this image.'
    )


def test_evaluate_of_a_misspelt_split_suggests_the_right_one(tiny_run: Run, tiny_data: Path):
    with pytest.raises(UnknownNameError, match="Did you mean test"):
        tl.evaluate(tiny_run.model, tiny_data, "tset")


def test_evaluate_tells_the_split_it_chose(tiny_run: Run, tiny_data: Path):
    events: list[Event] = []
    tl.evaluate(tiny_run.model, tiny_data, callback=events.append)
    assert [event for event in events if isinstance(event, DecisionEvent)] == [
        DecisionEvent("split", "test", f"{tiny_data.name} has test, train"),
        DecisionEvent("unseen", "all 18 images", "the model learned from none of them"),
    ]


@pytest.mark.parametrize(
    ("names", "count", "advice"),
    [
        (("Ants", "BEES"), 2, " Some names differ in case only: rename Ants to ants, BEES to bees."),
        (("Ants", "bees"), 1, " A name differs in case only: rename Ants to ants."),
        (
            ("2023", "2024"),
            2,
            " If these folders are not classes, their images have no labels to compare with: name them with "
            "tl predict.",
        ),
        (("wasps", "bees"), 1, ""),
    ],
)
def test_evaluate_with_class_names_that_differ_says_how(names: tuple[str, str], count: int, advice: str):
    with pytest.raises(DataError) as error:
        remap_targets(Samples(FileImages(["a", "b"]), [0, 1]), names, ("ants", "bees"))
    unknown = ", ".join(names[:count])
    assert str(error.value) == (
        f"The model does not know {count} of the data's 2 classes: {unknown}. It knows ants, bees.{advice}"
    )


def test_match_by_name_keeps_that_images_may_change():
    matched = remap_targets(Samples(DatasetImages(["a"]), [1]), ("ants", "bees"), ("bees", "ants"))
    assert (matched.targets, matched.deterministic) == ([0], False)


def test_evaluate_of_images_without_labels_says_tl_predict(tiny_run: Run, tiny_data: Path, tmp_path: Path):
    folder = shutil.copytree(tiny_data / "test" / "7", tmp_path / "new photos")
    with pytest.raises(UsageError) as error:
        tl.evaluate(tiny_run.model, folder)
    assert str(error.value) == (
        f"{folder} has 6 files and no class folders, so nothing says what is in them. To name the likeliest classes: "
        f"tl predict '{folder}'"
    )
    image = min(folder.iterdir())
    with pytest.raises(UsageError) as error:
        tl.evaluate(tiny_run.model, str(image))
    assert str(error.value) == (
        f"{image} is a file, and nothing says what is in it. To name the likeliest classes: tl predict '{image}'"
    )


def test_evaluate_of_a_dataset_that_augments_its_images_gives_the_same_with_workers(tiny_run: Run):
    class Noise(torch.utils.data.Dataset):
        classes = tiny_run.summary["class_names"]
        targets = [0, 1, 2] * 4

        def __len__(self) -> int:
            return 12

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            return torch.rand(3, 8, 8), self.targets[index]

    torch.manual_seed(1)
    losses = [tl.evaluate(tiny_run.model, Noise(), workers=workers).scores.loss for workers in (0, 0, 2)]
    assert losses[0] == losses[1] == losses[2]


def test_evaluate_of_val_says_that_the_temperature_was_chosen_there(judged_run: Run, tiny_data: Path):
    events: list[Event] = []
    chosen = DecisionEvent("calibrate", "chosen on val", "its calibration error is a little low")
    result = tl.evaluate(judged_run.model, tiny_data, "val", callback=events.append)
    assert result.scores.values["calibration_error"] == pytest.approx(judged_run.summary["val_calibration_error"])
    assert chosen in events
    events.clear()
    tl.evaluate(judged_run.model, tiny_data, "test", callback=events.append)
    assert chosen not in events
