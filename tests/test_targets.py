"""A homeport as a target: the same plan and the same deployment as on AWS, against the real thing."""

import json

from packages.tagboat.tests.dns_server import serving

TARGET = """
[tool.tagboat.targets.port]
kind = "homeport"
environment = { COLOUR = "blue" }
"""


def configure(app, old="", new=""):
    file = app.root / "pyproject.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new) if old else text + TARGET)


def actions(app):
    done = app.tagboat("plan", "--json")
    return {one["kind"]: one["action"] for one in json.loads(done.stdout)}, done.returncode


def test_a_homeport_is_planned_applied_deployed_to_and_emptied(app):
    configure(app)
    app.commit()
    assert actions(app) == ({"ecr.repository": "create", "apprunner.service": "wait"}, 2)
    done = app.tagboat("apply")
    assert (done.returncode, done.stdout) == (0, "1 created, 0 changed\n"), done.stderr
    assert app.tagboat("tag").returncode == 0
    deployed = app.tagboat("deploy", "--json")
    assert deployed.returncode == 0, deployed.stderr
    assert actions(app) == ({"ecr.repository": "keep", "apprunner.service": "keep"}, 0)

    live = f'\n[tool.tagboat.targets.live]\nkind = "homeport"\nname = "{app.name}-live"\n'
    configure(app, TARGET, TARGET + live)
    promoted = app.tagboat("promote", "--from", "port", "--target", "live", "--json")
    assert promoted.returncode == 0, promoted.stderr
    assert json.loads(promoted.stdout)["digest"] == json.loads(deployed.stdout)["digest"]
    assert app.port.get(f"{app.name}-live").text == "hello from 1.0.0"
    assert app.tagboat("destroy", "--target", "live", "--yes").returncode == 0
    configure(app, live, "")

    configure(app, 'COLOUR = "blue"', 'COLOUR = "red"')
    plan = app.tagboat("plan")
    assert plan.returncode == 2
    assert "environment.COLOUR: (not shown) -> (not shown)" in plan.stdout
    done = app.tagboat("apply")
    assert (done.returncode, done.stdout) == (0, "0 created, 1 changed\n"), done.stderr
    assert app.tagboat("apply").stdout == "0 created, 0 changed\n"

    named(app)
    configure(app, 'kind = "homeport"', 'kind = "homeport"\nbudget = 10')
    refused = app.tagboat("plan")
    assert refused.returncode == 1
    assert "  - budget: a machine of your own has no bill here; leave it out" in refused.stderr
    configure(app, "\nbudget = 10", "")

    done = app.tagboat("destroy", "--yes")
    assert done.returncode == 0, done.stderr
    assert "1 removed, 1 kept" in done.stdout
    assert "ecr.repository" in done.stdout
    assert app.tagboat("status").returncode == 32


def named(app):
    """The service has names of its own, and whoever keeps their DNS is asked to lead them there."""
    names = f'domain = "www.{app.name}.example"\nredirects = ["{app.name}.example"]'
    configure(app, 'kind = "homeport"', f'kind = "homeport"\n{names}')
    with serving() as zones:
        zones.zone(f"{app.name}.example", "")
        environment = {"TAGBOAT_RESOLVERS": zones.setting}
        done = app.tagboat("apply", **environment)
        assert (done.returncode, done.stdout) == (0, "2 created, 0 changed\n"), done.stderr
        # Of this homeport's names none is in the DNS: who looks is told how visitors can come.
        plan = app.tagboat("plan", **environment)
        assert f"? dns.record name www.{app.name}.example: its homeport has no name of its own" in plan.stdout
        zones.zone(f"{app.name}.example", "@ 60 A 127.0.0.1\nwww 60 A 127.0.0.1\n")
        done = app.tagboat("drift", **environment)
        assert (done.returncode, done.stdout) == (0, ""), done.stderr
    configure(app, f"\n{names}", "")
