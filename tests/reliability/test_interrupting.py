"""Fast: a few interruptions. The long form is `pytest -m slow tests/reliability` (see CONTRIBUTING.md)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reliability.interrupting import Harness, Interrupt, fill_disk, kill, preempt, press_ctrl_c

FEW_KILLS, MANY_KILLS = range(6), range(6, 36)
FEW_DISKS, MANY_DISKS = range(3), range(3, 23)


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    yield Harness(tmp_path_factory.mktemp("interrupting"))


@pytest.mark.parametrize(
    "number", [*FEW_KILLS, *(pytest.param(number, marks=pytest.mark.slow) for number in MANY_KILLS)]
)
def test_run_killed_at_any_moment_goes_on_to_the_same_bits(number: int, harness: Harness):
    outcome = harness.interrupted(number, kill)
    print(outcome)
    assert outcome.alike


@pytest.mark.parametrize("interrupt", [press_ctrl_c, pytest.param(preempt, marks=pytest.mark.slow)])
def test_signal_that_reaches_the_workers_too_keeps_the_run(interrupt: Interrupt, harness: Harness):
    outcome = harness.interrupted(10, interrupt, wants_checkpoint=True, more=["--workers", "2"])
    print(outcome)
    assert outcome.exit == 130
    assert "of the tune stage; all is saved" in outcome.told
    assert outcome.alike


@pytest.mark.parametrize(
    "number", [*FEW_DISKS, *(pytest.param(number, marks=pytest.mark.slow) for number in MANY_DISKS)]
)
def test_full_disk_at_any_moment_leaves_a_checkpoint_to_go_on_from(number: int, harness: Harness):
    outcome = harness.interrupted(number, fill_disk, wants_checkpoint=True)
    print(outcome)
    assert outcome.alike
    assert "Traceback" not in outcome.told
    if outcome.exit:  # Else it had written everything before.
        assert outcome.exit == 1
        assert "Error: Cannot write" in outcome.told
        assert str(Path(harness.folder)) in outcome.told.replace("\n", "")
