"""The site's public pages over S3: how fast, how soon, how small, and what they cost at the bucket.

The peer is the same stack over SQLite: the same templates, server and middleware, with a query for each page,
as one would write it. It keeps no pages; so ours are measured kept, and made anew for each request, too.

A thousand posts are written into SeaweedFS by the site's own transactions. Rates are of one process: a second
is one of its CPU time, so that whatever else the machine does takes nothing away from either.
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Final

from bench.db.stores import s3_server
from bench.port.load import Load, require_wrk
from bench.row import Row
from bench.site.container import container_starts
from bench.site.lighthouse import points_lost
from bench.site.servers import Bucket, CountedBucket, Server, peer, site
from bench.site.texts import fill, page_weight, publish

__all__ = ["run"]

_PEER: Final = "the same stack over SQLite"
_POSTS: Final = 1000
_SECONDS: Final = 4
_CONNECTIONS: Final = 8
_VIEWS: Final = 2000
_COMMITS: Final = 20
_PAGES: Final = {"home": "/", "list": "/posts", "post": "/posts/post-500"}

_KEPT: Final = """
wrk.headers["Accept-Encoding"] = "gzip"
"""
_ANEW: Final = """
wrk.headers["Accept-Encoding"] = "gzip"
local turn = 0
function request()
  turn = turn + 1
  return wrk.format("GET", "/posts?turn=" .. turn)
end
"""


def run() -> list[Row]:
    require_wrk()
    with tempfile.TemporaryDirectory(prefix="bench-site-") as name, s3_server() as make:
        folder, bucket = Path(name), Bucket.of(make())
        fill(bucket, folder / "posts.sqlite", _POSTS)
        with site(bucket) as ours, peer(folder / "posts.sqlite") as other:
            rows = [
                *_load(folder, ours, other),
                Row("site", "memory after the load", ours.resident / 2**20, "MiB", goal=120),
                *(
                    Row(
                        "site",
                        f"weight of {page} and its style",
                        page_weight(ours.url, path) / 1e3,
                        "kB",
                        goal=40,
                    )
                    for page, path in _PAGES.items()
                ),
                *points_lost(folder, {page: ours.url + path for page, path in _PAGES.items()}),
            ]
        return [*rows, *_requests(bucket), *container_starts(folder, bucket)]


def _load(folder: Path, ours: Server, other: Server) -> list[Row]:
    rows = []
    for case, text, goal in (("kept", _KEPT, 2000.0), ("made anew", _ANEW, None)):
        script = folder / f"{case}.lua"
        script.write_text(text)
        rates: dict[Server, list[float]] = {ours: [], other: []}
        late: dict[Server, list[float]] = {ours: [], other: []}
        failed = 0
        for _ in range(5):  # in turn: the machine may be busier at one time than at another
            for server in (ours, other):
                before = server.cpu
                outcome = Load(f"{server.url}/posts", server.host, _SECONDS, _CONNECTIONS, script).outcome()
                rates[server].append(outcome.requests / (server.cpu - before))
                late[server].append(outcome.p99 * 1e3)
                failed += outcome.failed
        rate, peer_rate = (statistics.median(rates[server]) for server in (ours, other))
        # The best of five: what others on the machine do can only make it worse.
        p99, peer_p99 = (min(late[server]) for server in (ours, other))
        rows += [
            Row("site", f"list of {_POSTS:,}, {case}, one core", rate, "requests/s", peer_rate, _PEER, goal),
            Row("site", f"list of {_POSTS:,}, {case}: p99", p99, "ms", peer_p99, _PEER, 10 if goal else None),
            Row("site", f"list of {_POSTS:,}, {case}: failed", failed, "", goal=0),
        ]
    return rows


def _requests(bucket: Bucket) -> list[Row]:
    """What is asked of the bucket, counted on the wire."""
    with CountedBucket(bucket) as counted, site(counted.bucket) as server:
        before = counted.log_puts
        publish(server.url, _COMMITS)
        puts = (counted.log_puts - before) / (_COMMITS + 1)  # and the login, which is one too
        page_weight(server.url, "/posts")
        counted.clear()
        seconds = server.visit("/posts", _VIEWS)
        # Whether there is something new is asked by the clock, at most twice a second.
        by_view = max(0, counted.requests - int(seconds * 2) - 1)
    return [
        Row("site", "PUTs a commit", puts, "", goal=1),
        Row("site", f"requests by {_VIEWS:,} views of a kept page", by_view, "", goal=0),
        Row(
            "site",
            "looks at the log, however many visitors",
            counted.requests / seconds,
            "a second",
            goal=2.1,
        ),
    ]
