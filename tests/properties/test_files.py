import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.stages import resumable_stage, small_network
from tl_toolkit.errors import ToolkitError
from tl_toolkit.events import EvalRecord, StepRecord
from tl_toolkit.io.files import format_size, parse_size
from tl_toolkit.io.safetensors_file import load_checked, save_checked
from tl_toolkit.runs.checkpoint import Checkpoint
from tl_toolkit.runs.metrics_log import append_metrics, begin_metrics, read_metrics
from tl_toolkit.runs.summary import read_summary, write_summary
from tl_toolkit.training.loop import StageProgress
from tl_toolkit.training.plan import StageConfig
from tl_toolkit.training.state import StageState, capture_state

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int8, torch.uint8, torch.bool)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
COUNTS = st.integers(0, 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    made = torch.randint(-100, 100, shape, generator=generator).to(draw(st.sampled_from(DTYPES)))
    return made.transpose(0, 1) if len(shape) > 1 and draw(st.booleans()) else made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("properties")


@given(
    content=st.dictionaries(NAMES.filter(lambda name: name != "__metadata__"), tensors(), max_size=5),
    metadata=st.dictionaries(
        NAMES.filter(lambda name: name != "digest"), st.text(st.characters(codec="utf-8")), max_size=4
    ),
)
def test_sealed_tensors_written_and_read_are_the_same(
    content: dict[str, torch.Tensor], metadata: dict[str, str], folder: Path
):
    path = folder / "sealed.safetensors"
    save_checked(path, content, metadata)
    read, found = load_checked(path)
    assert read == metadata
    assert found.keys() == content.keys()
    assert all(torch.equal(found[name], value) and found[name].dtype == value.dtype for name, value in content.items())


STEPS = st.builds(
    StepRecord, stage=st.text(max_size=5), epoch=COUNTS, step=COUNTS, train_loss=NUMBERS, train_accuracy=NUMBERS,
    learning_rate=NUMBERS,
)  # fmt: skip
OF_TYPE = {str: st.text(max_size=5), int: COUNTS, float: NUMBERS, float | None: st.none() | NUMBERS}
EVALS = st.builds(
    EvalRecord,
    **{
        field.name: {str: st.text(max_size=5), int: COUNTS, float: NUMBERS, float | None: st.none() | NUMBERS}[
            field.type
        ]
        for field in dataclasses.fields(EvalRecord)
    },
)


@given(records=st.lists(STEPS | EVALS, max_size=6), cut=st.integers(0, 200))
def test_metrics_written_and_read_are_the_same_up_to_any_cut(
    records: list[StepRecord | EvalRecord], cut: int, folder: Path
):
    path = folder / "metrics.jsonl"
    path.unlink(missing_ok=True)
    begin_metrics(folder, 0)
    for one in records:
        append_metrics(folder, one.to_dict())
    whole = path.read_bytes()
    assert begin_metrics(folder, len(whole)) == records
    judged = [one for one in records if isinstance(one, EvalRecord)]
    if judged:
        assert read_metrics(str(folder)) == judged
    path.write_bytes(whole[: max(0, len(whole) - cut)])
    left = begin_metrics(folder, path.stat().st_size)
    assert left == records[: len(left)]


SUMMARIES = st.fixed_dictionaries(
    {
        "run": st.text(max_size=9),
        "bad_images": st.just([]),
        "class_accuracy": st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
        **dict.fromkeys(("epochs", "val_images", "test_images"), COUNTS),
        "seconds": st.floats(0, 1e9),
        "val_accuracy": NUMBERS,
        "test_accuracy": st.none() | NUMBERS,
    }
)
STAGES = NUMBERS | st.fixed_dictionaries({"val_accuracy": NUMBERS, "epoch": COUNTS})
FULL_SUMMARIES = st.builds(
    lambda summary, stage: {**summary, "best_stage": "probe", "best_epoch": 1, "stages": {"probe": stage}},
    SUMMARIES,
    STAGES,
)


@given(
    summary=SUMMARIES | FULL_SUMMARIES,
    lost=st.sampled_from(["run", "epochs", "val_accuracy", "bad_images", "class_accuracy"]),
)
def test_summary_written_and_read_is_the_same_and_refused_without_a_field(
    summary: dict[str, Any], lost: str, folder: Path
):
    write_summary(folder, summary)
    assert json.dumps(read_summary(folder)) == json.dumps(json.loads(json.dumps(summary)))
    write_summary(folder, {name: value for name, value in summary.items() if name != lost})
    with pytest.raises(ToolkitError, match="summary.json is damaged: .* Remove it"):
        read_summary(folder)


@given(
    stage=st.integers(0, 3),
    weights=st.dictionaries(NAMES, tensors(), max_size=3),
    best=st.none() | EVALS,
    best_weights=st.none() | st.dictionaries(NAMES, tensors(), max_size=3),
    metrics_bytes=COUNTS,
    seconds=st.floats(0, 1e9),
    span=st.tuples(COUNTS, NUMBERS, COUNTS, st.floats(0, 1e9)).map(list),
)
def test_checkpoint_written_and_read_is_the_same(
    stage: int,
    weights: dict[str, torch.Tensor],
    best: EvalRecord | None,
    best_weights: dict[str, torch.Tensor] | None,
    metrics_bytes: int,
    seconds: float,
    span: list[Any],
    folder: Path,
    true_state: StageState,
):
    state = StageState(
        {**true_state.tensors, **{f"weights.{name}": value for name, value in weights.items()}},
        {**true_state.values, "span": span},
    )
    settings = StageConfig("tune", 3, "adamw", 0.1, 0.2, 0.3)
    resume_fingerprint = {"settings": {"seed": 1}, "train": "9 images"}
    path = folder / "checkpoint.safetensors"
    kept = Checkpoint(stage, settings, state, best, best_weights, metrics_bytes, seconds, resume_fingerprint, 2)
    kept.write(path)
    read = Checkpoint.read(path)
    assert read
    for name in ("stage", "settings", "best", "metrics_bytes", "seconds", "resume_fingerprint", "threads"):
        assert getattr(read, name) == getattr(kept, name), name
    assert json.dumps(read.state.values) == json.dumps(state.values)
    same(read.state.tensors, state.tensors)
    assert (read.best_weights is None) == (best_weights is None)
    same(read.best_weights or {}, best_weights or {})


@pytest.fixture(scope="module")
def true_state() -> StageState:
    """Of a stage that has not begun."""
    return capture_state(resumable_stage(small_network(), "adamw"), StageProgress(torch.device("cpu")))


def same(one: Any, other: Any) -> None:
    assert one.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


@given(count=st.integers(0, 2**60))
def test_size_shown_and_parsed_is_nearly_the_same(count: int):
    parsed = parse_size(format_size(count))
    assert parsed is not None
    assert (
        abs(parsed - count) <= max(0.06 * 2**30, 0.06 * count)
        if count >= 2**30
        else abs(parsed - count) <= 0.06 * count + 1
    )


@given(text=st.text(max_size=12))
def test_size_of_any_text_is_a_count_or_none(text: str):
    parsed = parse_size(text)
    assert parsed is None or parsed >= 0
