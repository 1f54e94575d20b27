import pytest

from tl_toolkit.errors import UsageError
from tl_toolkit.system import processes
from tl_toolkit.system.processes import World, joined, launched

LAUNCHER = {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "29500"}


@pytest.fixture
def launcher(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*LAUNCHER, "LOCAL_WORLD_SIZE", *processes.SHARDING):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def test_launched_without_a_launcher_is_a_single_process(launcher: pytest.MonkeyPatch):
    assert launched() == World()
    launcher.setenv("WORLD_SIZE", "1")
    assert launched() == World()
    with joined() as here:
        assert here == World()


def test_launched_takes_the_place_that_the_launcher_gave(launcher: pytest.MonkeyPatch):
    for name, value in LAUNCHER.items():
        launcher.setenv(name, value)
    launcher.setenv("LOCAL_WORLD_SIZE", "2")
    assert launched() == World(rank=3, size=4, local_rank=1, local_size=2)
    assert not launched().is_first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"RANK": "", "MASTER_PORT": ""},
            "WORLD_SIZE is 4, but RANK, MASTER_PORT are not set. A launcher sets them all: start with `torchrun "
            "--nproc-per-node 4 -m tl_toolkit finetune ...`, or unset WORLD_SIZE to train in one process.",
        ),
        ({"WORLD_SIZE": "many"}, "WORLD_SIZE must be a number, not 'many'. Let torchrun set it, or unset it."),
        ({"RANK": "4"}, "RANK is 4, but WORLD_SIZE is 4: ranks count from 0. Let torchrun set them."),
        (
            {"ACCELERATE_USE_FSDP": "true"},
            "tl does not train with FSDP: each process holds the whole network. Start without it, and reduce memory "
            'with accumulate, precision="bf16" or tune="last-stage".',
        ),
    ],
)
def test_launched_with_wrong_variables_says_what_to_do(
    changes: dict[str, str], message: str, launcher: pytest.MonkeyPatch
):
    for name, value in {**LAUNCHER, **changes}.items():
        launcher.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        launched()
    assert str(caught.value) == message


def test_one_process_agrees_with_itself():
    assert processes.gather("a") == ["a"]
    assert processes.broadcast("a") == "a"
    assert processes.anywhere(True, False) == (True, False)
    processes.refuse_difference("versions", {"torch": "2"})
    with processes.together(), processes.one_per_machine_first():
        pass
