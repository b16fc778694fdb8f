"""Search: what is found, in which order, and what of it is shown."""

import html
import re
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from company_site.posts.search import Term, highlight, parse


def found(client, query: str) -> list[str]:
    page = client.get(f"/search?q={quote(query)}")
    assert page.status == 200
    return [
        html.unescape(re.sub("<[^>]+>", "", title))
        for title in re.findall(r'card-title"><a href="[^"]+">(.*?)</a>', page.text)
    ]


def test_a_post_is_found_by_its_title_its_text_and_its_tag(site):
    client = site.client()
    assert found(client, "whiteboards") == ["We are hiring two engineers, and no whiteboards"]
    assert found(client, "veterinarian") == ["How we write about our mistakes"]
    assert "The afternoon that a screen reader redesigned our app" in found(client, "accessibility")


def test_a_title_counts_more_than_a_text(site):
    author = site.as_user("author")
    author.write("Of other things", "The quokka, the quokka and the quokka.")
    author.write("A quokka", "And nothing else.")
    assert found(site.client(), "quokka") == ["A quokka", "Of other things"]


def test_all_words_must_be_there_wherever_they_stand(site):
    author = site.as_user("author")
    author.write("Narwhal", "Seen from the pier in zermatt.")
    author.write("Narwhals elsewhere", "Seen from the shore.")
    client = site.client()
    assert set(found(client, "narwhal")) == {"Narwhal", "Narwhals elsewhere"}
    assert found(client, "narwhal zermatt") == ["Narwhal"]
    assert found(client, "narwhal -zermatt") == ["Narwhals elsewhere"]
    assert found(client, "narwhal nowherewhatsoever") == []


def test_phrases_beginnings_case_and_accents(site):
    author = site.as_user("author")
    author.write("Déjà-vu in Österlen", "We saw the green buoy twice. Buoys are green.")
    client = site.client()
    for query in ("deja", "DÉJÀ", "osterlen", "öster", '"green buoy"', "green buoy"):
        assert found(client, query) == ["Déjà-vu in Österlen"], query
    assert found(client, '"buoy green"') == []


def test_only_current_texts_of_public_posts_are_found(site):
    author = site.as_user("author")
    path = author.write("Rewritten", "It said axolotl once.")
    client = site.client()
    assert found(client, "axolotl") == ["Rewritten"]
    assert author.post(f"{path}/edit", {"title": "Rewritten", "body": "No more.", "basis": "1"}).status == 303
    assert found(client, "axolotl") == []
    author.post("/posts/new", {"title": "Secret axolotl", "body": "b", "publish-at": "2190-01-01T00:00"})
    assert found(client, "axolotl") == []


def test_the_place_is_marked_and_nothing_of_the_text_becomes_markup(site):
    author = site.as_user("author")
    author.write("<b>Wombat</b> & co", "far away " * 50 + "the <i>wombat</i> sleeps " + "and so on " * 50)
    page = site.client().get("/search?q=wombat").text
    assert "&lt;b&gt;<mark>Wombat</mark>&lt;/b&gt; &amp; co" in page
    assert "&lt;i&gt;<mark>wombat</mark>&lt;/i&gt; sleeps" in page
    assert page.count("…") >= 2


@pytest.mark.parametrize(
    "query", ["", " ", "-", '"', '""', "* -", "-only", "NEAR(a b)", "a" * 3000, "%00", "%ff"]
)
def test_no_query_breaks_it(site, query):
    answer = site.client().get(f"/search?q={query.replace(' ', '+')}")
    assert answer.status == 200
    assert "<article" not in answer.text
    assert '<meta name="robots" content="noindex">' in answer.text


def test_a_query_is_shown_as_text(site):
    page = site.client().get('/search?q="><script>alert(1)</script>').text
    assert "<script>" not in page


def test_many_results_are_cut_into_pages(site):
    author = site.as_user("author")
    for number in range(21):
        author.write(f"Ibex {number}")
    client = site.client()
    first, second = client.get("/search?q=ibex"), client.get("/search?q=ibex&page=2")
    assert "21 entries" in first.text
    assert (first.text.count("<article"), second.text.count("<article")) == (20, 1)
    assert 'rel="next" href="/search?q=ibex&amp;page=2"' in first.text
    assert client.get("/search?q=ibex&page=3").status == 404


def test_an_address_that_searches_without_end_is_asked_to_wait(site):
    client = site.client()
    for _ in range(2000):
        answer = client.get("/search?q=tide", X_Forwarded_For="203.0.113.9")
        if answer.status != 200:
            break
    assert answer.status == 429
    assert int(answer.headers["Retry-After"]) >= 1
    assert client.get("/search", X_Forwarded_For="203.0.113.9").status == 200
    assert client.get("/search?q=tide", X_Forwarded_For="203.0.113.10").status == 200


def test_terms():
    assert parse('Tide "on time" -Fog') == [
        Term(("tide",), is_phrase=False, is_excluded=False),
        Term(("on", "time"), is_phrase=True, is_excluded=False),
        Term(("fog",), is_phrase=False, is_excluded=True),
    ]


@given(st.text(), st.text(alphabet="abcdeäß İſ-", max_size=8))
def test_marks_change_nothing_of_a_text(text, query):
    marked = highlight(text, parse(query))
    assert html.unescape(re.sub("</?mark>", "", str(marked))) == html.unescape(html.escape(text))
