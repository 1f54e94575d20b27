"""A server in this process, and models to serve."""

import asyncio
import contextlib
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from PIL import Image

from tl_toolkit.inference.predictor import Predictor
from tl_toolkit.serving.address import listen
from tl_toolkit.serving.app import ServedModel, make_app
from tl_toolkit.serving.limits import Limits
from tl_toolkit.serving.server import Server

PATIENCE = 60.0


@dataclass
class Site:
    """A server that answers.

    Attributes:
        url: Where.
        port: On 127.0.0.1.
        client: Asks it.
        server: What answers.
    """

    url: str
    port: int
    client: httpx.Client
    server: Server

    def connect(self) -> socket.socket:
        """A bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)


@contextlib.contextmanager
def serve_app(app: FastAPI, limits: Limits | None = None) -> Iterator[Site]:
    """Serve an application within the block."""
    ready, listener = threading.Event(), listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    server = Server(app, limits or Limits(), ready.set)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
    thread.start()
    assert ready.wait(PATIENCE)
    url = f"http://127.0.0.1:{port}"
    with httpx.Client(base_url=url, timeout=PATIENCE) as client:
        yield Site(url, port, client, server)
    server.should_exit = True
    thread.join(PATIENCE)
    assert not thread.is_alive()


@contextlib.contextmanager
def serve_model(model: Predictor, file: Path, limits: Limits | None = None, name: str = "digits") -> Iterator[Site]:
    """Serve a model within the block."""
    with serve_app(make_app(ServedModel(model, name, file), limits), limits) as site:
        yield site


class Stubborn:
    """A model whose computing waits until it is let go, as a slow one does.

    Attributes:
        begun: Set when it computes.
        free: Lets it go on.
        batches: The names of the images of each batch.
        problem: Raised in place of answers.
    """

    def __init__(self, model: Predictor, waits: bool = True) -> None:
        self.begun, self.free = threading.Event(), threading.Event()
        self.batches: list[list[str]] = []
        self.problem: Exception | None = None
        self._model = model
        if not waits:
            self.free.set()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._model, name)
        return self._waiting(found) if name == "predict_pixels" else found

    def _waiting(self, predict: Callable[..., Any]) -> Callable[..., Any]:
        def waiting(pixels: Any, names: list[str], *arguments: Any) -> Any:
            self.batches.append(list(names))
            self.begun.set()
            assert self.free.wait(PATIENCE)
            if self.problem:
                raise self.problem
            return predict(pixels, names, *arguments)

        return waiting


class Started:
    """A server in a process of its own.

    Attributes:
        told: The lines that it printed until it was ready.
        url: Where it answers.
    """

    def __init__(self, *arguments: object, **environment: str) -> None:
        command = [sys.executable, "-m", "tl_toolkit", "serve", *map(str, arguments), "--port", "0"]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        )
        assert self.process.stdout is not None
        self.told: list[str] = []
        while not self.told or not self.told[-1].startswith("stop"):
            line = self.process.stdout.readline()
            assert line, self.told
            self.told.append(line.rstrip())
        self.url = self.told[1].split()[1]

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to end; return its exit code and what else it printed."""
        assert self.process.stdout is not None
        watch = threading.Timer(PATIENCE, self.process.kill)
        watch.start()
        self.process.send_signal(number)
        rest = self.process.stdout.read()  # communicate() would leave out what readline() has read ahead.
        watch.cancel()
        return self.process.wait(PATIENCE), rest


@contextlib.contextmanager
def started(*arguments: object, **environment: str) -> Iterator[Started]:
    """Start a server, and kill it if the block leaves it running."""
    server = Started(*arguments, **environment)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def png(width: int, height: int) -> bytes:
    """A black image."""
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def received(connection: socket.socket) -> bytes:
    """An answer in JSON, its headers included."""
    parts = connection.recv(65536)
    while not parts.endswith((b"}", b"]")):
        part = connection.recv(65536)
        assert part
        parts += part
    return parts
