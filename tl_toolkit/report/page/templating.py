"""Templates of pages that make no request: what is in them is named by their content security policy."""

import base64
import hashlib
from typing import TYPE_CHECKING

from tl_toolkit.text import printable

if TYPE_CHECKING:
    import jinja2


def open_templates(*packages: str) -> "jinja2.Environment":
    """Return an environment with the templates of packages; of the same name, those of the first one."""
    import jinja2  # Only pages need it.

    return jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def source(environment: "jinja2.Environment", name: str) -> str:
    """Return a file of the templates as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def policy_hash(text: str) -> str:
    """Return how a content security policy names a script or style of the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _shown(value: object) -> object:
    """Escape what no page can hold or what would reorder its text; class names may have any of it."""
    if type(value) is not str:  # Markup is a str too, and escaped already.
        return value
    return "\n".join(printable(line) for line in value.split("\n"))
