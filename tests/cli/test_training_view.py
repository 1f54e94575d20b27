import io
from typing import Any

import pytest
from rich.console import Console

from tests.helpers.events import eval_record
from tl_toolkit.cli.training_view import TrainingView, draws_ascii
from tl_toolkit.events import EvalRecord, TrainingProgress


def progress(epoch: int, step: int, loss: float = 1.0, accuracy: float = 0.5, **values: Any) -> TrainingProgress:
    plain: dict[str, Any] = {"learning_rate": 0.000312}
    return TrainingProgress("tune", epoch, 4, step, 10, loss, accuracy, 245.4, **(plain | values))


def record(epoch: int, train: float, val: float, **values: Any) -> EvalRecord:
    figures = {"train_loss": 1 - train, "train_accuracy": train, "val_loss": 1.2 - val, "val_accuracy": val}
    return eval_record("tune", epoch, 4, images_per_second=245.4, **(figures | values))


EVENTS = [
    progress(1, 5, 0.6, 0.4),
    record(1, 0.5, 0.7),
    record(2, 0.75, 0.8),
    progress(3, 5, 0.2, 0.85),
]


def view_of(events: list[TrainingProgress | EvalRecord], earlier: list[EvalRecord] | None = None) -> TrainingView:
    """The view after these events, ten seconds apart, two seconds after the last."""
    now = [0.0]
    view = TrainingView(events[0].stage, earlier or [], lambda: now[0])
    for event in events:
        now[0] += 10
        view.show(event)
    now[0] += 2
    return view


def draw(view: TrainingView, width: int = 100, height: int = 25, **options: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, color_system=None, **options)
    console.print(view, soft_wrap=False)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_training_view_shows_stage_figures_curves_speed_and_time_left():
    assert draw(view_of(EVENTS)) == [
        "tune          3/4  ━━━━━━━━━━━━━━━━━━━━━━━━━                 62 %  28 s left",
        "train       loss  0.200 ███▅▅▅▂▂▂▂▂▂▁▁▁           accuracy  85.0 % ▁▁▁▄▄▄▆▆▆▆▆▆███",
        "val         loss  0.400 ██████▁▁▁▁▁▁              accuracy  80.0 % ▁▁▁▁▁▁██████",
        "            lr 0.000312  245 images/s",
    ]


def test_training_view_at_60_columns_keeps_names_and_curves():
    assert draw(view_of(EVENTS), 60) == [
        "tune          3/4  ━━━━━━━━━━━━━━━           62 %  28 s left",
        "train       loss  0.200 █▅▂▂▁     accuracy  85.0 % ▁▄▆▆█",
        "val         loss  0.400 ██▁▁      accuracy  80.0 % ▁▁██",
        "            lr 0.000312  245 images/s",
    ]


def test_training_view_at_40_columns_leaves_out_the_names_of_figures():
    assert draw(view_of(EVENTS), 40) == [
        "tune   3/4 ━━━━━━━       62 %  28 s left",
        "train   0.200 █▅▂▂▁      85.0 % ▁▄▆▆█",
        "val     0.400 ██▁▁       80.0 % ▁▁██",
        "       lr 0.000312  245 images/s",
    ]


def test_training_view_in_a_low_terminal_is_one_line():
    assert draw(view_of(EVENTS), 60, 5) == ["tune 3/4  62 %  val 80.0 %  train 85.0 %  28 s left"]


def test_training_view_before_the_first_evaluation_has_no_val():
    lines = draw(view_of([progress(1, 1)]), 60)
    assert lines[0].endswith(" 2 %")  # Nothing is known yet of the pace.
    assert lines[2] == "val         loss      -           accuracy       -"


def test_training_view_of_a_resumed_run_begins_with_its_earlier_records():
    earlier = [record(1, 0.5, 0.7), record(2, 0.75, 0.8), record(3, 0.8, 0.9)]
    resumed = draw(view_of([progress(3, 5, 0.2, 0.85)], earlier))
    assert resumed[2] == draw(view_of(EVENTS))[2]  # The third was after the checkpoint, and is trained again.
    assert "train       loss  0.200 ██████▂▂▂▂▂▂▁▁▁           accuracy  85.0 % ▁▁▁▁▁▁▆▆▆▆▆▆███" in resumed


def test_training_view_of_a_finished_run_that_trains_for_longer_draws_its_records_at_their_steps():
    earlier = [eval_record("tune", 1, 2, val_accuracy=0.5), eval_record("tune", 2, 2, val_accuracy=0.75)]
    assert "accuracy  75.0 % ▁▁▁▁▁▁██████" in draw(view_of([progress(3, 1)], earlier))[2]


def test_training_view_of_several_labels_names_both_figures():
    several = record(1, 0.25, 0.4, val_mean_average_precision=0.625, val_mean_average_precision_error=0.02)
    lines = draw(view_of([several, progress(2, 5, 0.7, 0.3, exact=True)]), 60)
    assert lines[1:3] == [
        "train       loss  0.700 ██▁       all right  30.0 % ▁▁█",
        "val         loss  0.800 ▅▅        mAP        62.5 % ▅▅",
    ]
    assert "val mAP 62.5 %" in draw(view_of([several]), 60, 3)[0]


def test_training_view_of_a_probe_by_lbfgs_has_neither_learning_rate_nor_images_per_second():
    probe = TrainingProgress("probe", 1, 12, 1, 1, 0.5, 0.9, 90_000.0)
    assert draw(view_of([probe]), 60)[3] == ""


def test_training_view_with_a_time_budget_counts_it_down():
    lines = draw(view_of([progress(1, 5, budget_seconds=100.0)]))
    assert lines[3] == "            lr 0.000312  245 images/s  1 min 38 s of the time budget left"


def test_training_view_draws_ascii_where_the_encoding_has_no_blocks():
    file = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    console = Console(file=file, width=60, height=25, color_system=None)
    console.print(view_of(EVENTS))
    file.seek(0)
    assert file.read().splitlines()[:2] == [
        "tune          3/4  ---------------           62 %  28 s left",
        "train       loss  0.200 #=.._     accuracy  85.0 % _-++#",
    ]


def test_draws_ascii_on_a_text_console(monkeypatch: pytest.MonkeyPatch):
    console = Console(file=io.StringIO())
    assert not draws_ascii(console)
    monkeypatch.setenv("TERM", "linux")
    assert draws_ascii(console)


def test_training_view_draws_the_means_of_each_part_of_an_epoch():
    """The reports have the mean since the evaluation; the curves have what is new in them."""
    events = [progress(1, 2, 0.8), progress(1, 4, 0.6), progress(1, 6, 0.4), progress(1, 8, 0.5)]
    # 0.8, then 0.4, then 0.0, then 0.8 on two steps each.
    assert draw(view_of(events), 100)[1].startswith("train       loss  0.500 █▄▁▃█ ")


@pytest.mark.parametrize("width", [20, 28, 40, 55, 56, 60, 80, 200])
@pytest.mark.parametrize("height", [1, 3, 5, 6, 24])
def test_training_view_fits_into_every_terminal(width: int, height: int):
    lines = draw(view_of([*EVENTS, progress(3, 6, budget_seconds=100.0)]), width, height)
    assert len(lines) == (4 if height >= 6 else 1)
    assert max(map(len, lines)) <= width
    assert "tune" in lines[0]
