"""What auditors of workflows say of the one that `tagboat ci github` writes."""

import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
WORKFLOW = ".github/workflows/release-shop.yml"


@pytest.fixture
def written(checkout):
    checkout.write(
        "shop/pyproject.toml",
        checkout.read("shop/pyproject.toml") + '[tool.tagboat.ci]\ntest = "make test"\nsigstore = "public"\n',
    )
    done = checkout.tagboat("ci", "github", "shop")
    assert done.returncode == 0, done.stderr
    return checkout


def audits(folder: Path) -> tuple[int, str]:
    """Both linters on a folder's workflows: how many of them complain, and what they say."""
    files = sorted((folder / ".github" / "workflows").iterdir())
    commands = (
        [BIN / "zizmor", "--offline", "--no-config", "--persona", "auditor", "--no-progress", *files],
        [BIN / "actionlint", "-no-color", *files],
    )
    done = [
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        for command in commands
    ]
    return sum(one.returncode != 0 for one in done), "\n".join(one.stdout + one.stderr for one in done)


def test_auditors_find_nothing_in_the_workflow(written):
    complaining, said = audits(written.root)
    assert complaining == 0, said
    assert "No findings to report" in said


def test_auditors_would_find_something(written):
    text = written.read(WORKFLOW)
    text = text.replace("persist-credentials: false", "persist-credentials: true")
    text = text.replace("needs: test", "needs: tests")
    written.write(WORKFLOW, text)
    complaining, said = audits(written.root)
    assert complaining == 2
    assert "artipacked" in said
    assert 'job "build" needs job "tests" which does not exist' in said
