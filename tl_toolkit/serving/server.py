"""Listening, and ending when it is asked to."""

import contextlib
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator

import uvicorn
from fastapi import FastAPI

from tl_toolkit.serving.limits import Limits
from tl_toolkit.serving.protocol import protocol_with

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(app: FastAPI, listener: socket.socket, limits: Limits, on_ready: Callable[[], None] = lambda: None) -> None:
    """Answer requests until Ctrl-C or SIGTERM; then finish those under way.

    Args:
        app: What `make_app` returned.
        listener: What `listen` returned; closed at the end.
        limits: Of the connections.
        on_ready: Called once requests are answered.
    """
    Server(app, limits, on_ready).run([listener])


class Server(uvicorn.Server):
    """A uvicorn server that logs nothing of its own, and returns when a signal has ended it."""

    def __init__(self, app: FastAPI, limits: Limits, on_ready: Callable[[], None]) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=protocol_with(limits),  # type: ignore[arg-type]  # A factory as well as a class will do.
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=limits.connections,
                timeout_keep_alive=limits.idle_seconds,
                timeout_graceful_shutdown=limits.shutdown_seconds,
            )
        )
        self._on_ready = on_ready
        logging.getLogger("uvicorn").addHandler(logging.NullHandler())
        logging.getLogger("uvicorn").propagate = False  # Else Python prints what nobody handles, tracebacks included.

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell it."""
        await super().startup(sockets)
        if self.started:
            self._on_ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Within the block, the first signal ends the server and a second Ctrl-C does not wait for requests.

        uvicorn would raise the signal again at the end, which kills the process.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
