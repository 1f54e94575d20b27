import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers import report
from tests.helpers.browser import Reader, unavailable
from tl_toolkit.report.content import Confusion, Figure, MapPoint, ReportContent
from tl_toolkit.report.page.render import ROWS, render

Read = Callable[..., Reader]
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")
VARIANTS: list[Callable[[], ReportContent]] = [
    report.example_content,
    report.multi_label_content,
    report.content_without_images,
    report.content_of_many_classes,
    report.content_of_one_class,
    report.least_content,
]


def column(reader: Reader, index: int) -> list[str]:
    """The texts of a column of the table of classes, from top to bottom."""
    cells = reader.page.locator(f"#class-table tbody tr > :nth-child({index + 1})")
    return [text.split("(")[0].strip() for text in cells.all_text_contents()]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("make", VARIANTS)
def test_open_report_makes_no_request_has_no_error_and_fits_the_width(
    read: Read, make: Callable[[], ReportContent], width: int
) -> None:
    reader = read(make(), width)

    assert reader.requests == []
    assert reader.errors == []
    assert reader.width <= width


def test_open_page_that_asks_for_something_is_noticed(read: Read) -> None:
    page = render(report.least_content()).replace("<main>", '<main><img src="https://localhost/picture.png" alt="">')

    reader = read(page)

    assert any("Content Security Policy" in error for error in reader.errors), reader.errors


def test_open_page_with_foreign_script_does_not_run_it(read: Read) -> None:
    page = render(report.least_content()).replace("<main>", "<main><script>document.title = 'run'</script>")

    reader = read(page)

    assert reader.page.title() == "lenet5 on digits"
    assert len(reader.errors) == 1


@pytest.mark.parametrize("width", WIDTHS)
def test_click_cell_shows_its_images(read: Read, width: int, screenshots: Path) -> None:
    content = report.example_content()
    assert content.confusion is not None
    count = content.confusion.counts[3, 4]
    reader = read(content, width)

    reader.page.locator(".matrix tbody tr").nth(3).locator("td").nth(4).click()

    drawer = reader.page.locator(".drawer")
    assert drawer.locator("h2").inner_text() == "dragonfly taken for emu"
    assert drawer.locator("p").inner_text() == f"{count} images, of which 3 are shown"
    names = [image.name for image in content.confusion.images[3, 4]]
    assert drawer.locator(".name").all_text_contents() == names
    widths = drawer.locator("img:not(.heat)").evaluate_all("images => images.map(each => each.naturalWidth)")
    assert widths == [128, 128, 128]
    assert drawer.locator(".sure").first.inner_text().strip() == "35.0 %"
    reader.page.screenshot(path=screenshots / f"cell-{width}.png")
    drawer.get_by_role("button", name="Close").click()
    assert drawer.is_hidden()
    assert reader.errors == []


def test_point_at_cell_names_it_and_its_share(read: Read) -> None:
    reader = read(report.example_content())

    reader.page.locator(".matrix tbody tr").nth(3).locator("td").nth(4).hover()

    assert reader.page.locator("#tip").inner_text() == "dragonfly taken for emu\n5 of 30 images (16.7 %)"
    assert reader.page.locator(".matrix .lit").all_text_contents() == ["emu", "dragonfly"]


def test_keys_reach_cell_and_open_and_close_its_images(read: Read) -> None:
    reader = read(report.example_content())
    keyboard, page = reader.page.keyboard, reader.page
    page.locator("#confusion").evaluate("section => { section.tabIndex = -1; section.focus(); }")

    keyboard.press("Tab")
    first = page.locator(":focus")
    assert first.get_attribute("aria-label") == "ant, named rightly: 29 of 30 images (96.7 %)"
    keyboard.press("ArrowDown")
    assert page.locator("#tip").inner_text() == "bee taken for ant\n1 of 30 images (3.3 %)"
    keyboard.press("Control+ArrowRight")
    keyboard.press("End")
    keyboard.press("Home")
    keyboard.press("Enter")

    assert page.locator(".drawer h2").inner_text() == "bee taken for ant"
    assert page.locator(".drawer h2").evaluate("e => e === document.activeElement")
    keyboard.press("Escape")
    assert page.locator(".drawer").is_hidden()
    assert page.locator(":focus").get_attribute("aria-label") == "bee taken for ant: 1 of 30 images (3.3 %)"


