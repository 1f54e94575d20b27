"""predictions.safetensors: what is written is read back, and damage is told."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tl_toolkit.errors import ToolkitError
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.metrics.predictions import Predictions
from tl_toolkit.runs import predictions_file
from tl_toolkit.runs.predictions_file import PREDICTIONS_FILE, read_predictions, save_predictions

CLASSES = ("ants", "bees", "cats")
NAMES = ("a.png", "sub/ünd </script>.png", "undecodable \udcff.png", "")
CONTENTS = (b"12345", None, b"\x00\xff\x00\xff\x00", b"54321")


def of_four(task: str = "multi-class", **changes: Any) -> Predictions:
    targets = torch.tensor([0, 1, 2, 0]) if task == "multi-class" else torch.eye(4, 3)
    loss = "bce" if task == "multi-label" else "cross-entropy"
    values = {"logits": torch.randn(4, 3), "targets": targets, "names": NAMES, "contents": CONTENTS} | changes
    return Predictions(**values, loss=loss, task=task)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", ["multi-class", "multi-label", "soft"])
def test_read_predictions_gives_what_was_saved(task: str, tmp_path: Path):
    kept = {"val": of_four(task, map=torch.randn(4, 2)), "test": of_four(task)}
    assert save_predictions(tmp_path, kept, CLASSES)
    found = read_predictions(tmp_path)
    assert found is not None
    assert list(found) == ["val", "test"]
    for split, before in kept.items():
        now = found[split]
        assert torch.equal(now.logits, before.logits)
        assert torch.equal(now.targets, before.targets)
        assert (tuple(now.names), tuple(now.contents)) == (NAMES, CONTENTS)
        assert (now.loss, now.task) == (before.loss, task)
    assert found["val"].map is not None
    assert torch.equal(found["val"].map, kept["val"].map)  # type: ignore[arg-type]  # given above
    assert found["test"].map is None


def test_read_predictions_of_one_logit_gives_what_was_saved(tmp_path: Path):
    save_predictions(
        tmp_path, {"val": of_four(logits=torch.randn(4, 1), targets=torch.tensor([0, 1, 1, 0]))}, CLASSES[:2]
    )
    found = read_predictions(tmp_path)
    assert found is not None
    assert found["val"].probabilities().shape == (4, 2)


def test_read_predictions_without_a_file_is_none(tmp_path: Path):
    assert read_predictions(tmp_path) is None


def test_save_predictions_that_are_too_large_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(predictions_file, "MAX_BYTES", 4 * 3 * 4 - 1)
    assert not save_predictions(tmp_path, {"val": of_four()}, CLASSES)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(predictions_file, "MAX_BYTES", 4 * 3 * 4)
    assert save_predictions(tmp_path, {"val": of_four()}, CLASSES)


def test_read_predictions_of_a_truncated_file_says_what_to_do(tmp_path: Path):
    save_predictions(tmp_path, {"val": of_four()}, CLASSES)
    path = tmp_path / PREDICTIONS_FILE
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ToolkitError) as error:
        read_predictions(tmp_path)
    assert str(error.value).startswith(f"{path} is damaged: ")
    assert str(error.value).endswith("Remove it; `tl report` then computes it again.")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"format_version": "9"}, "expected tl_toolkit.predictions version 1"),
        ({"task": "regression"}, "regression"),
        ({"splits": '{"val": {"names": ["a"], "contents": [null]}}'}, "val has 4 logits, 4 targets and 1 names"),
        ({"splits": '{"train": {"names": [], "contents": []}}'}, "train.logits"),
        ({"splits": '{"val": {"names": ["a", "b", "c", "d"], "contents": ["x", null, null, null]}}'}, "hexadecimal"),
    ],
    ids=["version", "task", "count", "split", "fingerprint"],
)
def test_read_predictions_whose_header_is_wrong_says_what_is(changes: dict[str, str], problem: str, tmp_path: Path):
    save_predictions(tmp_path, {"val": of_four()}, CLASSES)
    path = tmp_path / PREDICTIONS_FILE
    metadata, tensors = load_checked(path)
    save_checked(path, tensors, {**{k: v for k, v in metadata.items() if k != "checksum"}, **changes})
    with pytest.raises(ToolkitError, match="is damaged") as error:
        read_predictions(tmp_path)
    assert problem in str(error.value)
