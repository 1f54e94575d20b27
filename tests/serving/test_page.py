import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.helpers.report import HOSTILE
from tests.helpers.serving import Site, Stubborn, png, serve_model
from tl_toolkit.recipes.finetune import Run
from tl_toolkit.serving.limits import MEBIBYTE, Limits

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HEIGHT = 900
WIDTHS = (390, 1440)
SCHEMES = ("light", "dark")


class Visitor:
    """Someone on a page of a server.

    Attributes:
        page: The page.
        requests: Addresses of other hosts that it asked for.
        errors: What the console said, and uncaught errors.
    """

    def __init__(self, browser: "Browser", url: str, width: int = 1440, scheme: Any = "light", **options: Any) -> None:
        self.context = browser.new_context(
            viewport={"width": width, "height": HEIGHT}, color_scheme=scheme, reduced_motion="reduce", **options
        )
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page: Page = self.context.new_page()
        self.page.on("console", lambda message: self.errors.append(f"{message.type}: {message.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(f"error: {error}"))
        self.page.on("request", lambda request: self._note(request.url, url))
        self.page.on("filechooser", lambda _: None)  # Now, as a key can be quicker than the wait for its dialog.
        self.page.goto(url)

    def _note(self, address: str, url: str) -> None:
        if not address.startswith((url, "data:", "blob:")):
            self.requests.append(address)

    def choose(self, *files: Path | str | dict[str, Any]) -> None:
        """Choose photos in the dialog of the browser."""
        with self.page.expect_file_chooser() as dialog:
            self.page.get_by_role("button", name="Choose photos").click()
        dialog.value.set_files([*files])  # type: ignore[arg-type]

    def drop(self, name: str, content: bytes) -> bool:
        """Drop a file anywhere on the page; return whether the browser would open it."""
        opened: bool = self.page.evaluate(
            """([name, bytes]) => {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(bytes)], name));
                const send = (type) => document.body.dispatchEvent(
                    new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true }));
                send("dragenter");
                return send("dragover") || send("drop");
            }""",
            [name, list(content)],
        )
        return opened

    def verdict(self, place: int = 0) -> str:
        """What the page says of a photo, the newest first."""
        return self.page.locator(".result").nth(place).locator(".verdict").inner_text()

    @property
    def width(self) -> int:
        """Width of what can be scrolled to, in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


@pytest.fixture(scope="session")
def digits_site(tiny_run: Run) -> Iterator[Site]:
    """A server of a model of digits."""
    limits = Limits(upload_bytes=MEBIBYTE)
    with serve_model(tiny_run.model, tiny_run.path / "model.safetensors", limits) as site:
        yield site


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Callable[..., Visitor]]:
    """Open the page of a server."""
    visitors: list[Visitor] = []

    def open_page(url: str, *arguments: Any, **options: Any) -> Visitor:
        visitors.append(Visitor(browser, url, *arguments, **options))
        return visitors[-1]

    yield open_page
    for visitor in visitors:
        visitor.context.close()


Visit = Callable[..., Visitor]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_photos_show_classes_with_bars_and_a_heat_map(
    visit: Visit, digits_site: Site, digits: list[Path], width: int, scheme: str, screenshots: Path, tiny_run: Run
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visitor = visit(digits_site.url, width, scheme)
    visitor.page.screenshot(path=screenshots / f"serve-empty-{width}-{scheme}.png")

    visitor.choose(*digits[:2])
    visitor.page.get_by_text("Warm parts speak for").nth(1).wait_for()

    expected = tiny_run.model.predict(list(digits[:2]))
    shown = [f"{each.class_name}, {100 * each.probability:.1f} %" for each in expected]
    assert [visitor.verdict(place) for place in (1, 0)] == shown
    rows = visitor.page.locator(".result").nth(1).locator(".bar")
    assert rows.locator(".name").all_inner_texts() == [each.class_name for each in expected[0].top_k]
    lengths = rows.evaluate_all(
        "rows => rows.map(row => row.querySelector('.length').offsetWidth / row.querySelector('.track').offsetWidth)"
    )
    assert lengths == pytest.approx([each.probability for each in expected[0].top_k], abs=0.03)
    pictures = visitor.page.locator(".result img")
    assert pictures.evaluate_all("images => images.every(each => each.complete && each.naturalWidth > 0)")
    assert visitor.page.locator("#spoken").text_content() == f"{digits[1].name}: {shown[1]}"
    visitor.page.screenshot(path=screenshots / f"serve-{width}-{scheme}.png", full_page=True)
    assert (visitor.requests, visitor.errors, visitor.width) == ([], [], width)
    serious = [
        (each["id"], each["nodes"][0]["html"][:100])
        for each in axe.Axe().run(visitor.page).response["violations"]
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_chosen_class_has_its_own_heat_map(visit: Visit, digits_site: Site, digits: list[Path]) -> None:
    visitor = visit(digits_site.url)
    visitor.choose(digits[0])
    picture = visitor.page.get_by_role("img", name="Heat map of")
    picture.wait_for()
    first = picture.get_attribute("src")
    assert picture.get_attribute("alt") == "Heat map of 0"

    visitor.page.get_by_role("button", name=re.compile("^7 ")).focus()
    visitor.page.keyboard.press("Enter")
    visitor.page.get_by_text("Warm parts speak for 7").wait_for()

    assert picture.get_attribute("src") != first
    pressed = visitor.page.locator(".bar[aria-pressed='true'] .name").all_inner_texts()
    assert pressed == ["7"]


def test_dropped_photo_is_taken_anywhere_on_the_page(visit: Visit, digits_site: Site, digits: list[Path]) -> None:
    visitor = visit(digits_site.url)
    assert not visitor.drop("dropped.png", digits[0].read_bytes())
    visitor.page.get_by_text("Warm parts").wait_for()
    assert visitor.page.locator(".file").inner_text().startswith("dropped.png · ")
    assert visitor.page.url == f"{digits_site.url}/"
    assert visitor.page.locator(".drop.over").count() == 0


def test_keys_reach_the_button_that_chooses_photos(visit: Visit, digits_site: Site, digits: list[Path]) -> None:
    visitor = visit(digits_site.url)
    for _ in range(3):  # The link to the content, the switch of colours, the button.
        visitor.page.keyboard.press("Tab")
    with visitor.page.expect_file_chooser() as dialog:
        visitor.page.keyboard.press("Enter")
    dialog.value.set_files(digits[0])
    visitor.page.locator(".verdict").wait_for()


def test_photo_that_cannot_be_read_says_why_and_the_next_one_is_shown(
    visit: Visit, digits_site: Site, digits: list[Path]
) -> None:
    visitor = visit(digits_site.url)
    text = {"name": "note.jpg", "mimeType": "image/jpeg", "buffer": b"no image"}
    large = {"name": "large.png", "mimeType": "image/png", "buffer": bytes(MEBIBYTE + 1)}
    visitor.choose(text, large, {"name": "0.png", "mimeType": "image/png", "buffer": digits[0].read_bytes()})
    visitor.page.get_by_text("Warm parts").wait_for()
    assert visitor.page.locator(".alert").all_inner_texts() == [
        "The file is larger than 1.0 MiB. Choose a smaller one.",
        "not an image that Pillow can read",
    ]
    assert visitor.page.get_by_text("This browser cannot show the format.").count() == 2


def test_format_that_the_browser_does_not_know_is_shown_by_the_server(visit: Visit, digits_site: Site) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "TIFF")
    visitor = visit(digits_site.url)
    visitor.choose({"name": "scan.tif", "mimeType": "image/tiff", "buffer": buffer.getvalue()})
    visitor.page.get_by_role("img", name="The photo scan.tif, cropped").wait_for()
    assert visitor.page.get_by_text("This browser cannot show the format.").count() == 0


def test_server_that_is_gone_is_told(visit: Visit, tiny_run: Run, digits: list[Path]) -> None:
    with serve_model(tiny_run.model, tiny_run.path / "model.safetensors") as site:
        visitor = visit(site.url)
    visitor.choose(digits[0])
    alert = visitor.page.locator(".alert")
    alert.wait_for()
    assert alert.inner_text() == "The server does not answer. Is tl serve still running?"


def test_unknown_image_and_several_labels_are_told(visit: Visit, judged_run: Run, digits: list[Path]) -> None:
    noise = Image.effect_noise((32, 32), 100)
    buffer = io.BytesIO()
    noise.save(buffer, "PNG")
    with serve_model(judged_run.model, judged_run.path / "model.safetensors") as site:
        visitor = visit(site.url)
        visitor.choose({"name": "noise.png", "mimeType": "image/png", "buffer": buffer.getvalue()})
        visitor.page.get_by_text("Unlike the training images: it may show none of the classes.").wait_for()
    several = judged_run.model.with_metadata(
        task="multi-label", loss="bce", novelty=None, thresholds=(0.0, 0.0, 1.0), temperature=1.0
    )
    with serve_model(several, judged_run.path / "model.safetensors") as site:
        visitor = visit(site.url)
        assert "3 labels" in visitor.page.locator(".facts").inner_text()
        visitor.choose(digits[0])
        visitor.page.locator(".verdict").wait_for()
        assert sorted(visitor.verdict().split(", ")) == ["0", "1"]
        assert sorted(visitor.page.locator(".bar.given .name").all_inner_texts()) == ["0", "1"]


def test_model_without_gradients_has_no_heat_map(visit: Visit, tiny_run: Run, digits: list[Path]) -> None:
    class WithoutGradients(Stubborn):
        def __getattr__(self, name: str) -> Any:
            if name == "explain":
                raise AttributeError(name)
            return super().__getattr__(name)

    model = WithoutGradients(tiny_run.model, waits=False)
    with serve_model(model, tiny_run.path / "model.safetensors") as site:  # type: ignore[arg-type]
        answer = site.client.post("/explain", content=png(8, 8))
        assert answer.status_code == 501
        assert answer.json() == {
            "error": "An ONNX file has no gradients to draw heat maps with. Serve its run instead."
        }
        visitor = visit(site.url)
        visitor.choose(digits[0])
        visitor.page.locator(".verdict").wait_for()
        assert visitor.page.locator(".result figure").count() == 1
        assert visitor.page.locator("button.bar").count() == 0


def test_hostile_names_are_text(visit: Visit, judged_run: Run, digits: list[Path]) -> None:
    model = judged_run.model.with_metadata(class_names=("0", HOSTILE, "7"))
    with serve_model(model, judged_run.path / "model.safetensors", name=HOSTILE) as site:
        visitor = visit(site.url)
        visitor.choose(
            {"name": '"><img src=x onerror=alert(1)>.png', "mimeType": "image/png", "buffer": digits[0].read_bytes()}
        )
        visitor.page.get_by_text("Warm parts").wait_for()
        assert visitor.page.locator("script").count() == 2
        assert visitor.page.locator(".result img[src='x']").count() == 0
        assert sum("<script>alert(1)" in name for name in visitor.page.locator(".bar .name").all_text_contents()) == 1
        assert visitor.errors == []
        visitor.page.goto(f"{site.url}/docs")
        assert (visitor.errors, visitor.requests) == ([], [])


@pytest.mark.parametrize("width", WIDTHS)
def test_page_of_the_interface_lists_addresses_and_asks_no_other_host(
    visit: Visit, digits_site: Site, width: int, screenshots: Path
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    visitor = visit(f"{digits_site.url}/docs", width)
    headings = visitor.page.locator("h2").all_inner_texts()
    assert headings == ["POST /predict", "POST /explain", "GET /health", "GET /metadata", "What answers hold"]
    visitor.page.screenshot(path=screenshots / f"serve-docs-{width}.png", full_page=True)
    assert (visitor.requests, visitor.errors, visitor.width) == ([], [], width)
    found = axe.Axe().run(visitor.page).response["violations"]
    assert [each["id"] for each in found if each["impact"] in ("serious", "critical")] == []


def test_chosen_colours_last_over_a_reload(visit: Visit, digits_site: Site) -> None:
    visitor = visit(digits_site.url)
    visitor.page.get_by_role("button", name="Change to dark").click()
    visitor.page.reload()
    assert visitor.page.get_by_role("button", name="Change to light").is_visible()
    assert visitor.errors == []
