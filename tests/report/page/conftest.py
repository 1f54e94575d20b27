"""A browser for the tests of the page: one for the session, the system's Chromium."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.browser import CHROMIUM, LAUNCH, Reader, find_chromium, unavailable
from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.page.render import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests with a browser in one process, so that one is started."""
    for item in items:
        if isinstance(item, pytest.Function) and "browser" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable('playwright is not installed: pip install -e ".[dev]"')
    found = find_chromium()
    if found is None:
        unavailable(f"no Chromium on the PATH: none of {', '.join(CHROMIUM)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=LAUNCH)
        yield started
        started.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """The folder for screenshots; TL_SCREENSHOTS names one that is kept."""
    folder = Path(os.environ.get("TL_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def read(browser: "Browser", tmp_path: Path) -> Iterator[Callable[..., Reader]]:
    """Open content, or a page, as a reader does who watches for requests and errors."""
    readers: list[Reader] = []

    def open_page(content: ReportContent | str, width: int = 1440, scheme: str = "light", **options: object) -> Reader:
        path = tmp_path / f"report{len(readers)}.html"
        path.write_text(content if isinstance(content, str) else render(content), encoding="utf-8")
        readers.append(Reader(browser, path, width, scheme, **options))
        return readers[-1]

    yield open_page
    for reader in readers:
        reader.close()
