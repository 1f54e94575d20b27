"""Connections that give up on clients that are too slow."""

import asyncio
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tl_toolkit.serving.limits import Limits


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 with a time limit for headers, for the rest of a refused request, and for fetching the answer.

    uvicorn itself limits only the time between two requests. How long a body may take is up to `read_uploads`.
    """

    limits = Limits()

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        self._timer: asyncio.TimerHandle | None = None
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Handle what has arrived."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the rest of the request, or for the client to fetch the answer."""
        self._unwatch()
        super().on_response_complete()
        if not self.transport.is_closing() and self.conn.their_state is h11.SEND_BODY:
            self._timer = self.loop.call_later(self.limits.linger_seconds, self.transport.close)
        elif self.transport.get_write_buffer_size():
            self._timer = self.loop.call_later(self.limits.linger_seconds, self._abort_unread)

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Wait for headers that have not all arrived; a timer that runs goes on."""
        if self.conn.their_state is not h11.IDLE:
            if self.conn.our_state is not h11.DONE:  # A request that was answered is not waited for longer.
                self._unwatch()
        elif self._timer is None and self.timeout_keep_alive_task is None:
            self._timer = self.loop.call_later(self.limits.header_seconds, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _abort_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


def protocol_with(limits: Limits) -> Callable[..., asyncio.Protocol]:
    """Return the protocol with other limits; uvicorn makes one object of it for each connection."""
    return type("ImpatientProtocol", (ImpatientProtocol,), {"limits": limits})