def test_open_frequent_mistake_of_matrix_not_drawn_shows_its_images(read: Read) -> None:
    content = report.content_of_many_classes()
    assert content.confusion is not None
    reader = read(content)

    reader.page.locator("[data-images]").first.click()

    assert reader.page.locator(".matrix").count() == 0
    assert reader.page.locator(".drawer h2").inner_text() == "class 00000 taken for class 00001"
    assert reader.page.locator(".drawer p").inner_text() == "40 images, of which 2 are shown"


def test_zoom_matrix_enlarges_its_cells_within_its_box(read: Read) -> None:
    reader = read(report.example_content([f"class {k}" for k in range(100)]), 390)
    cell = reader.page.locator(".matrix tbody td").first
    before = cell.bounding_box()
    assert before is not None

    reader.page.get_by_role("button", name="Larger cells").click()
    after = cell.bounding_box()

    assert after is not None
    assert after["width"] > 1.2 * before["width"]
    assert reader.width == 390
    reader.page.get_by_role("button", name="Fit").click()
    fit = cell.bounding_box()
    assert fit is not None
    assert fit["width"] == before["width"]


def test_sort_table_by_figure_puts_missing_last_in_both_orders(read: Read) -> None:
    recalls = [None, 0.5, None, 0.95, 0.1, 1.0]
    rows = [(f"class {k}", [Figure("recall", recall)]) for k, recall in enumerate(recalls)]
    reader = read(dataclasses.replace(report.example_content(), class_columns=["class", "recall"], classes=rows))
    head = reader.page.locator("#class-table thead th").nth(1)

    head.get_by_role("button").click()
    assert column(reader, 1) == ["100.0 %", "95.0 %", "50.0 %", "10.0 %", "–", "–"]
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()

    assert column(reader, 1) == ["10.0 %", "50.0 %", "95.0 %", "100.0 %", "–", "–"]
    assert head.get_attribute("aria-sort") == "ascending"


def test_sort_table_with_enter_orders_names_and_counts_as_numbers(read: Read) -> None:
    content = report.example_content()
    rows = [(f"class {k}", [Figure("images", 10.0**k, format="count")]) for k in (10, 2, 0)]
    reader = read(dataclasses.replace(content, class_columns=["class", "images"], classes=rows))
    heads = reader.page.locator("#class-table thead button")

    heads.nth(0).focus()
    reader.page.keyboard.press("Enter")
    assert column(reader, 0) == ["class 0", "class 2", "class 10"]
    reader.page.keyboard.press("Tab")
    reader.page.keyboard.press("Enter")

    assert column(reader, 1) == ["10,000,000,000", "100", "1"]
    assert reader.page.locator("#class-table thead th").nth(0).get_attribute("aria-sort") == "none"


def test_table_of_many_classes_grows_on_demand_and_is_sorted_as_a_whole(read: Read) -> None:
    content = report.content_of_many_classes(3 * ROWS)
    reader = read(content)
    rows = reader.page.locator("#class-table tbody tr")
    assert rows.count() == ROWS

    reader.page.get_by_role("button", name=f"Show {ROWS} more of {2 * ROWS}").click()
    assert rows.count() == 2 * ROWS
    reader.page.locator("#class-table thead button").nth(0).click()
    reader.page.locator("#class-table thead button").nth(0).click()
    assert column(reader, 0)[0] == f"class {3 * ROWS - 1:05}"
    assert rows.count() == ROWS
    reader.page.get_by_label("Filter").fill("class 0040")

    assert column(reader, 0) == [f"class 0040{k}" for k in range(9, -1, -1)]
    assert reader.page.locator("#classes output").inner_text() == f"10 of {3 * ROWS}"
    assert reader.errors == []


def test_sort_ten_thousand_classes_takes_less_than_a_second(read: Read) -> None:
    reader = read(report.content_of_many_classes())

    reader.page.locator("#class-table thead button").nth(2).click()
    seconds = reader.page.evaluate(
        """() => {
            const start = performance.now();
            document.querySelectorAll("#class-table thead button")[3].click();
            document.body.getBoundingClientRect();
            return (performance.now() - start) / 1000;
        }"""
    )

    assert seconds < 1


def test_switch_theme_changes_colors_and_lasts_over_a_reload(read: Read) -> None:
    reader = read(report.example_content(), scheme="light")
    light = reader.color("body")

    reader.page.get_by_role("button", name="Change to dark").click()
    dark = reader.color("body")
    reader.page.reload()

    assert (light, dark) == ("rgb(245, 244, 240)", "rgb(18, 21, 23)")
    assert reader.color("body") == dark
    reader.page.get_by_role("button", name="Change to light").click()
    assert reader.color("body") == light
    assert reader.errors == []


