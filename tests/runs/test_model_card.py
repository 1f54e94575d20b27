from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from tl_toolkit.errors import ToolkitError
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.model_card import keep_if_completed, signed


def test_finetune_writes_a_model_card_of_the_run(tiny_run: Run):
    card = ModelCard.load(tiny_run.path / "model_card.md")
    found = {(result.dataset_split, result.metric_value) for result in card.data.eval_results}
    assert found == {(split, round(tiny_run.summary[f"{split}_accuracy"], 6)) for split in ("val", "test")}
    assert "| batch\\_size | 16 |" in card.text
    assert "| 0 | 18 | 2 | 6 |" in card.text
    assert "| resnet18 on zeros ünd ones" not in card.text
    assert "# resnet18 on zeros ünd ones\n" in card.text
    assert str(tiny_run.path.parent) not in card.text


def test_keep_if_completed_leaves_a_card_that_nobody_changed(tmp_path: Path):
    card = tmp_path / "model_card.md"
    keep_if_completed(card)
    card.write_text(signed("# A card\n"))
    keep_if_completed(card)
    assert [path.name for path in tmp_path.iterdir()] == ["model_card.md"]


@pytest.mark.parametrize("text", ["# A card\n\nMade by Jane.\n", "", "\n<!-- As tl wrote it: 0123456789abcdef -->\n"])
def test_keep_if_completed_keeps_a_card_that_its_author_changed(text: str, tmp_path: Path):
    card = tmp_path / "model_card.md"
    card.write_text(signed("# A card\n").replace("# A card\n", text))
    keep_if_completed(card)
    assert [path.name for path in tmp_path.iterdir()] == ["model_card.completed.md"]
    assert text in (tmp_path / "model_card.completed.md").read_text()


def test_keep_if_completed_of_a_folder_says_what_is_wrong(tmp_path: Path):
    (tmp_path / "model_card.md").mkdir()
    with pytest.raises(ToolkitError, match="Cannot replace .*model_card.md: Is a directory"):
        keep_if_completed(tmp_path / "model_card.md")
