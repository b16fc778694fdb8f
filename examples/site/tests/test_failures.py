"""What visitors see when something is broken: a page, and not how it broke."""

import time

import bucketlog


def test_a_fault_of_ours_is_a_500_page_without_its_reason(start_site):
    site = start_site()
    with bucketlog.connect(site.database_url) as connection:
        post = [":post/slug", "fridays-are-for-deploying"]
        connection.transact([[":db/retract", post, ":post/title"], [":db/add", post, ":post/revision", 2]])
    deadline = time.monotonic() + 60
    while (page := site.client().get("/posts/fridays-are-for-deploying")).status != 500:
        assert page.status == 200
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "Something broke on our side" in page.text
    for secret in ("KeyError", "Traceback", ":post/title", "company_site"):
        assert secret not in page.text
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    line = site.line_of(page)
    assert (line["level"], line["error"], line["status"]) == ("error", "builtins.KeyError", 500)
    assert site.client().get("/about").status == 200


def test_while_the_store_is_away_visitors_read_on_and_users_are_asked_to_wait(start_site, tmp_path):
    site = start_site()
    author = site.as_user("author")
    there, away = tmp_path / "database", tmp_path / "away"
    there.rename(away)
    there.write_text("a file where the directory was")
    time.sleep(0.3)
    assert site.client().get("/posts/fridays-are-for-deploying").status == 200
    assert site.client().get("/healthz").status == 200
    page = author.get("/posts/new")
    assert page.status == 503
    assert page.headers["Retry-After"] == "5"
    assert "Back in a moment" in page.text
    there.unlink()
    away.rename(there)
    assert author.get("/posts/new").status == 200
