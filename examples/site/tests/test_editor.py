"""The editor's comforts, in a browser with JavaScript and the site's own policy."""

import base64
import re
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@pytest.fixture
def page(request, browser: Browser, site) -> Iterator[Page]:
    width, height = SIZES[getattr(request, "param", "desktop")]
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=site.url)
    complaints: list[str] = []
    opened = context.new_page()
    opened.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    opened.goto("/login")
    with opened.expect_navigation():
        opened.get_by_role("button", name="Mira Okafor").click()
    yield opened
    context.close()
    expected = ("422", "409", "the server responded with")
    assert not [text for text in complaints if not any(part in text for part in expected)], complaints


def give(page: Page, event: str, data: bytes, *, name: str = "pier.png", kind: str = "image/png") -> None:
    """Paste or drop a file on the text."""
    page.evaluate(
        """([event, data, name, kind]) => {
            const bytes = Uint8Array.from(atob(data), (char) => char.charCodeAt(0))
            const transfer = new DataTransfer()
            transfer.items.add(new File([bytes], name, { type: kind }))
            const made = event === "paste"
                ? new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true })
                : new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true })
            document.getElementById("body").dispatchEvent(made)
        }""",
        [event, base64.b64encode(data).decode(), name, kind],
    )


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_what_is_typed_is_kept_and_found_again(page: Page):
    page.goto("/posts/new")
    page.get_by_label("Title").fill("Kept by itself")
    page.get_by_label("Text", exact=True).press_sequentially("Not a button was pressed.")
    expect(page.get_by_role("status")).to_contain_text("Draft kept at", timeout=60_000)
    expect(page).to_have_url(re.compile("/drafts/"))
    page.reload()
    expect(page.get_by_label("Text", exact=True)).to_have_value("Not a button was pressed.")
    page.get_by_role("link", name="Drafts").click()
    page.get_by_role("region", name="Not finished").get_by_role("link", name="Kept by itself").first.click()
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Kept by itself")
    page.get_by_role("link", name="Drafts").click()
    assert page.get_by_role("link", name="Kept by itself").count() == 0


def test_an_open_editor_is_told_of_another_writer(page: Page, site):
    path = site.as_user("author").write("Two at once", "First")
    page.goto(f"{path}/edit")
    change = {"title": "Two at once", "body": "Theirs", "basis": "1"}
    assert site.as_user("editor").post(f"{path}/edit", change).status == 303
    page.get_by_label("Text", exact=True).fill("Mine")
    page.get_by_label("Text", exact=True).press("Control+s")
    expect(page.get_by_role("status")).to_contain_text("Somebody else changed the entry", timeout=60_000)
    page.get_by_role("button", name="Publish the change").click()
    expect(page.get_by_role("region", name="As it stands")).to_contain_text("Theirs")
    expect(page.get_by_label("Text", exact=True)).to_have_value("Mine")


@pytest.mark.parametrize("page", SIZES, indirect=True)
def test_the_preview_follows_the_text(page: Page):
    page.goto("/posts/new")
    page.get_by_role("button", name="Live preview").click()
    text = page.get_by_label("Text", exact=True)
    text.fill("## Low *tide*\n\n<img src=x onerror=alert(1)>")
    preview = page.get_by_role("region", name="Live preview")
    expect(preview.get_by_role("heading", level=2)).to_have_text("Low tide")
    expect(preview).to_contain_text("<img src=x onerror=alert(1)>")
    page.mouse.wheel(500, 0)
    box = page.locator("body").bounding_box()
    assert box is not None
    assert box["x"] == 0
    text.fill("Gone")
    expect(preview).to_have_text("Gone")


def test_keys_mark_the_text_up(page: Page):
    page.goto("/posts/new")
    text = page.get_by_label("Text", exact=True)
    text.fill("tide")
    for key, marked in (("b", "**tide**"), ("i", "*tide*"), ("e", "`tide`"), ("k", "[tide](https://)")):
        text.fill("tide")
        text.press("Control+a")
        text.press(f"Control+{key}")
        expect(text).to_have_value(marked)
    text.press("Control+z")
    expect(text).to_have_value("tide")
    text.fill("one\ntwo")
    text.press("Control+a")
    page.get_by_role("button", name="List").click()
    expect(text).to_have_value("- one\n- two")
    # The toolbar and all after it are reached by keyboard, and Tab leaves the text.
    text.press("Tab")
    expect(text).not_to_be_focused()


@pytest.mark.parametrize("event", ["paste", "drop"])
def test_a_picture_that_is_given_is_uploaded_where_the_cursor_is(page: Page, picture, event):
    page.goto("/posts/new")
    text = page.get_by_label("Text", exact=True)
    text.fill("Before.\n\n")
    give(page, event, picture((700, 350), "PNG"))
    expect(text).to_have_value(re.compile(r"^Before\.\n\n!\[\]\(/uploads/[0-9a-f]{40}-700x350\.webp\)\n$"))
    expect(page.get_by_role("status")).to_contain_text("Say what the image shows")
    page.keyboard.type("The pier")
    expect(text).to_have_value(re.compile(r"!\[The pier\]\(/uploads/"))
    page.get_by_role("button", name="Live preview").click()
    image = page.get_by_role("img", name="The pier")
    expect(image).to_be_visible()
    image.scroll_into_view_if_needed()
    shown = image.evaluate("async (image) => { await image.decode(); return image.currentSrc }")
    assert shown.endswith(".avif")


def test_what_is_no_picture_is_told_and_leaves_no_trace_in_the_text(page: Page):
    page.goto("/posts/new")
    text = page.get_by_label("Text", exact=True)
    text.fill("Before.")
    give(page, "paste", b"<svg onload=alert(1)>", name="evil.svg", kind="image/svg+xml")
    expect(page.get_by_role("status")).to_contain_text("evil.svg: This is not a JPEG")
    expect(text).to_have_value(re.compile(r"^Before\.\n?$"))


def test_axe_finds_nothing_where_somebody_is_at_work(page: Page, site):
    path = site.as_user("author").write("Under the glass", "First\n\nSecond", "one")
    page.goto(f"{path}/edit")
    page.get_by_text("Address, time and place").click()
    page.get_by_role("button", name="Live preview").click()
    expect(page.get_by_role("region", name="Live preview")).to_contain_text("Second")
    pages = {"editor": axe(page)}
    change = {"title": "Under the glass", "body": "Theirs\n\nSecond", "tags": "two", "basis": "1"}
    assert site.as_user("editor").post(f"{path}/edit", change).status == 303
    page.get_by_label("Text", exact=True).fill("Mine\n\nSecond")
    page.get_by_role("button", name="Publish the change").click()
    expect(page.get_by_role("region", name="Yours")).to_be_visible()
    pages["conflict"] = axe(page)
    page.goto(f"{path}/history/2")
    pages["version"] = axe(page)
    page.goto("/drafts")
    pages["desk"] = axe(page)
    page.goto("/uploads")
    pages["images"] = axe(page)
    assert not {name: found for name, found in pages.items() if found}


def axe(page: Page) -> list[str]:
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    return [f"{found['id']}: {found['nodes'][0]['html']}" for found in results.response["violations"]]
