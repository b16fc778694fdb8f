"""skopeo as a judge of the registry that we serve."""

import json

import pytest

from ocikit import Layout, Reference, unpack

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def test_skopeo_copies_in_both_directions_and_inspects(served, make_image, run, tmp_path):
    image = make_image({"hello": b"hello\n"}, {"more": b"x" * 100_000})
    Layout(tmp_path / "layout").write(image, "one")
    insecure = ("--dest-tls-verify=false", "--dest-creds=AWS:open-sesame")
    run("skopeo", "copy", *insecure, f"oci:{tmp_path}/layout:one", f"docker://{served.host}/team/app:one")
    assert served.storage.resolve("team/app", "one") == image.digest
    assert served.pushes == [("team/app", "one", str(image.digest), MANIFEST)]
    run(
        "skopeo", "copy", "--src-tls-verify=false", "--src-creds=AWS:open-sesame",
        f"docker://{served.host}/team/app:one", f"oci:{tmp_path}/back:two",
    )  # fmt: skip
    assert Layout(tmp_path / "back").image("two").digest == image.digest
    inspected = json.loads(
        run("skopeo", "inspect", "--tls-verify=false", "--creds=AWS:open-sesame",
            f"docker://{served.host}/team/app:one")
    )  # fmt: skip
    assert inspected["Digest"] == str(image.digest)
    assert inspected["RepoTags"] == ["one"]
    with served.client() as client:
        client.push(image, Reference(served.host, "team/app", "ours"))
    tags = run("skopeo", "list-tags", "--tls-verify=false", "--creds=AWS:open-sesame",
               f"docker://{served.host}/team/app")  # fmt: skip
    assert json.loads(tags)["Tags"] == ["one", "ours"]


def test_skopeo_prints_why_it_was_refused(served, make_image, run, tmp_path):
    Layout(tmp_path / "layout").write(make_image(), "one")
    target = f"docker://{served.host}/app:v1"
    copy = ("skopeo", "copy", "--dest-tls-verify=false")
    source = f"oci:{tmp_path}/layout:one"
    assert "authentication required" in run(*copy, "--dest-creds=AWS:wrong", source, target, fails=True)
    assert "may only pull" in run(*copy, "--dest-creds=reader:only-looking", source, target, fails=True)
    run(*copy, "--dest-creds=AWS:open-sesame", source, target)
    Layout(tmp_path / "layout").write(make_image({"hello": b"other"}), "one")
    assert "immutable" in run(*copy, "--dest-creds=AWS:open-sesame", source, target, fails=True)


def test_a_docker_manifest_is_kept_as_it_is(served, make_image, run, tmp_path):
    Layout(tmp_path / "layout").write(make_image(), "one")
    run("skopeo", "copy", "--format=v2s2", "--dest-tls-verify=false", "--dest-creds=AWS:open-sesame",
        f"oci:{tmp_path}/layout:one", f"docker://{served.host}/app:docker")  # fmt: skip
    with served.client() as client:
        image = client.image(Reference(served.host, "app", "docker"))
        assert image.manifest.media_type == "application/vnd.docker.distribution.manifest.v2+json"
        assert image.digest == client.digest(Reference(served.host, "app", "docker"))
        unpack(image, tmp_path / "root")
    assert (tmp_path / "root" / "hello").read_bytes() == b"hello\n"


@pytest.mark.parametrize("credentials", ["AWS:wrong", "nobody:open-sesame", None])
def test_skopeo_without_the_right_credentials_gets_nothing(served, make_image, run, credentials):
    with served.client() as client:
        client.push(make_image(), Reference(served.host, "app", "a"))
    who = [f"--creds={credentials}"] if credentials else ["--no-creds"]
    said = run("skopeo", "inspect", "--tls-verify=false", *who, f"docker://{served.host}/app:a", fails=True)
    assert "authentication required" in said or "unauthorized" in said
