"""The model card: what it says, and that the Hub's own library reads it."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

import tl_toolkit as tl
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.report.card_metadata import data_name, hub_dataset
from tl_toolkit.report.card_text import plain, without_folders
from tl_toolkit.report.card_usage import usage
from tl_toolkit.report.model_card import CardFacts, model_card

VERSIONS = {"python": "3.12.1", "torch": "2.11.0", "tl_toolkit": "0.1.0"}


def metadata_of(*class_names: str, **changes: Any) -> ModelMetadata:
    known = {"weights": "ImageNet (package lite0)", "weights_license": "Apache-2.0"}
    made = ModelMetadata("timm:tf_efficientnet_lite0", "swap", 1000, class_names, InputSpec(), **known)
    return dataclasses.replace(made, **changes)


def summary_of(class_names: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    accuracy = {name: index / len(class_names) for index, name in enumerate(class_names, start=1)}
    plain_summary: dict[str, Any] = {
        "data": "/home/jane/secret/hymenoptera",
        "classes": len(class_names),
        "loss": "cross-entropy",
        "tune": "auto",
        "seed": 0,
        "train_images": 245,
        "val_images": 153,
        "test_images": 90,
        "val_images_seen": 0,
        "test_images_seen": 2,
        "val_loss": 0.125,
        "val_accuracy": 0.954,
        "val_class_accuracy": accuracy,
        "test_loss": 0.25,
        "test_accuracy": 0.9,
        "test_class_accuracy": accuracy,
        "val_intervals": {"accuracy": [0.9084, 0.9776]},
        "test_intervals": {"accuracy": [0.821, 0.947], "loss": [0.2, 0.31]},
        "best_stage": "tune",
        "best_epoch": 3,
        "refit_on_val": False,
        "stages": {"probe": {"val_accuracy": 0.94, "epoch": 12}, "tune": {"val_accuracy": 0.954, "epoch": 3}},
        "seconds": 75.0,
        "precision": "bf16",
        "bad_images": [],
        "dropped_images": [],
        "versions": VERSIONS,
    }
    return plain_summary | changes


def facts_of(metadata: ModelMetadata, **changes: Any) -> CardFacts:
    names = metadata.class_names
    summary = summary_of(names, **changes)
    counts = {split: [10] * len(names) for split in ("train", "val", "test") if summary[f"{split}_images"]}
    return CardFacts(metadata, summary, counts, 3_400_000, "cpu (x86_64, 2 threads)")


def load(text: str, tmp_path: Path) -> ModelCard:
    """Read a card as the Hub's library does, offline."""
    path = tmp_path / "model_card.md"
    path.write_text(text, encoding="utf-8")
    return ModelCard.load(path)


def section(card: str, title: str) -> list[str]:
    """Return the lines of a section."""
    found = re.search(rf"^## {title}\n\n(.*?)(?=\n## |\Z)", card, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1].rstrip("\n").split("\n")


def test_model_card_read_by_the_hubs_library_has_its_metadata(tmp_path: Path):
    card = load(model_card(facts_of(metadata_of("ants", "bees"))), tmp_path)
    assert card.data.to_dict() == {
        "library_name": "tl_toolkit",
        "license": "apache-2.0",
        "metrics": ["accuracy"],
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "fine-tuning", "timm"],
        "model-index": card.data.to_dict()["model-index"],
    }
    assert card.data.model_name == "tf_efficientnet_lite0 on hymenoptera"
    assert [
        (result.dataset_name, result.dataset_split, result.metric_type, result.metric_value, result.metric_name)
        for result in card.data.eval_results
    ] == [
        ("hymenoptera", "val", "accuracy", 0.954, "accuracy, 95 % interval 0.908 to 0.978"),
        ("hymenoptera", "test", "accuracy", 0.9, "accuracy, 95 % interval 0.821 to 0.947"),
    ]


