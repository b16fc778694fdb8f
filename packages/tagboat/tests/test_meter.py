"""The line that says how much was sent."""

import io
import re
import threading

from tagboat.meter import Meter


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_one_line_moves():
    stream = Terminal()
    meter = Meter(stream)
    meter.sizes = {"sha256:a": 2_000_000, "sha256:b": 1_000_000, "sha256:there": 9_000_000}
    meter("sha256:a", 600_000)
    assert stream.getvalue() == ""
    with meter:
        meter("sha256:a", 400_000)
        meter("sha256:b", 500_000)
    text = stream.getvalue()
    assert text.count("\n") == 1
    bar = re.escape("[############............] 1.0 of 2.0 MB, ")
    assert re.search(rf"\r\x1b\[Ktagboat: pushing {bar}\d+\.\d MB/s", text)
    assert re.search(r"\r\x1b\[Ktagboat: pushed 1\.5 MB in \d+\.\d s, \d+\.\d MB/s\n$", text)


def test_the_bar_is_never_longer_than_itself(monkeypatch):
    monkeypatch.setattr("tagboat.meter._REFRESH", 0)
    stream = Terminal()
    meter = Meter(stream)
    meter.sizes = {"a": 10}
    with meter:
        for _ in range(3):  # sent anew, as after a broken connection
            meter("a", 10)
        meter("unknown", 5)
    bars = re.findall(r"\[([#.]+)\]", stream.getvalue())
    assert {len(bar) for bar in bars} == {24}
    assert bars[-1] == "#" * 24


def test_elsewhere_there_is_a_line_at_the_end_if_anything_was_sent():
    stream = io.StringIO()
    with Meter(stream) as meter:
        meter("sha256:a", 2_000_000)
    assert re.fullmatch(r"tagboat: pushed 2\.0 MB in \d+\.\d s, \d+\.\d MB/s\n", stream.getvalue())
    silent = io.StringIO()
    with Meter(silent):
        pass
    assert silent.getvalue() == ""


def test_threads_lose_no_count():
    meter = Meter(io.StringIO())
    threads = [threading.Thread(target=lambda: [meter("x", 1) for _ in range(5000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.sent == 20_000
