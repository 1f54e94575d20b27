import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.helpers.serving import PATIENCE, Site, Stubborn, png, received, serve_model, until
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.serving.limits import MEBIBYTE, Limits

HEAD = "POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n"
TINY = Limits(upload_bytes=2 * MEBIBYTE, held_bytes=3 * MEBIBYTE, upload_seconds=0.5, header_seconds=0.5)


@pytest.fixture(scope="module")
def tiny_site(judged_run: Run) -> Iterator[Site]:
    """A server that accepts little and waits briefly."""
    with serve_model(judged_run.model, judged_run.path / "model.safetensors", TINY) as found:
        yield found


def all_of(connection: socket.socket) -> bytes:
    """What arrives until the server closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def test_upload_that_says_it_is_too_large_is_refused_before_it_arrives(tiny_site: Site):
    with tiny_site.connect() as connection:
        connection.sendall(HEAD.format(10**12).encode())
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'{"error":"The request is larger than 2.0 MiB. Send smaller images, or fewer at a time."}' in answer


def test_upload_that_grows_too_large_is_refused_on_the_way(tiny_site: Site):
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 100 * MEBIBYTE:
            sent += 2**16
            yield bytes(2**16)

    answer = tiny_site.client.post("/predict", content=endless())
    assert answer.status_code == 413
    files = {"image": ("a.png", bytes(3 * MEBIBYTE))}
    assert tiny_site.client.post("/predict", files=files).status_code == 413


def test_upload_that_does_not_end_is_given_up(tiny_site: Site):
    with tiny_site.connect() as connection:
        connection.sendall(HEAD.format(1000).encode() + b"x")
        started = time.monotonic()
        answer = received(connection)
        assert 0.4 < time.monotonic() - started < PATIENCE / 2
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"The request did not arrive within 0.5 s. Send a smaller image." in answer
    until(lambda: tiny_site.client.get("/health").json()["requests"] == 0)


@pytest.mark.parametrize("begun", ["", "POST /predict HT", "GET /health HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_connection_without_a_whole_request_is_closed(begun: str, tiny_site: Site):
    with tiny_site.connect() as connection:
        connection.sendall(begun.encode())
        started = time.monotonic()
        for _ in range(3):  # A trickle does not keep it open.
            time.sleep(0.1)
            connection.sendall(b"a" if begun else b"")
        assert all_of(connection) == b""
        assert time.monotonic() - started < PATIENCE / 2


def test_connection_that_was_answered_is_closed_when_it_begins_no_other_request(tiny_site: Site):
    with tiny_site.connect() as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert received(connection).startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /hea")
        started = time.monotonic()
        assert all_of(connection) == b""
        assert time.monotonic() - started < PATIENCE / 2


def test_refused_upload_that_goes_on_is_cut_off(judged_run: Run):
    limits = Limits(upload_bytes=1000, linger_seconds=0.3)
    with (
        serve_model(judged_run.model, judged_run.path / "model.safetensors", limits) as site,
        site.connect() as connection,
    ):
        connection.sendall(HEAD.format(10**9).encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
        started = time.monotonic()
        with pytest.raises(OSError):  # Reset or broken, as the system has it.
            while time.monotonic() - started < PATIENCE:
                connection.sendall(b"x" * 1000)
                time.sleep(0.02)
        assert time.monotonic() - started < PATIENCE / 2


def test_client_that_leaves_while_it_sends_leaves_nothing_behind(tiny_site: Site):
    for _ in range(5):
        with tiny_site.connect() as connection:
            connection.sendall(HEAD.format(1000).encode() + b"x")
    until(lambda: tiny_site.client.get("/health").json()["requests"] == 0)
    assert tiny_site.client.post("/predict", content=png(8, 8)).status_code == 200


def test_more_requests_than_wait_are_told_to_come_again(judged_run: Run):
    model, limits = Stubborn(judged_run.model), Limits(requests=3)
    with (
        serve_model(model, judged_run.path / "model.safetensors", limits) as site,  # type: ignore[arg-type]
        ThreadPoolExecutor(3) as pool,
    ):
        waiting = [pool.submit(httpx.post, f"{site.url}/predict", content=png(8, 8), timeout=PATIENCE) for _ in "123"]
        until(lambda: site.client.get("/health").json()["requests"] == 3)
        refused = site.client.post("/predict", content=png(8, 8))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json() == {"error": "3 requests wait for the model. Try again in a second."}
        model.free.set()
        assert [future.result().status_code for future in waiting] == [200] * 3
        assert site.client.post("/predict", content=png(8, 8)).status_code == 200


def test_more_bytes_than_are_held_are_told_to_come_again(judged_run: Run):
    model, limits = Stubborn(judged_run.model), Limits(upload_bytes=MEBIBYTE, held_bytes=MEBIBYTE)
    body = png(8, 8) + bytes(MEBIBYTE * 3 // 4)
    with (
        serve_model(model, judged_run.path / "model.safetensors", limits) as site,  # type: ignore[arg-type]
        ThreadPoolExecutor(1) as pool,
    ):
        waiting = pool.submit(httpx.post, f"{site.url}/predict", content=body, timeout=PATIENCE)
        assert model.begun.wait(PATIENCE)
        refused = site.client.post("/predict", content=body)
        assert refused.status_code == 503
        assert refused.json() == {"error": "The requests that wait hold 1.0 MiB together. Try again in a second."}
        model.free.set()
        assert waiting.result().status_code == 200
        assert site.client.post("/predict", content=body).status_code == 200


def test_answer_that_takes_too_long_is_given_up(judged_run: Run):
    model, limits = Stubborn(judged_run.model), Limits(answer_seconds=0.3)
    with serve_model(model, judged_run.path / "model.safetensors", limits) as site:  # type: ignore[arg-type]
        answer = site.client.post("/predict", content=png(8, 8))
        assert (answer.status_code, answer.json()) == (503, {"error": "The model did not answer within 0.3 s."})
        assert answer.headers["retry-after"] == "1"
        model.free.set()
        until(lambda: site.client.post("/predict", content=png(8, 8)).status_code == 200)


def test_image_that_nobody_waits_for_is_not_computed(judged_run: Run, tmp_path: Path):
    model = Stubborn(judged_run.model)
    with serve_model(model, judged_run.path / "model.safetensors") as site:  # type: ignore[arg-type]
        first = threading.Thread(target=site.client.post, args=("/predict",), kwargs={"content": png(8, 8)})
        first.start()
        assert model.begun.wait(PATIENCE)
        with site.connect() as connection:  # Asks, and leaves.
            connection.sendall(HEAD.format(len(png(8, 8))).encode() + png(8, 8))
            until(lambda: httpx.get(f"{site.url}/health").json()["waiting"] == 1)
        until(lambda: httpx.get(f"{site.url}/health").json()["requests"] == 1)
        model.free.set()
        first.join()
        until(lambda: httpx.get(f"{site.url}/health").json()["waiting"] == 0)
        assert model.batches == [["image"]]
