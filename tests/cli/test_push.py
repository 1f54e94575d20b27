"""`tl push` as a person types it."""

import json
from pathlib import Path

import pytest

from tests.helpers.model_hub import serve_model_hub
from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


def test_push_dry_run_says_what_it_wrote_and_how_to_send_it(judged_run: Run, tmp_path: Path):
    image = next((Path(judged_run.model.metadata.training["data"]) / "test").rglob("*.png"))
    folder = tmp_path / "folder"
    done = run_tl("push", judged_run.path, "me/digits", "--dry-run", folder, "--verify", image)
    assert done.exit_code == 0, done.output
    rows = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == ["compared", "wrote", "next"]
    assert rows[0][1].startswith("the same bits on 1 image: ")
    assert rows[0][1].endswith(", loaded by timm")
    assert rows[2][1] == f"hf upload me/digits {folder}"


def test_push_says_where_it_is_and_how_to_load_it(judged_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    image = next((Path(judged_run.model.metadata.training["data"]) / "test").rglob("*.png"))
    with serve_model_hub(monkeypatch, tmp_path) as hub:
        done = run_tl("push", judged_run.path, "me/digits", "--private", "--verify", image)
        assert done.exit_code == 0, done.output
        commit = hub.models["me/digits"].commit("main")[:7]
        lines = done.stdout.splitlines()
        assert lines[1].startswith(f"pushed      {hub.url}/me/digits (private, commit {commit}, ")
        assert lines[2:] == [
            'timm        timm.create_model("hf-hub:me/digits", pretrained=True)',
            "next        hf download me/digits --local-dir digits",
            "            tl predict --model digits IMAGE",
        ]
        again = run_tl("push", judged_run.path, "me/digits", "--private", "--verify", image)
        assert (again.exit_code, again.stdout) == (2, "")
        assert "--force puts a new commit on top" in again.stderr
        forced = run_tl("push", judged_run.path, "me/digits", "--force", "--verify", image, "--json")
        told = json.loads(forced.stdout)
        assert (told["timm"], told["private"], told["url"]) == (True, True, f"{hub.url}/me/digits")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("digits",), "'digits' lacks the organization or user that the repository is for: write ORG/digits"),
        (("me/digits", "--revision", "a b"), "--revision 'a b' is no name of a branch"),
        (("me/digits", "--dry-run", "."), ". exists; nothing is ever overwritten."),
    ],
)
def test_push_with_a_wrong_name_fails_before_torch_is_imported(
    arguments: tuple[str, ...], message: str, judged_run: Run
):
    done = run_tl("push", judged_run.path, *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"Error: {message}")


def test_push_without_a_token_says_how_to_log_in(judged_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with serve_model_hub(monkeypatch, tmp_path, token=""):
        done = run_tl("push", judged_run.path, "me/digits")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "you have to log in: `hf auth login`, or HF_TOKEN" in done.stderr
