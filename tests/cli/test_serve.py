"""`tl serve` as a person starts and stops it."""

import re
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.helpers.serving import PATIENCE, png, received, started
from tests.helpers.terminal import run_tl
from tl_toolkit.recipes.finetune import Run


def test_serve_tells_where_answers_and_ends_by_signal_with_requests_answered(judged_run: Run, digit: Path):
    with started(judged_run.path) as server:
        assert re.fullmatch(r"page        http://127\.0\.0\.1:\d+", server.told[1])
        assert server.told[0].startswith("model       ")
        assert server.told[2:] == [
            f"predict     curl -F image=@photo.jpg {server.url}/predict",
            "stop        Ctrl-C",
        ]
        assert (
            httpx.post(f"{server.url}/predict?threshold=0.5", content=digit.read_bytes())
            .json()["error"]
            .startswith("threshold is for models")
        )
        assert httpx.get(f"{server.url}/metadata").json()["name"] == "run"
        host, port = server.url.removeprefix("http://").split(":")
        body = digit.read_bytes()
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body[:10])
            time.sleep(0.2)
            ended: list[tuple[int, str]] = []
            thread = threading.Thread(target=lambda: ended.append(server.end()))
            thread.start()
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.url}/health")
            connection.sendall(body[10:])
            answer = received(connection)
        thread.join(PATIENCE)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"class_name"' in answer
    assert ended == [(0, "")]


@pytest.fixture
def digit(tiny_data: Path) -> Path:
    """An image."""
    return min((tiny_data / "test" / "1").iterdir())


def test_serve_ends_by_ctrl_c_without_a_message(judged_run: Run):
    with started(judged_run.path) as server:
        assert server.end(signal.SIGINT) == (0, "")


def test_serve_for_others_warns_and_takes_any_host(judged_run: Run):
    with started(judged_run.path, "--host", "0.0.0.0", "--max-upload", 1) as server:
        url = server.url.replace("0.0.0.0", "127.0.0.1")
        assert httpx.get(f"{url}/health", headers={"Host": "photos.example"}).status_code == 200
        large = httpx.post(f"{url}/predict", content=png(8, 8) + bytes(2**20))
        assert large.json() == {"error": "The request is larger than 1.0 MiB. Send smaller images, or fewer at a time."}
        code, told = server.end()
    assert code == 0
    assert told == "Warning: Whoever can reach this machine can use the model: there is no password.\n"


def test_serve_on_a_port_in_use_says_so(judged_run: Run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_tl("serve", judged_run.path, "--port", port)
    assert done.exit_code == 2
    assert done.stderr == (f"Error: Port {port} of 127.0.0.1 is in use. Choose another: --port 0 takes a free one.\n")


@pytest.mark.parametrize(
    ("host", "message"),
    [
        (
            "..",
            "No host is named '..': choose 127.0.0.1, 0.0.0.0 or another of this machine.",
        ),
        ("192.0.2.1", "192.0.2.1 port 0 cannot be used: Cannot assign requested address."),
    ],
)
def test_serve_on_a_host_that_is_not_here_says_so(host: str, message: str, judged_run: Run):
    done = run_tl("serve", judged_run.path, "--host", host, "--port", 0)
    assert (done.exit_code, done.stderr) == (2, f"Error: {message}\n")


def test_serve_of_a_damaged_model_says_so(tmp_path: Path, judged_run: Run):
    whole = (judged_run.path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    done = run_tl("serve", tmp_path, "--port", 0)
    assert done.exit_code == 1
    assert "model.safetensors is not a model that tl can load" in done.stderr


def test_serve_without_its_libraries_names_the_extra(judged_run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = run_tl("serve", judged_run.path)
    assert done.exit_code == 2
    assert done.stderr == "Error: tl serve needs the package fastapi: pip install 'tl_toolkit[serve]'.\n"
