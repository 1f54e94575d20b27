import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import HfFileMetadata

from tl_toolkit.errors import WeightsError
from tl_toolkit.models.weights import hub
from tl_toolkit.models.weights.hub import fetch_timm_repository

CONFIG = json.dumps({"architecture": "resnet18", "num_classes": 3, "pretrained_cfg": {}}).encode()
WEIGHTS = b"weights" * 1000
GIT_SHA1 = hashlib.sha1(b"blob %d\0" % len(CONFIG) + CONFIG).hexdigest()
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()

Answers = Callable[..., None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Answers:
    """Sets what the Hub says of its files; they lie in the Hub's cache as the client puts them there."""

    def download(repository: str, name: str) -> str:
        path = tmp_path / "blobs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(CONFIG if name == "config.json" else WEIGHTS)
        return str(path)

    def set_answers(location: str = "https://cdn.org/x", size: int = 1000, **etags: str) -> None:
        def metadata(url: str, **_: Any) -> HfFileMetadata:
            etag = etags.get("config", GIT_SHA1) if url.endswith("config.json") else etags.get("weights", SHA256)
            return HfFileMetadata(commit_hash="1", etag=etag, location=location, size=size, xet_file_data=None)

        monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", metadata)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return set_answers


def test_fetch_of_a_repository_whose_hashes_are_right_gives_its_files(answers: Answers):
    answers()
    repository = fetch_timm_repository("a/b")
    assert (repository.architecture, repository.num_classes) == ("resnet18", 3)
    assert repository.weights_file.read_bytes() == WEIGHTS


@pytest.mark.parametrize("changed", [{"config": "0" * 40}, {"weights": "0" * 64}])
def test_fetch_of_another_file_than_expected_refuses_and_deletes_it(
    changed: dict[str, str], answers: Answers, tmp_path: Path
):
    answers(**changed)
    with pytest.raises(WeightsError, match="from the Hub is not the expected file: its hash is not 000"):
        fetch_timm_repository("a/b")
    left = {path.name for path in (tmp_path / "blobs").iterdir()}
    assert left == (set() if "config" in changed else {"config.json"})


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"location": "http://cdn.org/x"}, r"leads to http://cdn\.org/x, which is not fetched: only https is"),
        ({"location": "http://127.0.0.1/x"}, r"leads to http://127\.0\.0\.1/x, which is not fetched"),
        ({"size": 2**40}, r"has 1024\.0 GiB or more; at most 32\.0 GiB are downloaded"),
        ({"config": "a-tag"}, "is not fetched: the Hub tells no hash to check it by"),
    ],
)
def test_fetch_that_is_not_protected_refuses_before_the_download(
    said: dict[str, Any], message: str, answers: Answers, tmp_path: Path
):
    answers(**said)
    with pytest.raises(WeightsError, match=message):
        fetch_timm_repository("a/b")
    assert not (tmp_path / "blobs").exists()


def test_fetch_of_a_damaged_file_in_the_cache_refuses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / SHA256).write_bytes(b"damaged")
    (tmp_path / "config.json").symlink_to(tmp_path / SHA256)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: str(tmp_path / "config.json"))
    with pytest.raises(WeightsError, match=r"config\.json is damaged: its hash is not .* Delete it"):
        fetch_timm_repository("a/b")


def test_fetch_from_a_hub_that_does_not_answer_ends_before_it_does(monkeypatch: pytest.MonkeyPatch):
    release, answered = threading.Event(), threading.Event()

    def answer_late(*_: object, **__: object) -> None:
        release.wait(20)
        answered.set()

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", answer_late)
    monkeypatch.setattr(hub, "ANSWER_SECONDS", 0.2)
    with pytest.raises(WeightsError, match=r"the Hub cannot be asked \(no answer within"):
        fetch_timm_repository("a/b")
    assert not answered.is_set()
    release.set()