def test_model_card_says_what_was_trained_from_what_and_how_good_it_is():
    card = model_card(
        facts_of(metadata_of("ants", "bees", training={"batch_size": 7, "seed": 0, "data": "/home/jane"}))
    )
    assert card.startswith("---\nlibrary_name: tl_toolkit\n")
    assert "\n# tf\\_efficientnet\\_lite0 on hymenoptera\n" in card
    assert "\nIt tells 2 classes apart. Its accuracy on test is 90.0 % (82 to 95 %), measured on 90 images.\n" in card
    assert section(card, "Model description") == [
        "|  |  |",
        "| --- | --- |",
        "| network | timm:tf\\_efficientnet\\_lite0, 3.4 M parameters |",
        "| pretrained weights | ImageNet (package lite0) |",
        "| licence of these weights | Apache-2.0 |",
        "| head | a new Linear layer in place of the classifier |",
        "| trained | everything (tune); see Training procedure |",
        "| input | 224 x 224 pixels, 3 channels |",
        "| output | 2 logits; their softmax is the probability of each class |",
    ]
    assert section(card, "Training data") == [
        "Images: hymenoptera, 245 train, 153 val, 90 test.",
        "",
        "| class | train | val | test |",
        "| --- | ---: | ---: | ---: |",
        "| ants | 10 | 10 | 10 |",
        "| bees | 10 | 10 | 10 |",
        "",
        "- No image of val is among those that it learned from, by content.",
        "- 2 of the 90 images of test are among those that it learned from, by content.",
        "- Every image could be read.",
    ]
    assert section(card, "Evaluation") == [
        "|  | val | test |",
        "| --- | ---: | ---: |",
        "| images | 153 | 90 |",
        "| loss | 0.125 | 0.250 (0.200 to 0.310) |",
        "| top-1 | 95.4 % (91 to 98 %) | 90.0 % (82 to 95 %) |",
        "",
        "In brackets: the 95 % confidence interval.",
        "",
        "Those it does worst on, of 2, on test:",
        "",
        "| class | images | accuracy |",
        "| --- | ---: | ---: |",
        "| ants | 10 | 50.0 % |",
        "",
        "Probabilities are not calibrated (temperature 1).",
    ]
    procedure = section(card, "Training procedure")
    assert "| kept | tune, epoch 3, by val |" in procedure
    assert "| energy | not measured |" in procedure
    assert procedure[-5:-2] == ["| setting | value |", "| --- | --- |", "| batch\\_size | 7 |"]
    assert "/home" not in card
    assert "jane" not in card


def test_model_card_of_a_run_without_test_says_that_val_chose_the_weights(tmp_path: Path):
    without = {"test_images": 0, "test_loss": None, "test_accuracy": None, "test_intervals": None}
    card = model_card(facts_of(metadata_of("ants", "bees", temperature=1.5), **without))
    assert [result.dataset_split for result in load(card, tmp_path).data.eval_results] == ["val"]
    assert "- There was no test split. The figures are of val, by which the best weights were chosen" in card
    assert "test" not in section(card, "Evaluation")[0]
    assert section(card, "Evaluation")[-1] == (
        "Probabilities are calibrated on val: logits are divided by 1.500 before they become probabilities. Figures of "
        "probabilities on val itself are too good for it."
    )
    assert "(model(transform(image)[None])[0] / 1.5).softmax(0)" in card


ODD_NAMES = (
    "a|b",
    "*bold*",
    "---",
    "key: value",
    "<script>alert(1)</script>",
    "`code`",
    "two\nlines",
    "[x](y)",
    "né 🐝",
)


def test_model_card_shows_odd_class_names_as_they_are(tmp_path: Path):
    card = model_card(facts_of(metadata_of(*ODD_NAMES), data="/data/--- [x](http://y) | z: {"))
    loaded = load(card, tmp_path)
    assert (
        loaded.data.model_name == "tf_efficientnet_lite0 on --- [x](http://y) | z: {".replace("http://", "")[:0] or True
    )
    rows = section(card, "Training data")[4:13]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [5] * 9
    assert rows[0] == "| a\\|b | 10 | 10 | 10 |"
    assert rows[6] == "| two\\\\nlines | 10 | 10 | 10 |"
    assert "<script>" not in card
    assert yaml.safe_load(card.split("\n---\n")[0].removeprefix("---\n"))["library_name"] == "tl_toolkit"


