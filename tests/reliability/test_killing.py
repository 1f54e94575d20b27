"""Fast: one process killed. The long form is `pytest -m slow tests/reliability` (see CONTRIBUTING.md)."""

from collections.abc import Iterator

import pytest

from tests.reliability.killing import Harness


@pytest.fixture(scope="module")
def harness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    yield Harness(tmp_path_factory.mktemp("killing"))


@pytest.mark.parametrize(
    "number", [1, *(pytest.param(number, marks=pytest.mark.slow) for number in range(20) if number != 1)]
)
def test_process_killed_at_any_moment_ends_all_and_the_run_goes_on(number: int, harness: Harness):
    outcome = harness.killed(number)
    print(outcome)
    assert outcome.ended
    assert outcome.alike
