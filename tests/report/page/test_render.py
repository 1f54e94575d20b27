import base64
import dataclasses
import hashlib
import json
import math
import re
from html.parser import HTMLParser

import pytest

from tests.helpers import report
from tl_toolkit.report.content import Figure
from tl_toolkit.report.page.render import ROWS, render

VOID = {"br", "circle", "img", "input", "line", "link", "meta", "path", "rect"}


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects their ids and addresses."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        self.ids += [named["id"] or ""] if "id" in named else []
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        assert tag in VOID

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def data_of(page: str) -> dict[str, object]:
    [text] = re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize(
    "make",
    [
        report.example_content,
        report.multi_label_content,
        report.content_without_images,
        report.content_of_many_classes,
        report.content_of_one_class,
        report.least_content,
    ],
)
def test_render_gives_one_well_formed_document_that_needs_no_other(make: object) -> None:
    assert callable(make)

    page = render(make())
    outline = Outline(page)

    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert [each for each in outline.addresses if not each.startswith(("#", "data:image/"))] == []
    assert {each[1:] for each in outline.addresses if each.startswith("#")} <= {*outline.ids}
    assert len(page.encode()) < 5e6
    assert re.findall(r"\sstyle=|\son[a-z]+=", page.partition("<main>")[2].partition("<script")[0]) == []


def test_render_allows_its_own_script_and_style_by_hash() -> None:
    page = render(report.least_content())

    for tag in ("script", "style"):
        source = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[0]
        digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in page


def test_render_leaves_empty_parts_out() -> None:
    page = render(report.least_content())

    assert re.findall(r'<section id="([^"]*)"', page) == ["result"]


def test_render_has_sections_in_order() -> None:
    page = render(report.example_content())

    assert re.findall(r"<h2 id=[^>]*>([^<]*)<", page)[:-1] == [
        "Training",
        "Figures",
        "Confusion matrix",
        "Each class",
        "Calibration",
        "Images",
        "Feature map",
        "Data",
        "Use it, make it again",
        "Settings and versions",
        "Not shown",
    ]


def test_render_holds_each_picture_once() -> None:
    content = report.example_content()
    assert content.confusion is not None
    shared = content.galleries[0].images[0]
    confusion = dataclasses.replace(content.confusion, images={(0, 1): [shared]})

    page = render(dataclasses.replace(content, galleries=content.galleries[:1], confusion=confusion))

    assert shared.picture is not None
    encoded = base64.b64encode(shared.picture).decode()
    assert page.count(encoded) == 1
    data = data_of(page)
    assert data["pictures"] == {}
    number = data["cells"]["0,1"][0]["picture"]
    assert f'<img id="picture-{number}" src="data:image/jpeg;base64,{encoded}"' in page


def test_render_hostile_text_stays_text() -> None:
    hostile = report.HOSTILE
    content = dataclasses.replace(
        report.example_content(("cat", hostile)),
        title=hostile,
        sentence=hostile,
        facts=[(hostile, hostile)],
        commands=[(hostile, hostile)],
        versions={hostile: hostile},
        missing=[(hostile, hostile)],
        config=f"a: {hostile}\nb: 1\n",
    )

    page = render(content)

    page.encode()  # What is not UTF-8 is escaped.
    assert Outline(page).open == []
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "\u202e" not in page
    assert "49" not in re.findall("<h1>(.*?)</h1>", page)[0]
    assert data_of(page)["map"]["classes"] == [
        *sorted(("cat", "</script><script>alert(1)</script><!--\"'&\\u202e\\xff{{ 7 * 7 }}"))
    ]
    assert "\nb: 1\n" in page


def test_render_many_classes_holds_first_rows_and_the_data_of_all() -> None:
    page = render(report.content_of_many_classes())

    assert len(re.findall('<tr><th scope="row">class ', page)) == ROWS
    assert len(data_of(page)["rows"]) == 10_000
    assert data_of(render(report.example_content()))["rows"] is None


def test_render_figures_that_are_no_numbers_says_so() -> None:
    content = dataclasses.replace(
        report.least_content(),
        headline=Figure("accuracy", None),
        figures=[Figure("top-1", math.nan, math.nan, math.nan), Figure("loss", math.inf, format="number")],
        epochs=[dataclasses.replace(epoch, val_loss=math.nan) for epoch in report.example_epochs()],
        stages=[("full", "the network", math.nan)],
    )

    page = render(content)

    data_of(page)
    assert "nan" not in page.partition("<main>")[2].partition("<script")[0]
