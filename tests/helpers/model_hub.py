"""A stand-in for the Hugging Face Hub on this machine that takes models: what its client asks to write and to read."""

import base64
import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from tests.helpers.hub import HubHandler

Files = dict[str, bytes]
OF_A_NEW_REPOSITORY = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
LARGE = (".safetensors", ".bin")


@dataclass
class StandInModel:
    """A model repository: the files of each branch, and what was said of each commit."""

    private: bool = False
    branches: dict[str, Files] = field(default_factory=lambda: {"main": dict(OF_A_NEW_REPOSITORY)})
    messages: list[str] = field(default_factory=list)

    def commit(self, branch: str) -> str:
        """The commit that a branch is at."""
        content = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.branches[branch].items())
        return hashlib.sha1(repr(content).encode()).hexdigest()

    def branch(self, revision: str) -> str | None:
        """The branch of that name, or at that commit; None if there is none."""
        return next((branch for branch in self.branches if revision in (branch, self.commit(branch))), None)


@dataclass
class StandInModelHub:
    """The server.

    Attributes:
        url: Its address.
        tokens: The role of each token; all are of the user "me", who may write me/... and lab/...
        models: What it has, by name.
        large: Files sent to the large storage, by SHA-256.
        asked: The method, the path and the bytes of each request that it answered.
        broken: Status to answer requests with whose method and path match a pattern.
        yaml_warning: What it says of the header of a README.
    """

    url: str = ""
    tokens: dict[str, str] = field(default_factory=lambda: {"hf_write": "write", "hf_read": "read"})
    models: dict[str, StandInModel] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)
    broken: dict[str, int] = field(default_factory=dict)
    yaml_warning: str = ""

    def environment(self, cache: Path, token: str = "") -> dict[str, str]:
        """Variables with which a new process asks this server."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HOME": str(cache),
            "HF_TOKEN": token,
        }


@contextlib.contextmanager
def serve_model_hub(monkeypatch: pytest.MonkeyPatch, cache: Path, token: str = "hf_write") -> Iterator[StandInModelHub]:
    """Serve a Hub, and let the client ask it, with a cache and a token of its own."""
    hub = StandInModelHub()

    class Handler(_ModelHandler):
        stand_in = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
    monkeypatch.setenv("HF_TOKEN", token)
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _ModelHandler(HubHandler):
    """Answers for models."""

    stand_in: StandInModelHub

    def _answer(self, body: bytes = b"") -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        request = f"{self.command} {path}"
        for pattern, status in self.stand_in.broken.items():
            if re.search(pattern, request):
                return self._refuse(status, "Broken")
        if path == "/api/whoami-v2":
            return self._whoami()
        if path == "/api/validate-yaml":
            said = self.stand_in.yaml_warning
            return self._json({"errors": [], "warnings": [{"message": said}] if said else []})
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if found := re.fullmatch(r"/large/(\w+)", path):
            self.stand_in.large[found[1]] = body
            return self._json({})
        if found := re.fullmatch(r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", path):
            return self._batch(json.loads(body))
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(.*))?", path):
            return self._api(found[1], found[2] or "", body)
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._file(*found.groups())
        return self._refuse(404, "Unknown")

    @property
    def _role(self) -> str | None:
        return self.stand_in.tokens.get(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def _whoami(self) -> None:
        if self._role is None:
            return self._refuse(401, "Unauthorized")
        return self._json({"name": "me", "orgs": [{"name": "lab"}], "auth": {"accessToken": {"role": self._role}}})

    def _create(self, wanted: dict[str, Any]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        if self._role != "write" or wanted["organization"] not in ("me", "lab"):
            return self._refuse(403, "Forbidden")
        if name in self.stand_in.models:
            return self._refuse(409, "Conflict")
        self.stand_in.models[name] = StandInModel(private=wanted.get("visibility") == "private")
        return self._json({"url": f"{self.stand_in.url}/{name}", "name": name})

    def _api(self, name: str, rest: str, body: bytes) -> None:
        model = self.stand_in.models.get(name)
        if model is None or (model.private and self._role is None):
            return self._refuse(404, "RepoNotFound")
        kind, _, branch = rest.partition("/")
        if kind == "refs":
            branches = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": "1"} for each in model.branches]
            return self._json({"branches": branches, "tags": [], "converts": [], "pullRequests": []})
        if kind == "branch":
            model.branches.setdefault(branch, dict(model.branches["main"]))
            return self._json({})
        branch = model.branch(branch or "main")
        if branch is None:
            return self._refuse(404, "RevisionNotFound")
        if kind == "tree":
            return self._json([_entry(file, content) for file, content in model.branches[branch].items()])
        if kind in ("", "revision"):
            siblings = [{"rfilename": file} for file in model.branches[branch]]
            told = {"id": name, "sha": model.commit(branch), "private": model.private, "siblings": siblings}
            return self._json({**told, "tags": [], "gated": False, "disabled": False, "downloads": 0, "likes": 0})
        if self._role != "write":
            return self._refuse(403, "Forbidden")
        if kind == "preupload":
            return self._json({"files": [_mode(file["path"]) for file in json.loads(body)["files"]]})
        return self._commit(name, model, branch, [json.loads(line) for line in body.splitlines()])

    def _batch(self, wanted: dict[str, Any]) -> None:
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.stand_in.url}/large/{each['oid']}", "header": {}}}}
            for each in wanted["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _commit(self, name: str, model: StandInModel, branch: str, lines: list[dict[str, Any]]) -> None:
        files = dict(model.branches[branch])
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.stand_in.large[value["oid"]]
        model.branches[branch] = files
        model.messages.append(message)
        commit = model.commit(branch)
        self._json({"commitUrl": f"{self.stand_in.url}/{name}/commit/{commit}", "commitOid": commit, "success": True})

    def _file(self, name: str, branch: str, path: str) -> None:
        model = self.stand_in.models.get(name)
        if model is None or (model.private and self._role is None):
            return self._refuse(404, "RepoNotFound")
        found = model.branch(branch)
        if found is None:
            return self._refuse(404, "RevisionNotFound")
        commit = model.commit(found)
        if path not in model.branches[found]:
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        content = model.branches[found][path]
        return self._send(200, content, {"ETag": f'"{_digest(path, content)}"', "X-Repo-Commit": commit})


def _mode(path: str) -> dict[str, Any]:
    mode = "lfs" if path.endswith(LARGE) else "regular"
    return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}


def _entry(path: str, content: bytes) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": _git_sha1(content)}
    if path.endswith(LARGE):
        entry["lfs"] = {"oid": _digest(path, content), "size": len(content), "pointerSize": 132}
    return entry


def _digest(path: str, content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if path.endswith(LARGE) else _git_sha1(content)


def _git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
