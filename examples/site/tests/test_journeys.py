"""What readers, authors and owners do, in a browser without JavaScript, on a phone and on a desktop."""

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@pytest.fixture(params=SIZES)
def page(request, browser: Browser, site) -> Iterator[Page]:
    width, height = SIZES[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height}, java_script_enabled=False, base_url=site.url
    )
    requested: list[str] = []
    opened = context.new_page()
    opened.on("request", lambda sent: requested.append(sent.url))
    yield opened
    context.close()
    assert all(url.startswith(site.url) for url in requested), requested


def sign_in(page: Page, name: str) -> None:
    page.goto("/login")
    page.get_by_role("button", name=name).click()
    expect(page.get_by_role("banner").get_by_text(name, exact=True)).to_be_visible()


def fits(page: Page) -> bool:
    """Nothing is wider than the screen: scrolling sideways gets nowhere."""
    page.mouse.wheel(500, 0)
    box = page.locator("body").bounding_box()
    viewport = page.viewport_size
    assert box is not None
    assert viewport is not None
    return box["x"] == 0 and box["width"] <= viewport["width"]


def test_a_reader_finds_a_post_and_the_next(page):
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert fits(page)
    page.get_by_role("link", name="Read the log").click()
    assert fits(page)
    # Other tests write posts too: the oldest one is at the very end.
    page.goto("/posts/fridays-are-for-deploying")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fridays are for deploying")
    assert fits(page)
    page.get_by_role("link", name="After this").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("What three hundred small releases taught us")
    page.get_by_role("link", name="practice").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Entries on practice")


