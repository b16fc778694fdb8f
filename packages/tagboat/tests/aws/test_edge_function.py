"""The function at the edge, run by a real JavaScript engine: Chromium's."""

import pytest
from playwright.sync_api import sync_playwright

from tagboat.aws.kinds.cloudfront import edge_code


@pytest.fixture(scope="module")
def handler():
    """Asks the function as CloudFront does: host, path and query as they were sent."""
    code = edge_code("www.shop.example", ("shop.example", "shop.test"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page()

        def ask(host, path, query=""):
            request = {"headers": {"host": {"value": host}}, "uri": path}
            return page.evaluate(
                f"""([request, query]) => {{
                    {code}
                    request.rawQueryString = () => query;
                    const answer = handler({{ request }});
                    delete answer.rawQueryString;
                    return answer;
                }}""",
                [request, query],
            )

        yield ask
        browser.close()


@pytest.mark.parametrize("query", ["", "a=1&a=2&b=%20+%2F", "x", "=&&"])
def test_other_hosts_are_sent_to_the_domain_with_path_and_query_as_they_were(handler, query):
    answer = handler("shop.example", "/a%20b//c", query)
    assert answer["statusCode"] == 308
    wanted = f"https://www.shop.example/a%20b//c{'?' + query if query else ''}"
    assert answer["headers"]["location"]["value"] == wanted


def test_the_app_learns_which_host_was_asked(handler):
    answer = handler("www.shop.example", "/")
    assert answer["headers"] == {
        "host": {"value": "www.shop.example"},
        "x-forwarded-host": {"value": "www.shop.example"},
    }
    assert answer["uri"] == "/"