def test_open_report_in_dark_system_is_dark(read: Read) -> None:
    reader = read(report.least_content(), scheme="dark")

    assert reader.color("body") == "rgb(18, 21, 23)"
    assert reader.page.get_by_role("button", name="Change to light").is_visible()


def test_arrow_keys_on_curve_read_its_values(read: Read) -> None:
    reader = read(report.example_content())
    epoch = report.example_epochs()[1]
    expected = f"linear-probe, epoch 2, train {epoch.train_loss:.4f}, val {epoch.val_loss:.4f}"

    reader.page.locator('[data-chart="loss"] svg').focus()
    reader.page.keyboard.press("ArrowRight")
    reader.page.keyboard.press("ArrowRight")

    assert reader.page.locator("#spoken").text_content() == expected
    assert reader.page.locator("#tip").inner_text().replace("\n", ", ") == expected


@pytest.mark.parametrize("key", ["loss", "score", "before", "after", "coverage"])
def test_point_at_chart_shows_values_there(read: Read, key: str) -> None:
    reader = read(report.example_content())

    reader.page.locator(f'[data-chart="{key}"] svg').hover()

    assert len(reader.page.locator("#tip").inner_text().splitlines()) >= 3
    assert reader.page.locator(f'[data-chart="{key}"] .cursor circle').count() >= 1


def test_arrow_keys_on_map_go_to_the_nearest_image_on_the_way(read: Read) -> None:
    places = [(0, 0), (2, 0.1), (1, 0), (0.4, 3), (0, 1)]
    points = [MapPoint(x, y, "cat", f"{k}.jpg", k != 2) for k, (x, y) in enumerate(places)]
    reader = read(dataclasses.replace(report.least_content(), map_points=points))
    reader.page.locator(".scatter svg").focus()

    shown = []
    for key in ("Right", "Right", "Right", "Right", "Left", "Left", "Up", "Down"):
        reader.page.keyboard.press(f"Arrow{key}")
        shown.append(reader.page.locator("#tip").inner_text().replace("\n", ", "))

    names = ["cat, 0.jpg", "cat, predicted wrongly, 2.jpg", "cat, 1.jpg"]
    assert shown == [*names, names[2], names[1], names[0], "cat, 4.jpg", names[0]]
    assert reader.page.locator("#spoken").text_content() == names[0]


def test_point_at_map_names_the_nearest_image(read: Read) -> None:
    points = [MapPoint(x, 0, "cat", f"{x}.jpg", True) for x in (-1, 0, 1)]
    reader = read(dataclasses.replace(report.least_content(), map_points=points))

    reader.page.locator(".scatter svg").hover()

    assert reader.page.locator("#tip").inner_text() == "cat\n0.jpg"
    reader.page.mouse.move(5, 5)
    assert reader.page.locator("#tip").is_hidden()


def test_choose_class_in_legend_lifts_it_out_of_the_others(read: Read) -> None:
    reader = read(report.example_content())
    button = reader.page.locator(".legend button").nth(1)
    faded = reader.page.locator(".scatter .faded")

    button.click()
    assert faded.count() == 5
    assert button.get_attribute("aria-pressed") == "true"
    button.click()

    assert faded.count() == 0
    assert button.get_attribute("aria-pressed") == "false"


def test_map_of_many_classes_offers_a_list_of_them(read: Read) -> None:
    reader = read(report.example_content([f"class {k}" for k in range(40)]), 390)

    reader.page.get_by_label("Highlight").select_option("class 7")

    assert reader.page.locator(".scatter g[data-class]:not(.faded)").count() == 1
    assert reader.page.locator(".legend").count() == 0


def test_switch_heat_maps_shows_them_without_script_too(read: Read) -> None:
    for scripts in (True, False):
        reader = read(report.example_content(), java_script_enabled=scripts)
        gallery = reader.page.locator(".gallery").first
        assert gallery.locator(".heat").first.is_hidden()

        gallery.get_by_role("checkbox").check()

        assert gallery.locator(".heat").first.is_visible()
        assert reader.page.locator(".gallery").nth(1).locator(".heat").first.is_hidden()


def test_copy_command_tells_that_it_is_copied(read: Read) -> None:
    reader = read(report.example_content(), permissions=["clipboard-read", "clipboard-write"])

    reader.page.get_by_role("button", name="Copy: Train it again").click()
    reader.page.wait_for_function("document.getElementById('spoken').textContent")

    assert reader.page.locator("#spoken").text_content() in ("Copied", "Selected")
    assert "animals/config.yaml" in (
        reader.page.evaluate("navigator.clipboard.readText()") or reader.page.evaluate("getSelection().toString()")
    )


