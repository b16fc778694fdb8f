"""What axe-core, which knows the rules of WCAG, finds on the pages that everybody may read: nothing."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

PATHS = (
    "/",
    "/posts",
    "/posts/what-three-hundred-small-releases-taught-us",
    "/tags/practice",
    "/authors/mira-okafor",
    "/archive",
    "/search?q=release",
    "/search?q=nothing-like-this",
    "/about",
    "/careers",
    "/login",
    "/nothing",
)
DARK = ("/", "/posts/what-three-hundred-small-releases-taught-us", "/search?q=release", "/login")


@pytest.fixture(scope="module")
def pages(browser: Browser, site) -> Iterator[dict[str, Page]]:
    """A phone in the light, a desktop in the dark."""
    sizes = {"light": (390, 844), "dark": (1280, 800)}
    contexts = {
        scheme: browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, base_url=site.url
        )
        for scheme, (width, height) in sizes.items()
    }
    yield {scheme: context.new_page() for scheme, context in contexts.items()}
    for context in contexts.values():
        context.close()


@pytest.mark.parametrize(
    ("scheme", "path"), [*(("light", path) for path in PATHS), *(("dark", path) for path in DARK)]
)
def test_axe_finds_nothing(pages, scheme, path):
    pages[scheme].goto(path)
    results = Axe().run(pages[scheme], options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, results.generate_report()


def test_axe_finds_something_where_there_is_something(browser):
    page = browser.new_page()
    page.set_content("<html><body><img src='/x'><p style='color:#ccc;background:#fff'>Pale</p></body></html>")
    found = {violation["id"] for violation in Axe().run(page).response["violations"]}
    page.close()
    assert found >= {"color-contrast", "html-has-lang", "image-alt"}
