"""Drawing the pages of a server, which ask nothing of other hosts."""

from dataclasses import dataclass
from typing import Any

from tl_toolkit.io.files import format_size
from tl_toolkit.metrics.wilson import wilson
from tl_toolkit.model_file import ModelMetadata
from tl_toolkit.report.content import Figure
from tl_toolkit.report.page import formats
from tl_toolkit.report.page.templating import open_templates, policy_hash, source
from tl_toolkit.serving.limits import Limits

MAX_NAMES = 1_000
"""Class names that the page lists; /metadata has all."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and the content security policy that a browser is to apply to it."""

    html: str
    policy: str


def render_page(name: str, metadata: ModelMetadata, explains: bool, limits: Limits) -> Page:
    """Return the page on which a person drops photographs.

    Args:
        name: Of the model.
        metadata: Of the model.
        explains: Whether the server draws heat maps.
        limits: Of the server.
    """
    settings = {
        "several": metadata.task == "multi-label",
        "explains": explains,
        "uploadBytes": limits.upload_bytes,
        "uploadSize": format_size(limits.upload_bytes),
    }
    return _render(
        "page.html",
        ("helpers", "theme", "photos"),
        name=name,
        architecture=metadata.architecture.partition(":")[2],
        class_names=metadata.class_names[:MAX_NAMES],
        classes=len(metadata.class_names),
        kind="labels" if metadata.task == "multi-label" else "classes",
        spec=metadata.input_spec,
        accuracy=_accuracy(metadata),
        settings=settings,
    )


def render_docs(openapi: dict[str, Any]) -> Page:
    """Return the page that describes the addresses.

    Args:
        openapi: The OpenAPI description.
    """
    return _render("docs.html", ("helpers", "theme"), api=openapi)


def _accuracy(metadata: ModelMetadata) -> str:
    """Return the accuracy of the run that made a model, with its interval; empty if it is not known."""
    if metadata.task != "multi-class":
        return ""
    for split in ("test", "val"):
        share, images = (metadata.metrics.get(f"{split}_{key}") for key in ("accuracy", "images"))
        if isinstance(share, float) and isinstance(images, int) and images > 0:
            figure = Figure("accuracy", share, *wilson(round(share * images), images))
            return f"{split} accuracy {formats.value(figure)} {formats.interval(figure)}"
    return ""


def _with_code(text: str) -> str:
    """Return HTML of a text that has code between backticks."""
    from markupsafe import Markup, escape

    parts = [
        escape(part) if place % 2 == 0 else Markup("<code>{}</code>").format(part)
        for place, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def _render(template: str, scripts: tuple[str, ...], **content: Any) -> Page:
    from markupsafe import Markup  # Jinja's.

    environment = open_templates("tl_toolkit.serving.page", "tl_toolkit.report.page")
    environment.filters["with_code"] = _with_code
    style = source(environment, "base.css") + source(environment, "serving.css")
    script = "".join(source(environment, f"script/{name}.js") for name in scripts)
    html = environment.get_template(template).render(
        style=Markup(style),  # noqa: S704 - the package's own file
        script=Markup(script),  # noqa: S704
        **content,
    )
    policy = (
        f"default-src 'none'; style-src {policy_hash(style)}; script-src {policy_hash(script)}; img-src data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Page(html, policy)
