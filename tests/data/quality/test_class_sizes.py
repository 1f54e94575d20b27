from pathlib import Path

import pytest

from tests.helpers.events import warning_messages
from tests.helpers.folders import copy_digits
from tl_toolkit.config.finetune import FinetuneConfig
from tl_toolkit.data.prepare import prepare_splits
from tl_toolkit.data.sources.base import open_source
from tl_toolkit.errors import DataError
from tl_toolkit.events import DecisionEvent, Event


def events_of(folder: Path, **settings: object) -> list[Event]:
    events: list[Event] = []
    prepare_splits(open_source(folder), FinetuneConfig(**settings), 0, events.append)
    return events


@pytest.fixture
def unequal(tmp_path: Path) -> Path:
    copy_digits(tmp_path / "train", ["0"], 40)
    copy_digits(tmp_path / "train", ["1"], 4)
    copy_digits(tmp_path / "val", ["0", "1"], 10, "test")
    return tmp_path


def test_prepare_splits_of_unequal_classes_names_the_remedy(unequal: Path):
    assert (
        "train is unbalanced: its largest class, 0, has 40 images, its smallest, 1, 4. "
        'sampler="balanced" shows all classes equally often, '
        'class_weights="balanced" weights the loss by inverse class frequency.'
    ) in "\n".join(warning_messages(events_of(unequal)))


@pytest.mark.parametrize(
    ("settings", "choice"),
    [
        ({"sampler": "balanced"}, DecisionEvent("balance", "each class is shown as often", 'sampler="balanced"')),
        (
            {"class_weights": "balanced"},
            DecisionEvent("balance", "images count 0.55 to 5.5 times in the loss", 'class_weights="balanced"'),
        ),
    ],
)
def test_prepare_splits_with_the_remedy_tells_it_and_warns_no_more(
    unequal: Path, settings: dict[str, object], choice: DecisionEvent
):
    events = events_of(unequal, **settings)
    assert choice in events
    assert "unbalanced" not in "\n".join(warning_messages(events))


def test_prepare_splits_with_a_single_image_of_a_class_says_so(tmp_path: Path):
    copy_digits(tmp_path, ["1", "7"], 10)
    copy_digits(tmp_path, ["0"], 1)
    found = "\n".join(warning_messages(events_of(tmp_path)))
    assert "train has a single image of 0: too few to learn from, or to take one for val." in found
    assert "val has no image of 0: their accuracy will be unknown." in found


def test_prepare_splits_whose_val_takes_the_last_image_of_a_class_says_what_to_change(tmp_path: Path):
    copy_digits(tmp_path, ["0", "1"], 10)
    message = r'train has no image left of 1: val has 12 images \(the last 12 of train, .* draw="stratified"'
    with pytest.raises(DataError, match=message):
        events_of(tmp_path, draw="in-order", val_images=12)