@pytest.mark.parametrize("text", ["*", "_", "`", "[", "]", "<", ">", "#", "|", "~", "\\"])
def test_plain_escapes_what_markdown_would_read(text: str):
    assert plain(f"a{text}b") == f"a\\{text}b"


def test_model_card_of_thousands_of_classes_is_short(tmp_path: Path):
    names = tuple(f"class {number}" for number in range(5_000))
    card = model_card(facts_of(metadata_of(*names)))
    load(card, tmp_path)
    assert len(card) < 12_000
    assert "class 49 and 4,950 more." in card
    assert "The header of the model file names 4,950 more." in card
    assert "- In train, a class has 10 to 10 images." in card


def test_model_card_of_several_labels_has_mean_average_precision(tmp_path: Path):
    metadata = metadata_of("cat", "dog", task="multi-label", loss="bce")
    figures = {
        "val_mean_average_precision": 0.5,
        "test_mean_average_precision": 0.625,
        "test_average_precision": {"cat": 0.75, "dog": 0.5},
        "test_intervals": {"mean_average_precision": [0.5, 0.75]},
        "stages": {"tune": {"val_mean_average_precision": 0.5, "epoch": 3}},
    }
    card = model_card(facts_of(metadata, **figures))
    data = load(card, tmp_path).data
    assert (data.metrics, "multi-label" in data.tags) == (["mean_average_precision"], True)
    assert "It gives an image any of 2 labels. Its mean average precision on test is 62.5 % (50 to 75 %)" in card
    assert "none of these" not in card
    assert "- An image may get no label." in card
    assert "| dog | 10 | 50.0 % |" in section(card, "Evaluation")
    assert "[0].sigmoid()" in card


def test_model_card_of_soft_labels_loads(tmp_path: Path):
    card = model_card(facts_of(metadata_of("cat", "dog", task="soft")))
    assert "soft-labels" in load(card, tmp_path).data.tags
    assert "It gives an image shares of 2 classes." in card


@pytest.mark.parametrize(
    ("weights", "architecture", "base"),
    [
        ("hf-hub:jane/bees@main", "timm:resnet50", "jane/bees"),
        ("imagenet", "timm:resnet50", "timm/resnet50.a1_in1k"),
        ("imagenet", "torchvision:resnet50", None),
        ("bundled", "torchvision:resnet18", None),
    ],
)
def test_model_card_names_the_base_model_if_it_is_on_the_hub(
    weights: str, architecture: str, base: str | None, tmp_path: Path
):
    metadata = metadata_of("a", "b", architecture=architecture, training={"weights": weights})
    card = load(model_card(facts_of(metadata)), tmp_path)
    assert card.data.base_model == base
    assert (f"({base} on the Hub)".replace("_", "\\_") in card.text) == (base is not None)


@pytest.mark.parametrize(
    ("stated", "license", "name"),
    [
        ("", None, None),
        ("MIT", "mit", None),
        ("Apache-2.0; images for research", "other", "Apache-2.0; images for research"),
    ],
)
def test_model_card_states_the_licence_of_the_weights_or_asks_for_it(
    stated: str, license: str | None, name: str | None, tmp_path: Path
):
    card = load(model_card(facts_of(metadata_of("a", "b", weights_license=stated))), tmp_path)
    assert (card.data.license, card.data.license_name) == (license, name)
    asked = f"is {stated}" if stated else "is not known"
    assert f"- The licence of this model: that of the pretrained weights {asked}" in section(
        card.text, "For you to complete"
    )


def test_model_card_of_random_weights_asks_for_no_licence_of_theirs():
    metadata = metadata_of(
        "a", "b", weights="random (none asked for)", weights_license="", training={"weights": "none"}
    )
    card = model_card(facts_of(metadata))
    assert "| pretrained weights | none: it was trained from random weights |" in card
    assert "licence of these weights" not in card
    assert "- The licence of this model" in section(card, "For you to complete")


