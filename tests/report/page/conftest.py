"""Reports opened in a browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.helpers.browser import Reader
from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.page.render import render

if TYPE_CHECKING:
    from playwright.sync_api import Browser


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
