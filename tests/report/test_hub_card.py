"""README.md of a repository: the Hub's own library reads it, and its code is for the weights beside it."""

import dataclasses

import pytest
from huggingface_hub import ModelCard

from tl_toolkit.errors import ToolkitError
from tl_toolkit.input_spec import InputSpec
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.card_usage import usage
from tl_toolkit.report.hub_card import hub_card, short_card

TRAINED = ModelMetadata(
    "torchvision:vgg16",
    "swap",
    1000,
    ("ants", "bees"),
    InputSpec(),
    weights="ImageNet",
    weights_license="Apache-2.0",
    metrics={"val_accuracy": 0.954, "val_images": 153},
    temperature=1.5,
)
PUBLISHED = dataclasses.replace(TRAINED, architecture="timm:vgg16")
HEADER = "---\nlibrary_name: tl_toolkit\nlicense: mit\ntags:\n- image-classification\n- timm\n---\n"
CARD = HEADER + "\n".join(["", "# Ants", "", "## How to use it", "", *usage(TRAINED), "", "## Mine", "", "Text."])


def test_card_for_timm_has_code_for_timms_names_in_place_of_that_for_the_trained_ones():
    card = hub_card(CARD, TRAINED, PUBLISHED, "me/ants", for_timm=True, notes=["One note."])
    assert 'timm.create_model("hf-hub:me/ants", pretrained=True)' in card
    assert "torchvision.models.get_model" in CARD
    assert "torchvision.models" not in card
    assert "hf download me/ants --local-dir ants\ntl predict --model ants IMAGE\n" in card
    assert "- One note." in card
    assert card.rstrip().endswith("## Mine\n\nText.")
    data = ModelCard(card).data
    assert (data.library_name, data.license) == ("timm", "mit")
    assert data.tags == ["image-classification", "timm", "tl_toolkit"]


def test_card_of_a_network_that_timm_has_not_keeps_its_code():
    card = hub_card(CARD, TRAINED, TRAINED, "me/ants", for_timm=False)
    assert "hf-hub:" not in card
    assert card.index("## How to load it from the Hub") < card.index("## How to use it")
    assert "torchvision.models.get_model" in card
    assert ModelCard(card).data.tags == ["image-classification", "tl_toolkit"]


def test_card_whose_author_changed_the_usage_keeps_what_it_says():
    changed = CARD.replace("In a terminal", "My own words: in a terminal")
    card = hub_card(changed, TRAINED, PUBLISHED, "me/ants", for_timm=True)
    assert "My own words" in card
    assert card.index("hf-hub:me/ants") < card.index("My own words")


def test_card_without_header_and_usage_gets_both():
    card = hub_card("# Mine\n", TRAINED, PUBLISHED, "me/ants", for_timm=True)
    assert card.startswith("---\nlibrary_name: timm\ntags:\n- timm\n- tl_toolkit\n---\n# Mine\n\n## How to load it")
    assert ModelCard(card).data.library_name == "timm"


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("a: b: c", r"The header of the model card, between its lines ---, is no YAML \(line 2\). Correct it\."),
        ("- a list", "The header of the model card, between its lines ---, must have lines `name: value`."),
    ],
)
def test_card_with_a_damaged_header_is_refused(header: str, message: str):
    with pytest.raises(ToolkitError, match=message):
        hub_card(f"---\n{header}\n---\n# Mine\n", TRAINED, PUBLISHED, "me/ants", for_timm=True)


def test_short_card_tells_what_the_model_file_does():
    card = short_card(TRAINED, 134_268_738)
    assert "| network | torchvision:vgg16, 134.3 M parameters |" in card
    assert "| classes | ants, bees |" in card
    assert "| val accuracy | 95.4 % |" in card
    assert ModelCard(card).data.license == "apache-2.0"
