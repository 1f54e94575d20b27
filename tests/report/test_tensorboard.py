import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import tl_toolkit as tl
from tests.helpers.events import eval_record
from tl_toolkit.errors import RunInterruptedError, UsageError
from tl_toolkit.events import EvalRecord, Event, StepRecord
from tl_toolkit.report.tensorboard import check_tensorboard, open_board


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_finetune_with_tensorboard_writes_scalars_pictures_graph_and_results(
    tiny_data: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    run = tl.finetune(data=tiny_data, out=tmp_path / "run", tensorboard=True, log_every=2, **tiny_settings)
    events = read(run.path / "tensorboard")
    tags = events.Tags()
    assert {"loss/train", "loss/val", "accuracy", "learning_rate"} <= set(tags["scalars"])
    assert [event.step for event in events.Scalars("loss/val")] == [1, 2, 3, 4, 8]  # 4 steps of the probe, 4 of tune
    assert [event.step for event in events.Scalars("loss/train")] == [1, 2, 3, 4, 6, 8, 8]
    assert "predictions" in tags["images"]
    assert tags["graph"]
    assert events.Scalars("hparam/test_accuracy")[0].value == pytest.approx(run.summary["test_accuracy"])


def test_finetune_stopped_with_tensorboard_leaves_closed_event_files(
    tiny_data: Path, tmp_path: Path, tiny_settings: dict[str, Any]
):
    def stop(event: Event) -> None:
        if isinstance(event, EvalRecord) and event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(RunInterruptedError, match="Stopped at once"):
        tl.finetune(data=tiny_data, out=tmp_path / "run", tensorboard=True, callback=stop, **tiny_settings)
    assert [event.step for event in read(tmp_path / "run" / "tensorboard").Scalars("loss/val")] == [1]


def test_add_counts_the_steps_of_all_stages_on(tmp_path: Path):
    with open_board(tmp_path) as board:
        board.add(eval_record("probe", 1, 1))
        board.add(StepRecord("tune", 1, 3, 1.0, 0.5, 0.1))
        board.add(eval_record("tune", 1, 2))
    assert [event.step for event in read(tmp_path).Scalars("loss/train")] == [10, 13, 20]


def test_add_graph_of_a_network_that_cannot_be_traced_says_why(tmp_path: Path):
    class Strange(nn.Module):
        def forward(self, images: torch.Tensor) -> str:
            return "no tensor"

    with open_board(tmp_path) as board:
        assert board.add_graph(Strange(), torch.zeros(1, 1, 2, 2))


def test_check_tensorboard_without_the_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"tensorboard needs the package tensorboard: pip install 'tl_toolkit\[tens"):
        check_tensorboard()
