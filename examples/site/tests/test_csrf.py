"""Forms that another site makes a browser send are refused, whatever cookies come along."""

import pytest

CROSS = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://[broken"},
]


@pytest.mark.parametrize("headers", CROSS)
@pytest.mark.parametrize(
    "path", ["/posts/new", "/logout", "/login", "/people", "/uploads", "/account/sessions"]
)
def test_a_form_of_another_site_is_refused(site, headers, path):
    client = site.as_user("owner")
    answer = client.bare("POST", path, b"user=author&title=t&body=b", headers)
    assert answer.status == 403
    assert "Sign out" in client.get("/").text


def test_reading_is_open_to_links_from_everywhere(site):
    assert site.client().get("/", Sec_Fetch_Site="cross-site").status == 200


@pytest.mark.parametrize("headers", [{"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}])
def test_forms_of_this_site_and_programs_are_let_through(site, headers):
    answer = site.client().bare("POST", "/login", b"user=reader", headers)
    assert answer.status == 303


def test_the_origin_is_compared_with_the_host_that_was_asked(site):
    headers = {"Origin": "https://site.example", "Host": "site.example"}
    assert site.client().bare("POST", "/login", b"user=reader", headers).status == 303
    headers["Host"] = "other.example"
    assert site.client().bare("POST", "/login", b"user=reader", headers).status == 403
    headers["X-Forwarded-Host"] = "site.example"
    assert site.client().bare("POST", "/login", b"user=reader", headers).status == 303
