"""What a server accepts at most, so that no client can take its memory or wait for ever."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from tl_toolkit.errors import RefusedRequestError
from tl_toolkit.io.files import format_size

MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server.

    Attributes:
        upload_bytes: Size of a request's body.
        pixels: Width times height of an image.
        images: Images of a request.
        requests: Requests that are read or wait for the model at the same time.
        held_bytes: Size of all their bodies together; at least that of one.
        connections: Open connections, idle ones included.
        header_seconds: From the first byte of a request, or the start of a connection, to the end of its headers.
        upload_seconds: For a request's body.
        answer_seconds: From the end of the body to the answer.
        idle_seconds: Between two requests of a connection.
        linger_seconds: For what a client still sends after it was refused, and to fetch the answer.
        shutdown_seconds: For the requests under way when the server is stopped.
    """

    upload_bytes: int = 20 * MEBIBYTE
    pixels: int = 100_000_000
    images: int = 32
    requests: int = 64
    held_bytes: int = 256 * MEBIBYTE
    connections: int = 256
    header_seconds: float = 10.0
    upload_seconds: float = 30.0
    answer_seconds: float = 60.0
    idle_seconds: int = 5
    linger_seconds: float = 5.0
    shutdown_seconds: int = 10


class Room:
    """Counts the requests under way, and the bytes that they hold.

    Used by the event loop alone.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.requests = 0
        self.held_bytes = 0

    @contextlib.contextmanager
    def request(self) -> Iterator["Share"]:
        """Count a request within the block.

        Raises:
            RefusedRequestError: There are too many.
        """
        if self.requests >= self.limits.requests:
            raise RefusedRequestError(503, f"{self.requests} requests wait for the model. Try again in a second.")
        self.requests += 1
        share = Share(self)
        try:
            yield share
        finally:
            self.requests -= 1
            self.held_bytes -= share.size


class Share:
    """The part of a room that one request takes."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = 0

    def add(self, size: int) -> None:
        """Count bytes that have arrived.

        Raises:
            RefusedRequestError: This request's body, or all of them together, are too large.
        """
        limits = self._room.limits
        self.size += size
        self._room.held_bytes += size
        self.check(self.size)
        if self._room.held_bytes > max(limits.held_bytes, limits.upload_bytes):
            held = format_size(limits.held_bytes)
            raise RefusedRequestError(503, f"The requests that wait hold {held} together. Try again in a second.")

    def check(self, size: int) -> None:
        """Check the size of this request's body.

        Raises:
            RefusedRequestError: It is too large.
        """
        most = self._room.limits.upload_bytes
        if size > most:
            raise RefusedRequestError(
                413, f"The request is larger than {format_size(most)}. Send smaller images, or fewer at a time."
            )