def test_open_report_without_script_has_tables_and_charts(read: Read) -> None:
    reader = read(report.example_content(), java_script_enabled=False)

    assert reader.page.locator("#class-table tbody tr").count() == 6
    assert reader.page.locator(".matrix td.right").count() == 6
    assert reader.page.locator('[data-chart="loss"] .line').count() == 2
    assert reader.page.locator("#theme").is_hidden()
    assert reader.page.locator("[data-copy]").first.is_hidden()


def test_open_report_with_hostile_names_shows_them_as_text(read: Read) -> None:
    content = report.example_content(("cat", report.HOSTILE))
    hostile = dataclasses.replace(content, title=report.HOSTILE, warnings=[report.HOSTILE], config=report.HOSTILE)
    shown = "</script><script>alert(1)</script><!--\"'&\\u202e\\xff{{ 7 * 7 }}"
    reader = read(hostile)

    reader.page.locator(".matrix tbody tr").nth(1).locator("td").nth(0).click()

    assert reader.errors == []
    assert reader.page.title() == shown
    assert reader.page.locator("h1").inner_text() == shown
    assert reader.page.locator("#class-table tbody th").nth(1).inner_text() == shown
    assert reader.page.locator(".drawer h2").inner_text() == f"{shown} taken for cat"
    assert reader.page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_nothing_serious(read: Read, width: int, scheme: str, screenshots: Path) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    reader = read(report.example_content(), width, scheme)
    reader.page.screenshot(path=screenshots / f"report-{width}-{scheme}.png", full_page=True)
    reader.page.locator(".matrix tbody td[class]").first.click()

    found = axe.Axe().run(reader.page).response["violations"]

    problems = [
        f"{each['id']}: {node['html'][:150]}: {node['failureSummary']}"
        for each in found
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]
    assert problems == []


@pytest.mark.parametrize("make", [functools.partial(report.content_of_many_classes, 30), report.multi_label_content])
def test_axe_finds_nothing_serious_in_other_reports(read: Read, make: Callable[..., ReportContent]) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    reader = read(make())

    found = axe.Axe().run(reader.page).response["violations"]

    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_enough_contrast_in_cells_of_every_shade(read: Read, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    shares = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.91, 0.96, 0.99]
    counts = {(k, k): round(100 * share) for k, share in enumerate(shares)}
    counts |= {(k, (k + 1) % len(shares)): round(100 * (1 - share)) for k, share in enumerate(shares)}
    confusion = Confusion([f"class {k}" for k in range(len(shares))], counts, {}, ())
    reader = read(dataclasses.replace(report.least_content(), confusion=confusion), scheme=scheme)
    shades = reader.page.locator(".matrix tbody td[class]").evaluate_all("cells => cells.map(each => each.className)")

    found = axe.Axe().run(reader.page, context=".matrix").response["violations"]

    assert {*shades} == {f"{kind} l{level}" for kind in ("right", "wrong") for level in range(1, 11)}
    assert found == []


def test_print_report_is_light_and_has_what_is_folded(read: Read, screenshots: Path) -> None:
    reader = read(report.example_content(), scheme="dark")
    summary = reader.page.locator("#settings details")
    assert not summary.locator("code").is_visible()

    reader.page.emulate_media(media="print")

    assert reader.color("body", "color") == "rgb(29, 33, 37)"
    assert reader.page.locator(".bar").is_hidden()
    assert summary.locator("pre").bounding_box()["height"] > 50
    written = reader.page.pdf(path=screenshots / "report.pdf", format="A4")
    assert written.startswith(b"%PDF")
    assert written.count(b"/Type /Page\n") >= 4
    assert len(written) > 100_000


@pytest.mark.parametrize(
    ("required", "outcome", "message"),
    [
        (None, pytest.skip.Exception, "no browser"),
        ("1", pytest.fail.Exception, "no browser, but TL_REQUIRE_BROWSER is set"),
    ],
)
def test_run_without_browser_skips_or_fails_where_it_is_required(
    required: str | None, outcome: type[BaseException], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TL_REQUIRE_BROWSER", raising=False)
    if required:
        monkeypatch.setenv("TL_REQUIRE_BROWSER", required)

    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception)) as raised:
        unavailable("no browser")

    assert raised.type is outcome  # Were it not caught, a skip would skip this test.
    assert str(raised.value) == message
