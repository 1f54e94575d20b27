"""What holds for every request, before it is looked at."""

import ipaddress
import logging
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tl_toolkit.serving.answers import Json

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
"""Nothing of an answer is kept, guessed at or shown by another site."""

logger = logging.getLogger(__name__)


class Guard:
    """Refuses requests for other hosts, adds headers, and answers errors that nothing else handles.

    A page of another site can make its own name point to this machine, and would then read what a browser gets from
    here (DNS rebinding). The browser still sends that name as the host, which tells it.

    Args:
        app: The application.
        local: Whether the host must be this machine.
    """

    def __init__(self, app: ASGIApp, local: bool) -> None:
        self.app = app
        self.local = local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message = {**message, "headers": [*message["headers"], *HEADERS]}
            await send(message)

        host = _host(scope)
        if self.local and not _is_of_this_machine(host):
            message = (
                f"This server is for this machine, but the request is for the host {host!r}. Call it by 127.0.0.1 or "
                "localhost; a proxy must name it so too."
            )
            await Json({"error": message}, 400)(scope, receive, send_with_headers)
            return
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception as error:  # noqa: BLE001  # A server goes on.
            logger.warning("A request failed: %s: %s", type(error).__name__, error)
            if not begun:
                answer = Json({"error": "The server failed; its terminal says why."}, 500)
                await answer(scope, receive, send_with_headers)


def _host(scope: MutableMapping[str, Any]) -> str:
    """Return the host that a request is for, without its port."""
    named = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    host = named.rpartition(":")[0] if named.rpartition(":")[2].isdecimal() and not named.endswith("]") else named
    return host.strip("[]").lower()


def _is_of_this_machine(host: str) -> bool:
    """Return whether a host can be meant for this machine: any address can, which no other site can take as its name.

    Without a host, as of HTTP/1.0, it is no browser that asks.
    """
    if host in ("", "localhost"):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
