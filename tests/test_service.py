"""What can be asked of a service, and done to it, after it was deployed: against a real homeport."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent

BROKEN = "import sys\n\n\ndef main():\n    sys.exit('cannot start')\n"


def result(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_service_goes_back_to_the_release_before_and_its_history_tells(served):
    name = served.name
    second = served.release("1.1.0")
    assert second.returncode == 0, second.stderr
    digest = json.loads(second.stdout)["digest"]

    status = result(served.tagboat("status", "--json"))
    assert (status["service"], status["state"], status["tag"]) == (name, "RUNNING", f"{name}-v1.1.0")
    assert status["digest"] == digest
    assert [entry["type"] for entry in status["operations"]] == ["START_DEPLOYMENT", "CREATE_SERVICE"]
    assert f"{name}  RUNNING  https://{name}.localhost" in served.tagboat("status").stdout

    assert "listening" in served.tagboat("logs", "--lines", "1").stdout
    assert "Deployment started" in served.tagboat("logs", "--events", "--since", "1h").stdout
    with subprocess.Popen(
        [BIN / "tagboat", "logs", "--follow"],
        cwd=served.root,
        env=os.environ | served.port.environment | {"GREETING": "hello"},
        stdout=subprocess.PIPE,
        text=True,
    ) as following:
        assert "listening" in following.stdout.readline()
        following.terminate()
    (line,) = served.tagboat("logs", "--json", "--lines", "1").stdout.splitlines()
    assert json.loads(line)["message"] == "listening"

    # Not what is released: nothing is done.
    untouched = served.tagboat("rollback", "--only-from", f"sha256:{'0' * 64}")
    assert (untouched.returncode, untouched.stdout) == (0, "")
    assert "nothing to roll back" in untouched.stderr

    back = served.tagboat("rollback", "--only-from", digest, "--json")
    assert result(back)["tag"] == f"{name}-v1.0.0"
    assert result(back)["replaced"] == digest
    assert "Deployment started" in back.stderr  # progress while it waits
    assert served.port.get(name).text == "hello from 1.0.0"

    # What was left as bad is not gone back to, unless it is named.
    nowhere = served.tagboat("rollback")
    assert nowhere.returncode == 33
    assert f"tagboat rollback --to {name}-vVERSION" in nowhere.stderr
    assert served.tagboat("rollback", "--to", "1.1.0").stdout == f"{name}-v1.1.0\n"
    assert served.port.get(name).text == "hello from 1.1.0"
    assert served.tagboat("rollback", "--to", "9.9.9").returncode == 33

    history = result(served.tagboat("history", "--json", GITHUB_ACTOR="octocat", GITHUB_RUN_ID="7"))
    assert [(entry["action"], entry["outcome"], entry["tag"].rpartition("-v")[2]) for entry in history] == [
        ("rollback", "succeeded", "1.1.0"),
        ("rollback", "succeeded", "1.0.0"),
        ("deploy", "succeeded", "1.1.0"),
        ("deploy", "succeeded", "1.0.0"),
    ]
    deployed = history[2]
    assert deployed["digest"] == digest
    assert deployed["commit"] == served.git("rev-parse", f"{name}-v1.1.0^{{commit}}")
    assert deployed["identity"].startswith("arn:aws:")
    printed = served.tagboat("history").stdout.splitlines()
    assert re.search(rf"deploy  succeeded  {name}-v1\.1\.0  sha256:\w+  commit \w+  by arn:aws:", printed[2])


def test_a_deployment_that_fails_is_on_record_and_not_gone_back_to(served):
    assert served.release("1.1.0", BROKEN).returncode == 30
    history = result(served.tagboat("history", "--json"))
    assert [(entry["action"], entry["outcome"]) for entry in history] == [
        ("deploy", "failed"),
        ("deploy", "succeeded"),
    ]
    # `latest` still names what does not start; to go back mends that.
    back = served.tagboat("rollback")
    assert back.stdout == f"{served.name}-v1.0.0\n"
    assert "the platform has put it back already" in back.stderr
    assert result(served.tagboat("status", "--json"))["tag"] == f"{served.name}-v1.0.0"
    assert served.port.get(served.name).text == "hello from 1.0.0"


def test_an_image_that_was_built_before_is_deployed_as_it_is(served):
    served.write("1.1.0")
    served.commit()
    assert served.tagboat("tag").returncode == 0
    built = served.tagboat("build", "--output", f"oci:{served.root.parent / 'image'}")
    digest = built.stdout.strip()
    location = f"oci:{served.root.parent / 'image'}"
    wrong = served.tagboat("deploy", "--image", location, "--digest", f"sha256:{'0' * 64}")
    assert wrong.returncode == 2
    assert f"{location} is not sha256:0000" in wrong.stderr
    done = served.tagboat(
        "deploy", "--image", location, "--digest", digest, "--json", CI_JOB_URL="https://ci/7"
    )
    assert result(done)["digest"] == digest
    assert served.port.get(served.name).text == "hello from 1.1.0"
    assert result(served.tagboat("history", "--json"))[0]["run"] == "https://ci/7"


def test_the_smoke_test_sees_what_the_health_check_does_not(served):
    url = f"https://{served.name}.localhost:{served.port.https}"
    assert served.tagboat("smoke", url).returncode == 0
    assert result(served.tagboat("smoke", "--json", url)) == {"url": url, "version": None}
    project = served.root / "pyproject.toml"
    project.write_text(project.read_text() + '\n[tool.tagboat.ci]\nversion-header = "X-Other"\n')
    done = served.tagboat("smoke", "--timeout", "0", url)
    assert done.returncode == 34
    assert "is served by version None, not 1.0.0" in done.stderr
    assert served.tagboat("smoke", "--timeout", "0", "http://127.0.0.1:1").returncode == 34
    assert served.tagboat("smoke", "ftp://x").returncode == 2


def test_a_service_that_is_not_there_has_an_exit_code_of_its_own(app):
    for command in ("status", "logs", "history", "rollback"):
        done = app.tagboat(command)
        assert (done.returncode, done.stdout) == (32, "")
        assert f"there is no service {app.name}" in done.stderr