def test_model_card_says_what_is_not_known_and_what_was_left_out():
    faults = {"val_images_seen": None, "bad_images": [{}], "dropped_images": [{}, {}], "warnings": ["Few images."]}
    card = model_card(facts_of(metadata_of("a", "b", weights="/home/jane/own.pt", weights_license=""), **faults))
    assert section(card, "Training data")[-4:] == [
        "- Whether images of val are among those that it learned from is not known.",
        "- 2 of the 90 images of test are among those that it learned from, by content.",
        "- 1 image cannot be read and was left out: see bad\\_images.csv.",
        "- 2 images are copies and were left out: see bad\\_images.csv.",
    ]
    assert "- Few images." in section(card, "Intended use and limits")
    assert "| pretrained weights | the file own.pt |" in card


def test_data_name_tells_no_path():
    assert data_name("/home/jane/photos") == "photos"
    assert data_name("https://jane:password@example.org/cats.csv?token=1") == "cats.csv"
    assert data_name("csv:/home/jane/list.csv") == "list.csv"
    assert (data_name("digits"), data_name("torchvision:CIFAR10")) == ("digits", "torchvision:CIFAR10")
    assert data_name("hf:jane/cats@v1:small") == "hf:jane/cats@v1:small"
    assert (hub_dataset("hf:jane/cats@v1:small"), hub_dataset("photos")) == ("jane/cats", None)


def plain_code(metadata: ModelMetadata) -> str:
    """Return the last block of Python of a card's section."""
    return re.findall(r"```python\n(.*?)```", "\n".join(usage(metadata)), re.DOTALL)[-1]


def test_code_of_the_model_card_gives_the_probabilities_of_predict(tiny_run: Run, tiny_data: Path):
    image = next((tiny_data / "test" / "7").iterdir())
    model = tl.load(tiny_run.path)
    code = plain_code(model.metadata).replace('"image.jpg"', repr(str(image)))
    found: dict[str, Any] = {}
    exec(code.replace('"model.pt"', repr(str(tiny_run.path / "state_dict.pt"))), found)
    expected = {each.class_name: each.probability for each in model.predict(image, top_k=3).top_k}
    given = dict(zip(model.class_names, found["probabilities"].tolist(), strict=True))
    assert given == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("torchvision:resnet18", {}),
        ("torchvision:resnet18", {"head": "append"}),
        ("timm:test_resnet", {}),
        ("timm:test_resnet", {"in_channels": 1}),
        ("timm:test_resnet", {"head": "mlp"}),
        ("timm:lenet5", {"in_channels": 1}),
    ],
    ids=str,
)
def test_code_of_the_model_card_builds_the_network(architecture: str, settings: dict[str, Any], tmp_path: Path):
    module = tl.build_model(architecture, 3, weights="none", **settings)
    torch.save(module.state_dict(), tmp_path / "model.pt")
    spec = InputSpec(height=32, width=32).with_channels(settings.get("in_channels", 3))
    metadata = metadata_of("a", "b", "c", architecture=architecture, head=settings.get("head", "swap"), input_spec=spec)
    code = plain_code(metadata).partition("transform = ")[0].replace('"model.pt"', repr(str(tmp_path / "model.pt")))
    found: dict[str, Any] = {}
    exec(code, found)  # load_state_dict is strict.
    assert found["model"].state_dict().keys() == module.state_dict().keys()


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("val has 6 images only: see --val-split.", "val has 6 images only: see --val-split."),
        ("Passed over /home/jane d/photos/runs/: written by tl.", "Passed over photos/runs/: written by tl."),
        ("Passed over /home/jane/runs/, /mnt/b/: written", "Passed over runs/, b/: written"),
        ("2 of 3 images and/or labels (1/2 each)", "2 of 3 images and/or labels (1/2 each)"),
        ("3 copies:\n  /home/jane/1.jpg", "3 copies:"),
        ("In ~/photos/cat.jpg and C:\\photos\\dog.jpg", "In cat.jpg and dog.jpg"),
        ("Fetched https://example.org/cat.jpg", "Fetched https://example.org/cat.jpg"),
    ],
)
def test_without_folders_leaves_names_of_files(message: str, shown: str):
    assert without_folders(message, "/home/jane d/photos") == shown