def test_an_author_writes_with_a_picture_previews_publishes_and_edits(page, picture, tmp_path: Path):
    photo = tmp_path / "pier.jpg"
    photo.write_bytes(picture((800, 500)))
    sign_in(page, "Mira Okafor")
    page.get_by_role("link", name="Write", exact=True).click()
    page.get_by_label("Title").fill("Seen from the pier")
    page.get_by_label("Text").fill("## Morning\n\nThe tide was *out*.")
    page.get_by_label("Tags").fill("harbour")
    page.get_by_label("File", exact=True).set_input_files(photo)
    page.get_by_label("What it shows").fill("The pier in the morning")
    page.get_by_role("button", name="Upload and insert").click()
    expect(page.get_by_role("status")).to_contain_text("The image is at the end of the text")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_role("img", name="The pier in the morning")).to_be_visible()
    assert fits(page)
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Seen from the pier")
    image = page.get_by_role("img", name="The pier in the morning")
    expect(image).to_be_visible()
    box = image.bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(1.6, rel=0.02)
    assert fits(page)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_label("Text").fill("The tide was *in*.")
    page.get_by_role("button", name="Publish the change").click()
    expect(page.get_by_text("The tide was in.")).to_be_visible()
    page.get_by_role("link", name="History").click()
    page.get_by_role("link", name="Revision 2: Seen from the pier").click()
    expect(page.get_by_role("deletion").filter(has_text="out")).to_be_visible()
    assert fits(page)
    page.get_by_role("link", name="All revisions").click()
    page.get_by_role("link", name="Revision 1: Seen from the pier").click()
    page.get_by_role("button", name="Restore this revision").click()
    expect(page.get_by_text("The tide was out.")).to_be_visible()
    expect(page.get_by_role("img", name="The pier in the morning")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()


def test_two_authors_meet_and_both_texts_survive(page, browser: Browser, site):
    sign_in(page, "Mira Okafor")
    path = site.as_user("author").write("A meeting", "The first text")
    page.goto(f"{path}/edit")
    theirs = {"title": "A meeting", "body": "What Tomás wrote", "basis": "1"}
    assert site.as_user("editor").post(f"{path}/edit", theirs).status == 303
    page.get_by_label("Text").fill("What Mira wrote")
    page.get_by_role("button", name="Publish the change").click()
    expect(page.get_by_role("alert")).to_contain_text("Somebody else changed this entry")
    expect(page.get_by_role("region", name="As it stands")).to_contain_text("What Tomás wrote")
    expect(page.get_by_role("region", name="Yours")).to_contain_text("What Mira wrote")
    expect(page.get_by_role("region", name="As you began")).to_contain_text("The first text")
    expect(page.get_by_label("Text")).to_have_value("What Mira wrote")
    assert fits(page)
    page.get_by_role("button", name="Publish the change").click()
    expect(page.get_by_text("What Mira wrote")).to_be_visible()


def test_an_author_drafts_shows_schedules_and_brings_back(page, browser: Browser, site):
    sign_in(page, "Mira Okafor")
    page.goto("/posts/new")
    name = f"Kept back on a screen of {page.viewport_size['width']}"
    page.get_by_label("Title").fill(name)
    page.get_by_label("Text").fill("For *your* eyes.")
    page.get_by_role("button", name="Save and make a link").click()
    link = page.get_by_role("status").get_by_label("Link to the preview").input_value()
    assert fits(page)
    somebody = browser.new_page(java_script_enabled=False)
    somebody.goto(link)
    expect(somebody.get_by_role("heading", level=1)).to_have_text(name)
    expect(somebody.get_by_text("your", exact=True)).to_be_visible()
    page.get_by_role("link", name="Drafts").click()
    assert fits(page)
    page.get_by_role("region", name="Drafts").get_by_role("link", name=name).click()
    page.get_by_text("Address, time and place").click()
    assert fits(page)
    page.get_by_label("Publish at").fill("2099-01-01T08:00:00")
    page.get_by_role("button", name="Publish").click()
    expect(page.get_by_role("status")).to_contain_text("1 January 2099")
    path = urlsplit(page.url).path
    assert site.client().get(path).status == 404
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    page.get_by_role("button", name=f"Bring it back “{name}”").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(name)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_text("Address, time and place").click()
    page.get_by_label("Publish at").fill("2026-11-01T08:00:00")
    with page.expect_navigation():
        page.get_by_role("button", name="Publish").click()
    assert site.client().get(path).status == 200
    somebody.goto(link)
    assert urlsplit(somebody.url).path == path
    somebody.close()


def test_an_owner_gives_a_role_and_takes_it_again(page, site):
    sign_in(page, "Ines Halvorsen")
    reader = site.as_user("reader")
    for given in (True, False):
        page.get_by_role("link", name="People").click()
        assert fits(page)
        person = page.get_by_role("group", name="Sam Whitlock")
        person.get_by_label("member").set_checked(given)
        with page.expect_navigation():
            person.get_by_role("button", name="Save").click()
        assert reader.get("/posts/new").status == (200 if given else 403)


def test_an_owner_features_an_entry_looks_at_its_past_and_brings_it_back(page, site):
    name = f"For the front page at {page.viewport_size['width']}"
    path = site.as_user("author").write(name, "It was *calm*.")
    sign_in(page, "Ines Halvorsen")
    page.goto(path)
    page.get_by_role("link", name="Edit", exact=True).click()
    page.get_by_text("Address, time and place").click()
    page.get_by_label("Home", exact=True).check()
    page.get_by_label("Feature it on these pages").check()
    with page.expect_navigation():
        page.get_by_role("button", name="Publish the change").click()
    page.goto("/")
    expect(page.get_by_role("article").filter(has_text=name).first).to_be_visible()
    page.goto(f"{path}/history")
    assert fits(page)
    page.get_by_role("link", name="what changed since").click()
    expect(page.get_by_role("insertion").filter(has_text="home")).to_be_visible()
    assert fits(page)
    page.goto(f"{path}/delete")
    with page.expect_navigation():
        page.get_by_role("button", name="Delete it").click()
    assert site.client().get(path).status == 410
    assert fits(page)
    page.get_by_role("button", name=f"Bring it back “{name}”").click()
    expect(page.get_by_text("calm", exact=True)).to_be_visible()
    assert site.client().get(path).status == 200


def test_the_keyboard_skips_the_menu_and_sees_where_it_is(page):
    page.goto("/")
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Read the log")).to_be_focused()


def test_nothing_moves_for_those_who_asked_for_stillness(browser: Browser, site):
    for wish, moves in (("reduce", False), ("no-preference", True)):
        context = browser.new_context(reduced_motion=wish, base_url=site.url)
        page = context.new_page()
        page.goto("/")
        durations = page.evaluate(
            """() => [...document.querySelectorAll("*")].flatMap(e => {
                const style = getComputedStyle(e)
                return [style.transitionDuration, style.animationDuration]
            })"""
        )
        assert any(re.search("[1-9]", duration) for duration in durations) == moves
        context.close()


def test_what_is_printed_is_black_on_white_without_the_menu(browser: Browser, site):
    context = browser.new_context(color_scheme="dark", base_url=site.url)
    page = context.new_page()
    page.goto("/posts/what-three-hundred-small-releases-taught-us")
    page.emulate_media(media="print", color_scheme="dark")
    expect(page.get_by_role("navigation", name="Main")).to_be_hidden()
    expect(page.locator("body")).to_have_css("background-color", "rgb(255, 255, 255)")
    expect(page.locator("h1")).to_have_css("color", "rgb(0, 0, 0)")
    context.close()


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: Browser, site, scheme):
    """WCAG 2.2, success criterion 1.4.3 (AA): 4.5 to 1."""
    context = browser.new_context(color_scheme=scheme, base_url=site.url)
    page = context.new_page()
    for path in ("/", "/posts", "/login", "/nothing", "/posts/what-three-hundred-small-releases-taught-us"):
        page.goto(path)
        pairs = page.evaluate(
            """() => {
                const background = e => getComputedStyle(e).backgroundColor
                const isText = n => n.nodeType === Node.TEXT_NODE && n.data.trim()
                const hasText = e => [...e.childNodes].some(isText)
                return [...document.querySelectorAll("body *")]
                    .filter(e => e.checkVisibility() && hasText(e))
                    .map(e => {
                        let behind = e
                        while (background(behind) === "rgba(0, 0, 0, 0)") behind = behind.parentElement
                        return [e.outerHTML.slice(0, 80), getComputedStyle(e).color, background(behind)]
                    })
            }"""
        )
        assert len(pairs) > 8
        for element, colour, background in pairs:
            lighter, darker = sorted((_luminance(colour), _luminance(background)), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (path, element, colour, background)
    context.close()


@pytest.mark.parametrize("size", SIZES)
def test_somebody_signs_in_at_an_issuer_writes_and_leaves(browser: Browser, start_site, provider, size):
    """From the button to the post and out again, without JavaScript, asking nothing of anybody else."""
    site = start_site(**provider.environment())
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, java_script_enabled=False, base_url=site.url
    )
    page = context.new_page()
    strangers: list[str] = []
    refused: list[str] = []
    own = (site.url, provider.issuer.url)
    page.on("request", lambda sent: None if sent.url.startswith(own) else strangers.append(sent.url))
    page.on("console", lambda message: refused.append(message.text))
    page.goto("/posts/new")
    expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
    assert fits(page)
    page.get_by_role("link", name="Sign in with").click()
    page.get_by_role("link", name="Eve").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("This account is not on the list")
    expect(page.get_by_text("eve@elsewhere.example")).to_be_visible()
    assert fits(page)
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_role("link", name="Sign in with").click()
    with page.expect_navigation(url=f"{site.url}/**"):
        page.get_by_role("link", name="Mira").click()
    page.goto("/posts/new")
    page.get_by_label("Title").fill("In by the front door")
    page.get_by_label("Text", exact=True).fill("And out again.")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("In by the front door")
    page.get_by_role("link", name="Mira Okafor").first.click()
    page.goto("/account")
    expect(page.get_by_text("mira@northpier.example")).to_be_visible()
    assert fits(page)
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page.get_by_role("link", name="Sign in")).to_be_visible()
    page.go_back()
    assert page.goto("/account").url.endswith("/login?next=/account")
    assert {cookie["name"] for cookie in context.cookies()} <= {"login"}
    context.close()
    assert not strangers
    assert not [text for text in refused if "Content Security Policy" in text]
