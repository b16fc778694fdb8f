"""Each setting of a service and of a target: each kind of target honours it, or refuses it."""

import dataclasses
import json

import pytest
from packages.tagboat.tests.aws.conftest import REGION

from tagboat.component import Component
from tagboat.config import TARGET_KINDS, Service, Target
from tagboat.runtime.choice import runtime_of
from tagboat.targets.place import Place, UnsupportedError
from tagboat.targets.target import desired

REFUSED = object()
WHOLE = """
[project]
name = "shop"
version = "1.4.0"
[project.scripts]
shop = "shop:main"
[tool.tagboat.service]
cpu = 256
memory = 512
health-path = "/healthz"
{service}
[tool.tagboat.targets.production]
kind = "{kind}"
{region}
{target}
"""
# What is written, and what then stands in what should be there; by kind where that differs. What goes with a
# setting for it to make sense is written beside it.
OTHERWISE = "*"
KEY = "arn:aws:kms:eu-north-1:123456789012:key/ab-12"
SETTINGS = {
    "service.name": ('name = "emporium"', "emporium"),
    "service.port": ("port = 9123", {OTHERWISE: 9123, "lambda": "9123"}),
    "service.cpu": ("cpu = 1024\nmemory = 2048", {"lambda": 2048, OTHERWISE: 1024}),
    "service.memory": ("memory = 1024", 1024),
    "service.health-path": ('health-path = "/well"', "/well"),
    "service.environment": ('environment = { WHO = "nobody-else" }', "nobody-else"),
    "service.secrets": (
        'secrets = { KEY = "secretsmanager:away/key", TOKEN = "ssm:/away/token" }',
        {"lambda": '"KEY":["secretsmanager","away/key",null]', OTHERWISE: "away/key"},
    ),
    "target.secrets": (
        'secrets = { KEY = "secretsmanager:away/key:member" }',
        {"vm": "away/key:member::", "homeport": "away/key:member::", OTHERWISE: "away/key"},
    ),
    "target.secrets-key": (
        f'secrets-key = "{KEY}"\nsecrets = {{ KEY = "secretsmanager:away/key" }}',
        {"vm": REFUSED, "homeport": REFUSED, OTHERWISE: "key/ab-12"},
    ),
    "target.region": ('region = "eu-north-1"', {"homeport": REFUSED, OTHERWISE: "eu-north-1"}),
    "target.name": ('name = "emporium"', "emporium"),
    "target.platform": (
        'platform = "linux/arm64"',
        {"apprunner": REFUSED, "ecs-express": "ARM64", "homeport": "linux/arm64", OTHERWISE: "arm64"},
    ),
    "target.domain": ('domain = "a.example"', "a.example"),
    "target.redirects": ('redirects = ["b.example"]\ndomain = "a.example"', "b.example"),
    "target.data-bucket": (
        'data-bucket = "datadata"',
        {"homeport": REFUSED, "vm": REFUSED, OTHERWISE: "datadata"},
    ),
    "target.uploads-bucket": (
        'uploads-bucket = "updata"',
        {"homeport": REFUSED, "vm": REFUSED, OTHERWISE: "updata"},
    ),
    "target.uploads-path": (
        'uploads-path = "/up/*"\nuploads-bucket = "updata"',
        {"homeport": REFUSED, "vm": REFUSED, OTHERWISE: "/up/*"},
    ),
    "target.cached-paths": (
        'cached-paths = ["/kept/*"]',
        {"homeport": REFUSED, "vm": REFUSED, OTHERWISE: "/kept/*"},
    ),
    "target.min-instances": ("min-instances = 17\nmax-instances = 19", {"vm": REFUSED, OTHERWISE: 17}),
    "target.max-instances": ("max-instances = 19", {"vm": REFUSED, OTHERWISE: 19}),
    "target.concurrency": ("concurrency = 23", {"apprunner": 23, "homeport": 23, OTHERWISE: REFUSED}),
    "target.scale-on": ('scale-on = "memory"', {"ecs-express": "AVERAGE_MEMORY", OTHERWISE: REFUSED}),
    "target.scale-target": ("scale-target = 29", {"ecs-express": 29, OTHERWISE: REFUSED}),
    "target.instance-type": ('instance-type = "t4g.large"', {"vm": "t4g.large", OTHERWISE: REFUSED}),
    "target.homeport-version": (
        'homeport-version = "7.8.9"',
        {"vm": "7.8.9", "homeport": "7.8.9", OTHERWISE: REFUSED},
    ),
    "target.log-days": ("log-days = 731", {"lambda": 731, "ecs-express": 731, OTHERWISE: REFUSED}),
    "target.budget": (
        'budget = 31\nalert = "a@b.example"',
        {"homeport": REFUSED, OTHERWISE: 31},
    ),
    "target.alert": (
        'alert = "a@b.example"\nbudget = 31',
        {"homeport": REFUSED, OTHERWISE: "a@b.example"},
    ),
    "target.budget-scope": (
        'budget-scope = "component"\nalert = "a@b.example"\nbudget = 31',
        {"homeport": REFUSED, OTHERWISE: {"component": "shop"}},
    ),
    "target.environment": ('environment = { WHO = "nobody-else" }', "nobody-else"),
}


