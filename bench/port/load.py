"""wrk, and what it says of the requests that it made."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["Load", "Outcome", "require_wrk"]

_UNITS: Final = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


@dataclass(frozen=True, slots=True)
class Outcome:
    """`rate` in requests a second, `p99` in seconds.

    `failed` counts answers that are no success, and whatever sockets refused.
    """

    requests: int
    failed: int
    rate: float
    p99: float


def require_wrk() -> None:
    """Raises RuntimeError when it is not installed."""
    if shutil.which("wrk") is None:
        raise RuntimeError("wrk makes the load, and is not installed: apt-get install wrk")


class Load:
    """Requests on kept connections from one thread, from now on for `seconds`.

    `script` is a file of Lua that says what is asked for.
    """

    def __init__(
        self, url: str, host: str, seconds: int, connections: int = 32, script: Path | None = None
    ) -> None:
        self._process = subprocess.Popen(
            [
                *("wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s"),
                *("--latency", "--timeout", "10s", "--header", f"Host: {host}"),
                *(("--script", str(script)) if script else ()),
                url,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )

    @property
    def over(self) -> bool:
        return self._process.poll() is not None

    def outcome(self) -> Outcome:
        """When the time is over."""
        said, _ = self._process.communicate()
        if self._process.returncode != 0:
            raise RuntimeError(f"wrk ended with {self._process.returncode}:\n{said}")
        errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
        refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
        return Outcome(
            requests=int(_found(r"(\d+) requests in", said)),
            failed=sum(map(int, errors.groups() if errors else ())) + int(refused[1] if refused else 0),
            rate=float(_found(r"Requests/sec:\s+([\d.]+)", said)),
            p99=_seconds(_found(r"99%\s+([\d.]+\w+)", said)),
        )


def _found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise RuntimeError(f"wrk said nothing like {pattern}:\n{text}")
    return match[1]


def _seconds(text: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(\w+)", text).groups()  # type: ignore[union-attr]
    return float(number) * _UNITS[unit]
