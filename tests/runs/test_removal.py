"""Removing runs, and nothing else."""

from pathlib import Path

import filelock
import pytest

from tests.helpers.runs import write_run
from tl_toolkit.errors import ToolkitError, UsageError
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.runs.removal import plan_removal, remove_run


@pytest.fixture
def run(in_folder: Path) -> Path:
    """A run under runs/ with an export and TensorBoard's files."""
    folder = write_run(in_folder / "runs" / "my run", settings={"save": ["state-dict"]})
    for name in ("model.safetensors", "state_dict.pt", "report.html", ".model.safetensors.0a1b.tmp"):
        (folder / name).write_bytes(bytes(100))
    (folder / "tensorboard" / "sub").mkdir(parents=True)
    (folder / "tensorboard" / "events.out.tfevents.1").write_bytes(bytes(10))
    (folder / "tensorboard" / "sub" / "events.out.tfevents.2").write_bytes(bytes(10))
    return folder


def test_remove_run_by_its_short_name_leaves_nothing(run: Path):
    removal = plan_removal("my run")
    assert removal.folder == Path("runs") / "my run"
    assert removal.kept == []
    assert removal.size == sum(path.stat().st_size for path in run.rglob("*") if path.is_file())
    remove_run(removal)
    assert list(run.parent.iterdir()) == []


def test_remove_run_knows_every_file_of_a_finished_run(tiny_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tiny_run.path.parent)
    removal = plan_removal("run")
    assert removal.kept == []
    assert {path.name for path in removal.files} == {path.name for path in tiny_run.path.iterdir()}


def test_remove_run_leaves_what_others_put_there(run: Path):
    (run / "thesis.pdf").write_text("mine")
    (run / "full_model.pt").write_text("exported by hand")
    (run / "photos").mkdir()
    (run / "tensorboard" / "notes.txt").touch()
    removal = plan_removal(str(run))
    assert removal.kept == ["full_model.pt", "photos", "tensorboard/notes.txt", "thesis.pdf"]
    remove_run(removal)
    assert sorted(str(path.relative_to(run)) for path in run.rglob("*")) == [
        "full_model.pt",
        "photos",
        "tensorboard",
        "tensorboard/notes.txt",
        "thesis.pdf",
    ]


def test_remove_run_follows_no_link(run: Path, tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "events.out.tfevents.3").write_bytes(bytes(10))
    (run / "model.safetensors").unlink()
    (run / "model.safetensors").symlink_to(outside / "events.out.tfevents.3")
    (run / "tensorboard" / "linked").symlink_to(outside)
    (run / "predictions.safetensors").symlink_to(outside)
    remove_run(plan_removal(str(run)))
    assert (outside / "events.out.tfevents.3").stat().st_size == 10
    assert [str(path.relative_to(run)) for path in run.rglob("*")] == ["tensorboard", "tensorboard/linked"]


def test_plan_removal_refuses_a_link_to_a_run(run: Path):
    Path("runs/link").symlink_to(run)
    with pytest.raises(UsageError, match=r"runs/link is a link to .*my run\. Remove the link by itself, or name that"):
        plan_removal("link")


def test_plan_removal_refuses_folders_that_are_not_inside(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_run(tmp_path / "elsewhere" / "run")
    with pytest.raises(UsageError, match=r"run is not inside of .*working directory: change to a folder above the run"):
        plan_removal("../elsewhere/run")
    Path("runs/other").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="is not inside of"):
        plan_removal("runs/other/run")
    monkeypatch.chdir(run)
    with pytest.raises(UsageError, match="is not inside of"):
        plan_removal(".")


def test_plan_removal_takes_runs_where_runs_is_a_link(in_folder: Path, tmp_path: Path):
    write_run(tmp_path / "disk" / "run")
    Path("runs").symlink_to(tmp_path / "disk")
    remove_run(plan_removal("run"))
    assert list((tmp_path / "disk").iterdir()) == []


def test_plan_removal_refuses_settings_of_another_program(in_folder: Path):
    Path("project").mkdir()
    Path("project/config.yaml").write_text("name: project")
    with pytest.raises(
        UsageError, match=r"project has a config.yaml, but nothing else of a run .* Nothing was removed"
    ):
        plan_removal("project")


def test_plan_removal_refuses_no_run_and_suggests_names_like_it(run: Path):
    with pytest.raises(UsageError, match="my ran is not a run folder: it has no config.yaml. Did you mean runs/my run"):
        plan_removal("my ran")


def test_plan_removal_refuses_a_run_that_trains(run: Path):
    with filelock.FileLock(run / ".lock"), pytest.raises(UsageError, match="A process trains in runs/my run now"):
        plan_removal("my run")
    assert (run / "config.yaml").exists()


def test_remove_run_that_has_begun_to_train_meanwhile_removes_nothing(run: Path):
    removal = plan_removal("my run")
    with filelock.FileLock(run / ".lock"), pytest.raises(UsageError, match="Another process is training in"):
        remove_run(removal)
    assert (run / "model.safetensors").exists()


def test_remove_run_that_is_interrupted_can_be_removed_again(run: Path, monkeypatch: pytest.MonkeyPatch):
    unlink = Path.unlink

    def fail(path: Path, missing_ok: bool = False) -> None:
        if path.name == "summary.json":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail)
        with pytest.raises(ToolkitError, match=r"Cannot remove .*summary.json: Permission denied\."):
            remove_run(plan_removal("my run"))
    remove_run(plan_removal("my run"))
    assert not run.exists()
