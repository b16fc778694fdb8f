"""What axe-core, which knows the rules of WCAG, finds on the pages of the site: nothing."""

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
OWN = (
    "/posts/new",
    "/posts/fridays-are-for-deploying/edit",
    "/posts/fridays-are-for-deploying/history",
    "/drafts",
    "/uploads",
    "/account",
    "/people",
    "/trail",
)
DARK = ("/", "/posts/what-three-hundred-small-releases-taught-us", "/search?q=release", "/login")


@pytest.fixture(scope="module")
def pages(browser: Browser, site) -> Iterator[dict[str, Page]]:
    """A phone in the light, a desktop in the dark, and an owner's."""
    made = {}
    for name, scheme, width, height in (
        ("light", "light", 390, 844),
        ("dark", "dark", 1280, 800),
        ("owner", "light", 1280, 800),
    ):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, base_url=site.url
        )
        made[name] = context.new_page()
    made["owner"].goto("/login")
    with made["owner"].expect_navigation():
        made["owner"].get_by_role("button", name="Ines Halvorsen").click()
    yield made
    for page in made.values():
        page.context.close()


@pytest.mark.parametrize(
    ("visitor", "path"),
    [
        *(("light", path) for path in PATHS),
        *(("dark", path) for path in DARK),
        *(("owner", path) for path in OWN),
    ],
)
def test_axe_finds_nothing(pages, visitor, path):
    page = pages[visitor]
    page.goto(path)
    results = Axe().run(page, options={"resultTypes": ["violations"]})
    assert results.violations_count == 0, results.generate_report()


def test_axe_finds_something_where_there_is_something(browser):
    page = browser.new_page()
    page.set_content("<html><body><img src='/x'><p style='color:#ccc;background:#fff'>Pale</p></body></html>")
    found = {violation["id"] for violation in Axe().run(page).response["violations"]}
    page.close()
    assert found >= {"color-contrast", "html-has-lang", "image-alt"}
