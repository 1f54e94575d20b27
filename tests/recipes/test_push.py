"""Publishing on a stand-in for the Hugging Face Hub, with its own client."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch

import tl_toolkit as tl
from tests.helpers.model_hub import StandInModel, StandInModelHub, serve_model_hub
from tl_toolkit.errors import UnknownNameError, UploadError, UsageError
from tl_toolkit.events import DecisionEvent, Event, WarningEvent
from tl_toolkit.exports.writing import plain_copy
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.recipes.push import Push

PUBLISHED = {".gitattributes", "README.md", "config.json", "model.safetensors"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandInModelHub]:
    """A Hub, and a token that can write."""
    with serve_model_hub(monkeypatch, tmp_path / "cache") as served:
        yield served


def push(run: Run, name: str = "me/digits", **options: object) -> Push:
    """Publish a run, compared on one of its images."""
    image = next((Path(run.model.metadata.training["data"]) / "test").rglob("*.png"))
    return tl.push(run.path, name, verify=image, **options)


def written(hub: StandInModelHub) -> list[str]:
    """The requests that change something."""
    return [f"{method} {path}" for method, path, _ in hub.asked if method != "GET" and method != "HEAD"]


def test_push_makes_a_repository_that_timm_and_tl_load(judged_run: Run, hub: StandInModelHub, tmp_path: Path):
    told: list[Event] = []
    done = push(judged_run, callback=told.append)
    assert set(hub.models["me/digits"].branches["main"]) == PUBLISHED
    assert hub.models["me/digits"].messages == [f"Upload model with tl_toolkit {tl.__version__}"]
    assert (done.path, done.upload.private) == (None, False)
    assert done.upload.url == f"{hub.url}/me/digits"
    assert done.upload.commit == hub.models["me/digits"].commit("main")
    assert [event.what for event in told if isinstance(event, DecisionEvent)] == ["upload"]
    images = torch.randn(2, 3, 32, 32)
    expected = plain_copy(judged_run.model).logits(images)
    model = timm.create_model("hf-hub:me/digits", pretrained=True).eval()
    with torch.inference_mode():
        assert torch.equal(model(images), expected)
    folder = huggingface_hub.snapshot_download("me/digits", local_dir=tmp_path / "digits")
    loaded = plain_copy(tl.load(folder, device="cpu"))
    assert torch.equal(loaded.logits(images), expected)
    assert loaded.class_names == ("0", "1", "7")


def test_pushed_weights_are_the_start_of_another_run(judged_run: Run, hub: StandInModelHub):
    push(judged_run)
    built = tl.build_model("timm:test_resnet", 5, weights="hf-hub:me/digits")
    ours = judged_run.model.module.state_dict()
    assert torch.equal(built.state_dict()["layer1.0.conv1.weight"], ours["layer1.0.conv1.weight"].contiguous())


def test_code_of_the_pushed_readme_runs_with_timm_alone(
    judged_run: Run, tiny_data: Path, hub: StandInModelHub, tmp_path: Path
):
    push(judged_run)
    readme = hub.models["me/digits"].branches["main"]["README.md"].decode()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)
    assert code is not None
    image = max((tiny_data / "test").rglob("*.png"))
    script = "import sys\nsys.modules['tl_toolkit'] = None\n" + code[1].replace("image.jpg", str(image))
    command = [sys.executable, "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=hub.environment(tmp_path / "home"), cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    printed = dict(line.split(": ") for line in done.stdout.splitlines())
    expected = tl.load(judged_run.path, device="cpu", precision="fp32").predict(image)
    assert {name: float(text[:-1]) for name, text in printed.items()} == pytest.approx(
        {each.class_name: each.probability * 100 for each in expected.top_k}, abs=0.2
    )


def test_push_private_makes_a_private_repository(judged_run: Run, hub: StandInModelHub):
    assert push(judged_run, "lab/digits", private=True).upload.private
    assert hub.models["lab/digits"].private


def test_push_to_a_repository_with_files_needs_force(judged_run: Run, hub: StandInModelHub):
    push(judged_run)
    with pytest.raises(UsageError) as caught:
        push(judged_run)
    assert str(caught.value) == (
        "me/digits exists and has README.md, config.json, model.safetensors on main. force=True puts a new commit on "
        "top, and the Hub keeps the old one; revision=BRANCH makes a branch."
    )
    hub.models["me/digits"].branches["main"]["notes.txt"] = b"kept"
    push(judged_run, force=True)
    assert set(hub.models["me/digits"].branches["main"]) == {*PUBLISHED, "notes.txt"}
    assert len(hub.models["me/digits"].messages) == 2


def test_push_to_a_new_repository_that_is_empty_needs_no_force(judged_run: Run, hub: StandInModelHub):
    hub.models["me/digits"] = StandInModel()
    push(judged_run)
    assert set(hub.models["me/digits"].branches["main"]) == PUBLISHED
    assert "POST /api/repos/create" not in written(hub)


def test_push_to_a_new_branch_leaves_main_as_it_is(judged_run: Run, hub: StandInModelHub):
    hub.models["me/digits"] = StandInModel()
    hub.models["me/digits"].branches["main"]["README.md"] = b"Mine"
    done = push(judged_run, revision="v2")
    assert hub.models["me/digits"].branches["main"]["README.md"] == b"Mine"
    assert set(hub.models["me/digits"].branches["v2"]) == PUBLISHED
    assert done.upload.url == f"{hub.url}/me/digits/tree/v2"
    assert timm.create_model("hf-hub:me/digits@v2", pretrained=True).num_classes == 3


def test_push_private_to_a_public_repository_refuses(judged_run: Run, hub: StandInModelHub):
    hub.models["me/digits"] = StandInModel(private=False)
    with pytest.raises(UsageError, match=r"me/digits exists and is public: private=True is for new repositories"):
        push(judged_run, private=True)
    assert written(hub) == []


def test_push_that_the_hub_refuses_says_why(judged_run: Run, hub: StandInModelHub):
    hub.broken["POST .*/commit/main"] = 413
    with pytest.raises(UploadError, match=r"The Hugging Face Hub refuses me/digits: Broken\."):
        push(judged_run)


def test_push_tells_what_the_hub_says_of_the_card(judged_run: Run, hub: StandInModelHub):
    hub.yaml_warning = "empty license"
    told: list[Event] = []
    push(judged_run, callback=told.append)
    assert [event.message for event in told if isinstance(event, WarningEvent)] == [
        "Warnings while validating metadata in README.md:\n- empty license"
    ]


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ("", "To write me/digits you have to log in: `hf auth login`, or HF_TOKEN in the environment. https://"),
        ("hf_old", "The Hugging Face Hub does not accept your token: it is wrong or has expired. Log in again: `hf"),
        ("hf_read", "The token of me can only read, so it cannot write me/digits: make one that can write on https://"),
    ],
)
def test_push_without_a_token_that_can_write_fails_before_any_work(
    token: str, message: str, judged_run: Run, hub: StandInModelHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(UploadError) as caught:
        tl.push(judged_run.path / "no such folder", "me/digits")
    assert str(caught.value).startswith(message)
    assert written(hub) == []


def test_push_to_another_organization_says_that_it_is_not_yours(judged_run: Run, hub: StandInModelHub):
    with pytest.raises(
        UploadError, match=r"You may not write other/digits \(Forbidden\): other is neither your name nor an organiz"
    ):
        push(judged_run, "other/digits")
    assert hub.models == {}


def test_push_to_an_unknown_pull_request_refuses(judged_run: Run, hub: StandInModelHub):
    hub.models["me/digits"] = StandInModel()
    with pytest.raises(UnknownNameError, match=r"No pull request of me/digits is named 'refs/pr/3'"):
        push(judged_run, revision="refs/pr/3")


@pytest.mark.parametrize("step", ["POST /api/repos/create", "PUT /large", "POST .*/commit/main"])
def test_push_that_breaks_off_publishes_nothing_and_can_be_tried_again(
    step: str, judged_run: Run, hub: StandInModelHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)  # Between its attempts.
    hub.broken[step] = 500
    with pytest.raises(UploadError) as caught:
        push(judged_run)
    assert "The Hugging Face Hub cannot be reached (Broken); " in str(caught.value)
    assert "nothing was published. dry_run=FOLDER writes the folder without it" in str(caught.value)
    assert all(set(model.branches["main"]) == {".gitattributes"} for model in hub.models.values())
    hub.broken.clear()
    push(judged_run)
    assert set(hub.models["me/digits"].branches["main"]) == PUBLISHED


def test_push_without_a_network_says_how_to_do_it_later(
    judged_run: Run, hub: StandInModelHub, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UploadError, match=r"cannot be reached \(.+\); nothing was published\. dry_run=FOLDER writes"):
        push(judged_run)


def test_push_offline_by_choice_says_so(judged_run: Run, hub: StandInModelHub, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    huggingface_hub.utils._http.close_session()
    with pytest.raises(UploadError, match="HF_HUB_OFFLINE is set, so nothing is sent"):
        push(judged_run)


def test_dry_run_writes_the_folder_without_asking_anyone(judged_run: Run, hub: StandInModelHub, tmp_path: Path):
    done = push(judged_run, dry_run=tmp_path / "new" / "folder")
    assert hub.asked == []
    assert {file.name for file in (tmp_path / "new" / "folder").iterdir()} == PUBLISHED - {".gitattributes"}
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["folder"]
    assert (done.upload, done.path) == (None, tmp_path / "new" / "folder")
    note = json.loads((done.path / "config.json").read_text())["tl_toolkit"]
    assert note["comparison"]["identical"] is True
    with pytest.raises(UsageError, match="exists; nothing is ever overwritten"):
        push(judged_run, dry_run=tmp_path / "new" / "folder")


def test_dry_run_that_fails_leaves_nothing(judged_run: Run, tmp_path: Path):
    (tmp_path / "no.png").write_text("no image")
    with pytest.raises(tl.ToolkitError, match="None of the images"):
        tl.push(judged_run.path, "me/digits", dry_run=tmp_path / "folder", verify=tmp_path / "no.png")
    assert [file.name for file in tmp_path.iterdir()] == ["no.png"]


def test_push_of_a_file_without_its_run_has_a_short_card(judged_run: Run, tmp_path: Path):
    file = tmp_path / "alone" / "model.safetensors"
    file.parent.mkdir()
    file.write_bytes((judged_run.path / "model.safetensors").read_bytes())
    image = next((Path(judged_run.model.metadata.training["data"]) / "test").rglob("*.png"))
    tl.push(file, "me/digits", dry_run=tmp_path / "folder", verify=image)
    assert "| classes | 0, 1, 7 |" in (tmp_path / "folder" / "README.md").read_text()