def test_no_setting_is_left_out_here():
    known = {f"service.{field.name}" for field in dataclasses.fields(Service)}
    known |= {f"target.{field.name}" for field in dataclasses.fields(Target)} - {
        "target.key", "target.kind", "target.given",
    }  # fmt: skip
    assert {name.replace("-", "_") for name in SETTINGS} == known


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("kind", TARGET_KINDS)
def test_a_setting_is_in_what_should_be_there_or_is_refused(tmp_path, monkeypatch, kind, setting):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, REGION)
    written, wanted = SETTINGS[setting]
    if isinstance(wanted, dict) and OTHERWISE in wanted:
        wanted = wanted.get(kind, wanted[OTHERWISE])
    if wanted is REFUSED:
        with pytest.raises(UnsupportedError) as caught:
            state(tmp_path, kind, setting, written)
        assert f"- {setting.partition('.')[2]}" in str(caught.value)
        return
    assert has(state(tmp_path, kind, setting, written), wanted)
    assert not has(state(tmp_path, kind, setting, ""), wanted)


def state(directory, kind, setting, written):
    """Everything that should be there for a target that has `written`, and what a homeport is asked for."""
    tables = {"service": "", "target": "", setting.partition(".")[0]: written}
    if kind in ("lambda", "ecs-express", "vm"):
        tables["target"] += '\nplatform = "linux/amd64"' if "platform" not in written else ""
    if kind == "vm" and "domain" not in written:
        tables["target"] += '\ndomain = "machine.example"'
    region = f'region = "{REGION}"' if kind != "homeport" and "region" not in written else ""
    text = WHOLE.format(kind=kind, region=region, **tables)
    (directory / "pyproject.toml").write_text(without_repeats(text))
    component = Component.load(directory)
    target = component.config.targets["production"]
    place = Place(component, target, "123456789012", target.region or REGION)
    found = [[one.name, one.settings, one.tags] for one in desired(place)]
    found.append(place.region)
    if kind == "homeport":
        port = runtime_of(component, "production")
        found += [port.name, port.settings("registry.example/shop:latest").request(), str(port.platform)]
    return json.loads(json.dumps(found, default=str))


def without_repeats(text):
    """The text without what comes before of the same key of a table."""
    kept, seen = [], set()
    for line in reversed(text.splitlines()):
        key = line.partition(" = ")[0]
        if line.startswith("["):
            seen.clear()
        elif key in seen:
            continue
        seen.add(key)
        kept.append(line)
    return "\n".join(reversed(kept))


def has(value, wanted):
    """Whether it is anywhere in a document: a text in a text, anything else as it is."""
    if isinstance(wanted, str) and isinstance(value, str):
        return wanted in value
    if isinstance(value, dict):
        if isinstance(wanted, dict) and wanted.items() <= value.items():
            return True
        return any(has(one, wanted) for one in [*value, *value.values()])
    if isinstance(value, list):
        return any(has(one, wanted) for one in value)
    return type(value) is type(wanted) and value == wanted
