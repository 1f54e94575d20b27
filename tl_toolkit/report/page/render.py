"""Drawing a report as one HTML file."""

import base64

from tl_toolkit.report.content import ReportContent
from tl_toolkit.report.page import formats
from tl_toolkit.text import printable


def render(content: ReportContent) -> str:
    """Return the page: one HTML document that makes no request.

    Args:
        content: What it shows.
    """
    import jinja2  # Only reports need it.

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tl_toolkit.report.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=formats.percent, value=formats.value, interval=formats.interval, data_uri=data_uri
    )
    return environment.get_template("report.html").render(content=content)


def _shown(value: object) -> object:
    """Escape what no page can hold or what would reorder its text; class names may have any of it."""
    if type(value) is not str:  # Markup is a str too, and escaped already.
        return value
    return "\n".join(printable(line) for line in value.split("\n"))


def data_uri(picture: bytes) -> str:
    """Return a picture as the address that holds it."""
    kind = "webp" if picture[8:12] == b"WEBP" else "png" if picture[:4] == b"\x89PNG" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
