"""What the README says is so."""

import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from urllib.request import urlopen

from company_site.settings import VARIABLES, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_the_command_starts_the_site(tmp_path, free_port):
    (command,) = re.findall(r"^```sh\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
    command, replaced = re.subn(r"file:///\w+/site", f"file://{tmp_path}", command)
    assert replaced == 2
    port = str(free_port())
    process = subprocess.Popen(
        ["bash", "-c", command],
        env=os.environ | {"PORT": port, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                with urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page:
                    assert "Sign in" in page.read().decode()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)


def test_every_variable_has_its_row():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.+) \|$", README, re.MULTILINE))
    assert {name: text.replace("`", "") for name, text in rows.items()} == dict(VARIABLES)


def test_the_login_in_the_readme_is_one_that_starts():
    (block,) = re.findall(r"^```ini\n(.*?)\n```$", README, re.MULTILINE | re.DOTALL)
    variables = dict(line.split("=", 1) for line in block.splitlines())
    stores = {"DATABASE_URL": "s3://data", "UPLOADS_URL": "s3://uploads"}
    settings = Settings.from_environment(stores | variables)
    assert settings.login is not None
    assert f"`{settings.site_url}/login/callback`" in README
    for email in ("ines@northpier.example", "a@sub.northpier.example", "guest@elsewhere.example"):
        assert settings.login.gate.lets_in(email)


def test_every_dependency_earns_a_row():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {re.match(r"[a-z0-9-]+", dependency)[0] for dependency in project["dependencies"]}
    table = README.split("## What each dependency earns")[1].split("##")[0]
    rows = re.findall(r"^\| ([a-z0-9-]+(?:, [a-z0-9-]+)*) \| [^-]", table, re.MULTILINE)
    assert {name for row in rows for name in row.split(", ")} == named


def test_the_headline_stands_in_one_place():
    from company_site.pages import views  # noqa: PLC0415

    assert "`HEADLINE` in\n`src/company_site/pages/views.py`" in README
    sources = [*ROOT.glob("src/**/*.py"), *ROOT.glob("src/**/*.html")]
    assert sum(path.read_text().count(views.HEADLINE) for path in sources) == 1
