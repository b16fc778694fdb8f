"""`tagboat deploy` against a real homeport: what it promises when things go well, and when they do not."""

import json
import subprocess
import sys
from pathlib import Path

BIN = Path(sys.executable).parent

BROKEN = """\
import sys


def main():
    print("reading the settings", flush=True)
    sys.exit("cannot start: the flux capacitor is missing")
"""


def test_a_release_is_served_and_deploying_it_again_changes_nothing(served):
    assert served.port.get(served.name).text == "hello from 1.0.0"
    again = served.tagboat("deploy", "--json")
    assert again.returncode == 0, again.stderr
    assert "is live already" in again.stderr
    history = json.loads(served.tagboat("history", "--json").stdout)
    assert [entry["action"] for entry in history] == ["deploy"]  # of the first time


def test_the_next_release_replaces_the_one_before(served):
    done = served.release("1.1.0")
    assert done.returncode == 0, done.stderr
    assert served.port.get(served.name).text == "hello from 1.1.0"


def test_new_settings_and_new_code_arrive_together(served):
    done = served.release("1.1.0", GREETING="good day")
    assert done.returncode == 0, done.stderr
    assert served.port.get(served.name).text == "good day from 1.1.0"
    events = served.tagboat("logs", "--events", "--since", "1h").stdout
    assert events.count("Provisioning instances") == 2  # of 1.0.0, and once of 1.1.0
    # The service watches `latest` again: the next release is a plain move of the tag.
    done = served.release("1.2.0", GREETING="good day")
    assert done.returncode == 0, done.stderr
    assert served.port.get(served.name).text == "good day from 1.2.0"


def test_a_release_that_never_gets_healthy_fails_with_its_last_lines_and_the_old_one_serves(served):
    done = served.release("1.1.0", BROKEN)
    assert done.returncode == 30
    assert "ROLLBACK_SUCCEEDED" in done.stderr
    assert "the version that served before still serves" in done.stderr
    assert "cannot start: the flux capacitor is missing" in done.stderr
    assert served.port.get(served.name).text == "hello from 1.0.0"


def test_a_first_release_that_fails_can_be_mended_by_the_next(app):
    done = app.release("1.0.1", BROKEN)
    assert done.returncode == 30
    assert "cannot start: the flux capacitor is missing" in done.stderr
    done = app.release("1.0.2")
    assert done.returncode == 0, done.stderr
    assert app.port.get(app.name).text == "hello from 1.0.2"


def test_what_is_not_tagged_is_not_deployed(app):
    done = app.tagboat("deploy")
    assert done.returncode == 1
    assert f"there is no tag {app.name}-v1.0.0 yet" in done.stderr
    assert "run `tagboat tag` first" in done.stderr


def test_a_dirty_tree_is_not_deployed(served):
    served.write("1.0.0", "# half an idea\n")
    done = served.tagboat("deploy")
    assert done.returncode == 14  # as `tagboat tag` would say
    assert f"src/{served.name}/__init__.py" in done.stderr


def test_a_commit_after_the_tag_is_not_deployed_under_it(served):
    served.write("1.0.0", BROKEN)
    served.commit()
    done = served.tagboat("deploy")
    assert done.returncode == 1
    assert f"but tag {served.name}-v1.0.0 is on" in done.stderr


def test_a_release_tag_in_the_registry_is_never_given_to_another_image(served):
    served.write("1.0.0", BROKEN)
    served.commit()
    served.git("push", "--quiet", "--delete", "origin", f"{served.name}-v1.0.0")
    served.git("tag", "--delete", f"{served.name}-v1.0.0")
    assert served.tagboat("tag").returncode == 0
    done = served.tagboat("deploy")
    assert done.returncode == 1
    assert "a release is never overwritten" in done.stderr
    assert served.port.get(served.name).text == "hello from 1.0.0"


def test_wrong_credentials_are_refused_in_the_protocols_own_form(served):
    done = served.tagboat("deploy", AWS_SECRET_ACCESS_KEY="wrong")
    assert done.returncode == 1
    assert "SignatureDoesNotMatch" in done.stderr or "InvalidSignatureException" in done.stderr
    assert "the secret is not that of the key" in done.stderr


def test_an_unset_variable_of_the_service_is_named(served):
    environment = {key: value for key, value in served.port.environment.items() if key != "GREETING"}
    done = subprocess.run(
        [BIN / "tagboat", "deploy"],
        cwd=served.root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home())} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "GREETING" in done.stderr


def test_the_report_says_where_the_time_went(served):
    done = served.release("1.1.0")
    report = json.loads(done.stdout)
    assert report["tag"] == f"{served.name}-v1.1.0"
    assert report["digest"].startswith("sha256:")
    assert report["url"] == f"https://{served.name}.localhost:{served.port.https}"
    assert set(report["seconds"]) == {"build", "push", "rollout"}
