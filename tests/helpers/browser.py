"""Someone who reads a page in a browser and notes what it does."""

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEIGHT = 900

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

LAUNCH = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
"""Arguments of Chromium, whose sandbox does not work for root."""


def find_chromium() -> str | None:
    """The system's Chromium; None if there is none."""
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


class Reader:
    """A page in a window of its own.

    Attributes:
        page: The page.
        requests: Addresses that it asked for, besides itself and what is in it.
        errors: What the console said, violations of the content security policy included, and uncaught errors.
    """

    def __init__(self, browser: "Browser", path: Path, width: int, scheme: Any, **options: Any) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        self.requests: list[str] = []
        self.errors: list[str] = []
        address = path.as_uri()

        def answer(route: Any) -> None:
            if route.request.url == address:
                route.continue_()
            else:
                self.requests.append(route.request.url)
                route.abort()

        self.context.route("**/*", answer)
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.errors.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.goto(address)

    def close(self) -> None:
        self.context.close()

    @property
    def width(self) -> int:
        """Width of what can be scrolled to, in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))

    def color(self, selector: str, name: str = "background-color") -> str:
        """The computed colour of an element."""
        return str(self.page.locator(selector).evaluate("(e, name) => getComputedStyle(e)[name]", name))


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail where a browser must be there."""
    if os.environ.get("TL_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, but TL_REQUIRE_BROWSER is set")
    pytest.skip(reason)
