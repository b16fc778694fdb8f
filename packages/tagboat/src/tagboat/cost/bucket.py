"""What a database in a bucket asks of S3: requests of bucketlog, as they were counted.

A reader looks at the end of the log for each page it makes, but not more often than a value may be old:
one GET. A writer commits with one PUT. A start lists the log and reads what came since the last snapshot.
Snapshots come on top, after some dozen commits. A test of the workspace counts real requests and compares.
"""

from __future__ import annotations

from dataclasses import dataclass

from tagboat.cost.usage import Usage

LOOKS_A_SECOND = 4.0  # of one instance at most: what it knows is good for a quarter of a second
PUTS_A_WRITE = 1.023
PUTS_A_START = 1.0
GETS_A_START = 27.0
LISTS_A_START = 2.0
LISTS_A_WRITE = 0.015


@dataclass(frozen=True, slots=True)
class Requests:
    """A month's requests; S3 asks the price of a PUT for a LIST."""

    puts: float
    gets: float
    lists: float


def requests(usage: Usage, starts: float) -> Requests:
    """Of instances that start so often in a month."""
    looks = min(usage.views, LOOKS_A_SECOND * usage.active * 3600 * usage.instances)
    return Requests(
        puts=usage.writes * PUTS_A_WRITE + starts * PUTS_A_START,
        gets=looks + starts * GETS_A_START,
        lists=starts * LISTS_A_START + usage.writes * LISTS_A_WRITE,
    )
