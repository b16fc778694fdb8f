"""The tour in the README runs as it is printed."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_tour_runs(tmp_path, monkeypatch, serving, capsys):
    monkeypatch.chdir(tmp_path)
    images, registry, client = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(images, names)  # noqa: S102  our own page
    exec(registry, names)  # noqa: S102
    with serving(names["app"]) as port:
        names["host"] = f"127.0.0.1:{port}"
        exec(client, names)  # noqa: S102
    said = capsys.readouterr().out
    assert all(f"team/{name} is now sha256:" in said for name in ("hello:v1", "hello:latest", "copy:v1"))
