"""Several sites at once over one store, and the life of one."""

import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor

import bucketlog


def counts(site) -> tuple[int, int]:
    with bucketlog.connect(site.database_url) as connection:
        database = connection.db()
        posts = database.q("[:find (count ?p) . :where [?p :post/slug]]")
        return posts, database.q("[:find (count ?u) . :where [?u :user/id]]")


def test_two_that_start_at_once_begin_with_the_same_posts(start_site, healthy):
    sites = [start_site(wait=False, SITE_URL="https://northpier.example") for _ in range(3)]
    for site in sites:
        healthy(site)
    assert counts(sites[0]) == (8, 4)
    assert len({site.client().get("/posts").text for site in sites}) == 1


def test_what_one_writes_its_author_reads_on_the_other_at_once(start_site):
    one, other = start_site(), start_site()
    author = one.as_user("author")
    elsewhere = other.client()
    elsewhere.cookies = author.cookies
    for number in range(10):
        path = author.write(f"Crossing {number}")
        assert elsewhere.get(path).status == 200
        assert f"Crossing {number}" in elsewhere.get("/posts").text
        assert author.get(elsewhere.write(f"And back {number}")).status == 200


def test_everybody_else_reads_it_soon(start_site):
    one, other = start_site(), start_site()
    visitor = other.client()
    visitor.get("/")
    path = one.as_user("author").write("For everybody")
    deadline = time.monotonic() + 60
    while visitor.get(path).status != 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_signing_out_on_one_counts_on_the_other(start_site):
    one, other = start_site(), start_site()
    client = one.as_user("author")
    elsewhere = other.client()
    elsewhere.cookies = dict(client.cookies)
    assert "Sign out" in elsewhere.get("/").text
    client.post("/logout", {})
    assert "Sign out" not in elsewhere.get("/").text


def test_an_image_of_one_is_served_by_the_other(start_site, picture):
    one, other = start_site(), start_site()
    assert one.as_user("author").upload("/uploads", picture()).status == 303
    (image,) = one.uploads.iterdir()
    assert other.client().get(f"/uploads/{image.name}").body == image.read_bytes()


def test_writers_on_two_instances_lose_nothing(start_site):
    sites = [start_site(), start_site()]
    path = sites[0].as_user("author").write("Contended", "0")
    authors = [site.as_user("author") for site in sites]

    def add_one(turn: int) -> None:
        author = authors[turn % 2]
        while True:
            form = author.get(f"{path}/edit")
            number = int(form.text.split("</textarea>")[0].rsplit("\n", 1)[1])
            change = {"title": "Contended", "body": str(number + 1), "basis": form.field("basis")}
            if author.post(f"{path}/edit", change).status == 303:
                return

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add_one, range(24)))
    assert "<p>24</p>" in authors[0].get(path).text
    assert "Revision 25" in authors[1].get(f"{path}/history").text


def test_what_was_deleted_stays_deleted_when_the_site_starts_again(start_site):
    site = start_site()
    editor = site.as_user("editor")
    assert editor.post("/posts/fridays-are-for-deploying/delete", {"basis": "1"}).status == 303
    assert site.stop() == 0
    again = start_site()
    assert again.client().get("/posts/fridays-are-for-deploying").status == 410
    assert counts(again) == (8, 4)


def test_a_second_start_writes_nothing(start_site, tmp_path):
    start_site().stop()
    log = sorted(path for path in (tmp_path / "database").rglob("*") if path.is_file())
    start_site().stop()
    assert sorted(path for path in (tmp_path / "database").rglob("*") if path.is_file()) == log


def test_a_killed_site_has_kept_what_it_had_answered(start_site):
    site = start_site()
    path = site.as_user("author").write("Written in time")
    site.process.kill()
    assert site.process.wait(120) == -signal.SIGKILL
    assert start_site().client().get(path).status == 200


def test_a_request_in_flight_is_answered_before_the_site_stops(start_site):
    site = start_site()
    author = site.as_user("author")
    body = b"title=In+flight&body=Landed"
    with socket.create_connection(("127.0.0.1", int(site.environment["PORT"])), timeout=60) as connection:
        head = f"POST /posts/new HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n"
        head += f"Cookie: session={author.cookies['session']}\r\nExpect: 100-continue\r\n"
        head += "Content-Type: application/x-www-form-urlencoded\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 ")  # the site has begun to read the form
        site.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert site.process.poll() is None
        connection.sendall(body)
        assert connection.recv(1024).startswith(b"HTTP/1.1 303 ")
    assert site.process.wait(120) == 0
    assert "Landed" in start_site().client().get("/posts/in-flight").text


def test_a_database_that_cannot_be_opened_ends_the_start(start_site):
    site = start_site(wait=False, DATABASE_URL="file:///proc/nothing/can/be/here")
    assert site.process.wait(120) == 3
    lines = [json.loads(line) for line in site.log.read_text().splitlines()]
    (reason,) = [line for line in lines if line["event"] == "cannot start"]
    assert reason["variable"] == "DATABASE_URL"
    assert reason["reason"].startswith("cannot open file:///proc/nothing")
    assert "Traceback" not in site.log.read_text()
