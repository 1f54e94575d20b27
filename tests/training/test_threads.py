import pytest
import torch

from tl_toolkit.system.cores import cores_to_use
from tl_toolkit.training import threads
from tl_toolkit.training.threads import Threads, choose_threads, torch_threads


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Eight usable cores, as many threads of torch's own, and no wishes."""
    monkeypatch.setattr(threads, "usable_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for variable in (threads.VARIABLE, threads.PROCESSES):
        monkeypatch.delenv(variable, raising=False)
    return monkeypatch


def test_choose_threads_by_itself_takes_the_usable_cores(machine: pytest.MonkeyPatch):
    assert choose_threads(None) == Threads(8, "all usable cores")
    machine.setattr(threads, "usable_cores", lambda: 3)
    assert choose_threads(None) == Threads(3, "all usable cores")


def test_choose_threads_never_exceeds_torchs_own_number(machine: pytest.MonkeyPatch):
    machine.setattr(torch, "get_num_threads", lambda: 4)  # Cores that run two threads each.
    assert choose_threads(None) == Threads(4, "torch's own number")


def test_choose_threads_divides_the_cores_among_processes_of_a_launcher(machine: pytest.MonkeyPatch):
    machine.setenv("LOCAL_WORLD_SIZE", "3")
    assert choose_threads(None).count == 2
    machine.setenv("LOCAL_WORLD_SIZE", "20")
    assert choose_threads(None).count == 1
    machine.setenv("LOCAL_WORLD_SIZE", "some")
    assert choose_threads(None).count == 8


def test_choose_threads_prefers_the_users_word_then_the_environment_then_what_was(machine: pytest.MonkeyPatch):
    assert choose_threads(None, previous=5) == Threads(5, "as the run had before")
    machine.setenv("OMP_NUM_THREADS", "6")
    machine.setattr(torch, "get_num_threads", lambda: 6)
    assert choose_threads(None, previous=5) == Threads(6, "OMP_NUM_THREADS")
    assert choose_threads(7, previous=5) == Threads(7, "as asked")


def test_torch_threads_sets_torch_and_decoding_within_the_block_alone():
    own, cores = torch.get_num_threads(), cores_to_use()
    with torch_threads(own + 2) as chosen:
        assert (chosen, torch.get_num_threads(), cores_to_use()) == (Threads(own + 2, "as asked"), own + 2, own + 2)
    assert (torch.get_num_threads(), cores_to_use()) == (own, cores)
    with torch_threads(None, previous=own + 1):
        assert cores_to_use() == cores  # What torch computes with says nothing of decoding.
    assert torch.get_num_threads() == own


def test_torch_threads_of_the_number_that_torch_has_leaves_torch_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("being set keeps MKL from choosing"))
    with torch_threads(torch.get_num_threads()):
        pass
