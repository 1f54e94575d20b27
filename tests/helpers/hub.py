"""A stand-in for the Hugging Face Hub on this machine: what its client and `datasets` ask of it, for a few datasets."""

import contextlib
import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub import HfFileSystem

CONVERTED = "refs/convert/parquet"


@dataclass
class StandInDataset:
    """A dataset of the Hub: a folder for each of its revisions.

    Attributes:
        folders: Folder by revision.
        gated: What the Hub says of who may read it.
        allowed: Whether this client may.
    """

    folders: dict[str, Path]
    gated: bool | str = False
    allowed: bool = True

    def commit(self, revision: str) -> str | None:
        """Return the commit of a revision or a commit; None if there is none."""
        for name in self.folders:
            commit = hashlib.sha1(str(self.folders[name]).encode()).hexdigest()
            if revision in (name, commit):
                return commit
        return None

    def folder(self, commit: str) -> Path:
        """Return the folder of a commit."""
        return next(self.folders[name] for name in self.folders if self.commit(name) == commit)


@dataclass
class StandInHub:
    """The server.

    Attributes:
        url: Its address.
        datasets: What it has, by name.
        asked: The method, the path and the bytes of each request that it answered.
    """

    url: str = ""
    datasets: dict[str, StandInDataset] = field(default_factory=dict)
    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def add(self, name: str, folder: Path, converted: Path | None = None, **more: Any) -> StandInDataset:
        """Add a dataset whose main branch has the files of a folder."""
        folders = {"main": folder} | ({CONVERTED: converted} if converted else {})
        self.datasets[name] = StandInDataset(folders, **more)
        return self.datasets[name]

    def sent(self, ending: str) -> int:
        """Return how many bytes of files with that ending were sent."""
        return sum(size for method, path, size in self.asked if method == "GET" and path.endswith(ending))


@contextlib.contextmanager
def serve_hub(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[StandInHub]:
    """Serve a Hub, and let the client and `datasets` ask it, with caches of their own."""
    hub = StandInHub()

    class Handler(DatasetHandler):
        stand_in = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    constants, config = huggingface_hub.constants, datasets.config
    for module in (constants, config):
        monkeypatch.setattr(module, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(config, "HF_ENDPOINT", hub.url)
    monkeypatch.setattr(config, "USE_PARQUET_EXPORT", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache / "hub"))
    monkeypatch.setattr(config, "HF_DATASETS_CACHE", cache / "datasets")
    monkeypatch.setattr(config, "DOWNLOADED_DATASETS_PATH", cache / "downloads")
    monkeypatch.setattr(config, "EXTRACTED_DATASETS_PATH", cache / "extracted")
    HfFileSystem.clear_instance_cache()
    try:
        yield hub
    finally:
        HfFileSystem.clear_instance_cache()
        server.shutdown()
        server.server_close()


class HubHandler(BaseHTTPRequestHandler):
    """Answers in the form of huggingface.co."""

    stand_in: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer(self._body())

    def do_PUT(self) -> None:
        self._answer(self._body())

    def log_message(self, *_: object) -> None:
        pass

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes = b"") -> None:
        raise NotImplementedError

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code, **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.stand_in.asked.append((self.command, urllib.parse.urlsplit(self.path).path, len(content)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(OSError):  # The client has gone.
                self.wfile.write(content)


class DatasetHandler(HubHandler):
    """Answers for datasets."""

    stand_in: StandInHub

    def _answer(self, body: bytes = b"") -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        found = re.fullmatch(r"(?P<api>/api)?/datasets/(?P<name>[^/]+/[^/]+)(/(?P<rest>.*))?", path)
        dataset = self.stand_in.datasets.get(found["name"]) if found else None
        if found is None or dataset is None:
            return self._refuse(404, "RepoNotFound")
        rest = found["rest"] or ""
        if found["api"]:
            return self._api(found["name"], dataset, rest, body)
        return self._file(dataset, rest.removeprefix("resolve/"))

    def _api(self, name: str, dataset: StandInDataset, rest: str, body: bytes) -> None:
        if rest == "auth-check":
            return self._json({}) if dataset.allowed else self._refuse(403, "GatedRepo")
        if rest == "refs":
            branches = [{"name": each, "ref": f"refs/heads/{each}", "targetCommit": "1"} for each in dataset.folders]
            return self._json({"branches": branches, "tags": [], "converts": []})
        kind, _, rest = rest.partition("/")
        revision, inside = _revision(rest or "main")
        commit = dataset.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        folder = dataset.folder(commit)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if kind in ("", "revision"):
            siblings = [
                {"rfilename": str(file.relative_to(folder)), "size": file.stat().st_size, "blobId": _oid(file)}
                for file in files
            ]
            return self._json(
                {"id": name, "sha": commit, "private": False, "gated": dataset.gated, "siblings": siblings, "tags": []}
                | {"disabled": False, "downloads": 0, "likes": 0}
            )
        entries = [_entry(path, folder) for path in sorted(folder.rglob("*"))]
        if kind == "paths-info":
            query = json.loads(body) if body[:1] == b"{" else urllib.parse.parse_qs(body.decode())
            return self._json([entry for entry in entries if entry["path"] in query.get("paths", [])])
        recursive = "recursive=true" in self.path.lower() or "recursive=1" in self.path
        below = [entry for entry in entries if not inside or entry["path"].startswith(f"{inside}/")]
        if inside and not below:
            return self._refuse(404, "EntryNotFound")
        if not recursive:
            below = [entry for entry in below if "/" not in entry["path"].removeprefix(f"{inside}/" if inside else "")]
        return self._json(below)

    def _file(self, dataset: StandInDataset, rest: str) -> None:
        revision, inside = _revision(rest)
        commit = dataset.commit(revision)
        if commit is None:
            return self._refuse(404, "RevisionNotFound")
        if not dataset.allowed:
            return self._refuse(403, "GatedRepo")
        file = dataset.folder(commit) / inside
        if not file.is_file():
            return self._refuse(404, "EntryNotFound", {"X-Repo-Commit": commit})
        headers = {"ETag": f'"{_oid(file)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        content, status = file.read_bytes(), 200
        if wanted := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(wanted[1]), min(int(wanted[2] or len(content)), len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        return self._send(status, content, headers)


def _revision(rest: str) -> tuple[str, str]:
    """Return the revision that a path begins with, and what comes after it."""
    if rest.startswith(CONVERTED):
        return CONVERTED, rest.removeprefix(CONVERTED).removeprefix("/")
    revision, _, inside = rest.partition("/")
    return revision, inside


def _oid(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def _entry(path: Path, folder: Path) -> dict[str, Any]:
    told = {"path": str(path.relative_to(folder)), "type": "directory" if path.is_dir() else "file"}
    return told | ({"oid": "0" * 40} if path.is_dir() else {"oid": _oid(path), "size": path.stat().st_size})
