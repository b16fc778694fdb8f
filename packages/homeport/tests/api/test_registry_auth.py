"""The registry behind ECR's tokens, used with skopeo as anybody would."""

from __future__ import annotations

import base64
import json
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from homeport.credentials import TOKEN_LIFETIME, Principal
from ocikit import ContainerConfig, Image, Layout, Platform


@pytest.fixture
def token(harbour: Any) -> str:
    """`user:password`, as GetAuthorizationToken gives it."""
    (data,) = harbour.client("ecr").get_authorization_token()["authorizationData"]
    return base64.b64decode(data["authorizationToken"]).decode()


@pytest.fixture
def layout(tmp_path: Path) -> str:
    """An OCI layout with two images: `one` and `two`."""
    layout = Layout(tmp_path / "layout")
    for name in ("one", "two"):
        layout.write(Image.empty(Platform.host()).with_config(ContainerConfig(env=(f"NAME={name}",))), name)
    return f"oci:{tmp_path / 'layout'}"


def _skopeo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["skopeo", *arguments], capture_output=True, text=True, check=False, timeout=300)


def _push(harbour: Any, token: str, source: str, target: str) -> subprocess.CompletedProcess[str]:
    options = ["--dest-tls-verify=false", f"--dest-creds={token}"]
    return _skopeo("copy", "--quiet", *options, source, f"docker://{harbour.host}/{target}")


def _inspect(harbour: Any, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    return _skopeo("inspect", "--tls-verify=false", *options, f"docker://{harbour.host}/{target}")


def test_an_image_is_pushed_and_the_controller_is_told(harbour: Any, token: str, layout: str) -> None:
    harbour.client("ecr").create_repository(repositoryName="team/blog")
    pushed = _push(harbour, token, f"{layout}:one", "team/blog:v1")
    assert pushed.returncode == 0, pushed.stderr
    inspected = _inspect(harbour, "team/blog:v1", f"--creds={token}")
    assert inspected.returncode == 0, inspected.stderr
    found = json.loads(inspected.stdout)
    assert found["Env"] == ["NAME=one"]
    assert harbour.controller.pushed == [("team/blog", "v1", found["Digest"])]


def test_a_release_tag_is_fixed_while_latest_moves(harbour: Any, token: str, layout: str) -> None:
    harbour.client("ecr").create_repository(
        repositoryName="blog",
        imageTagMutability="IMMUTABLE_WITH_EXCLUSION",
        imageTagMutabilityExclusionFilters=[{"filterType": "WILDCARD", "filter": "latest"}],
    )
    for source, target in (("one", "v1"), ("one", "latest"), ("two", "v2"), ("two", "latest"), ("one", "v1")):
        pushed = _push(harbour, token, f"{layout}:{source}", f"blog:{target}")
        assert pushed.returncode == 0, pushed.stderr
    refused = _push(harbour, token, f"{layout}:two", "blog:v1")
    assert refused.returncode != 0
    assert "v1" in refused.stderr
    assert [tag for _, tag, _ in harbour.controller.pushed] == ["v1", "latest", "v2", "latest", "v1"]
    one, two = (harbour.controller.pushed[index][2] for index in (0, 2))
    creds = f"--creds={token}"
    assert json.loads(_inspect(harbour, "blog:latest", creds).stdout)["Digest"] == two
    assert json.loads(_inspect(harbour, "blog:v1", creds).stdout)["Digest"] == one


def test_a_repository_must_be_there_before_its_images(harbour: Any, token: str, layout: str) -> None:
    refused = _push(harbour, token, f"{layout}:one", "nowhere:v1")
    assert refused.returncode != 0
    assert harbour.controller.pushed == []
    harbour.client("ecr").create_repository(repositoryName="nowhere")
    assert _push(harbour, token, f"{layout}:one", "nowhere:v1").returncode == 0


def test_no_wrong_token_opens_the_registry(harbour: Any, token: str, layout: str) -> None:
    harbour.client("ecr").create_repository(repositoryName="blog")
    then = datetime.now(UTC) - TOKEN_LIFETIME - timedelta(seconds=1)
    old, _ = harbour.keyring.registry_token(Principal(), then)
    _, service = harbour.service_key("blog")
    for wrong in (f"AWS:{old}", f"{token}x", "AWS:guess", f"{service.id}:{service.secret}"):
        assert _push(harbour, wrong, f"{layout}:one", "blog:v1").returncode != 0
        basic = base64.b64encode(wrong.encode()).decode()
        assert harbour.send("GET", "/v2/", {"Authorization": f"Basic {basic}"}).status == 401
    anonymous = harbour.send("GET", "/v2/blog/manifests/v1")
    assert anonymous.status == 401
    assert anonymous.headers["www-authenticate"].startswith("Basic ")
    assert json.loads(anonymous.body)["errors"][0]["code"] == "UNAUTHORIZED"
    assert harbour.controller.pushed == []


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic !", "Basic /w==", "Basic QVdT", "Bearer x", "Basic " + "A" * 9000]
)
def test_a_header_that_makes_no_sense_opens_nothing(harbour: Any, header: str) -> None:
    assert harbour.send("GET", "/v2/", {"Authorization": header}).status in (400, 401)


def test_the_root_key_opens_the_registry(harbour: Any) -> None:
    basic = base64.b64encode(f"{harbour.root.id}:{harbour.root.secret}".encode()).decode()
    assert harbour.send("GET", "/v2/", {"Authorization": f"Basic {basic}"}).status == 200
