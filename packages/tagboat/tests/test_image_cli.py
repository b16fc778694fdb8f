"""Looking into images: what is shown of them, how two are compared, and what a hostile one cannot do."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from ocikit import (
    ContainerConfig,
    History,
    Image,
    Layer,
    LayerWriter,
    Layout,
    Platform,
    Reference,
    Registry,
    write_docker_archive,
)
from tagboat.inspection import Difference, differences
from tagboat.location import Location, LocationError

HOST = Platform.host()


@pytest.fixture
def make(tmp_path):
    """Makes an image of layers, each a mapping of paths to content, or None for a folder."""
    count = iter(range(100))

    def layer(content: dict) -> Layer:
        with LayerWriter(tmp_path / f"{next(count)}.tar.gz") as writer:
            for path, data in content.items():
                if data is None:
                    writer.directory(path)
                elif isinstance(data, str):
                    writer.symlink(path, data)
                else:
                    writer.file(path, data, 0o755 if path.startswith("bin/") else 0o644)
            return writer.finish()

    def image(*layers: dict, **config) -> Image:
        made = Image.empty(HOST)
        for number, content in enumerate(layers):
            made = made.append(layer(content), History(created_by=f"step {number}"))
        return made.with_config(ContainerConfig(**config))

    return image


@pytest.fixture
def image(make):
    return make(
        {"etc": None, "etc/hosts": b"here", "bin/run": b"#!", "old": b"gone"},
        {".wh.old": b"", "bin/sh": "run"},
        user="1:1",
        env=("A=1", "PATH=/bin"),
        entrypoint=("/bin/run", "--fast"),
        labels={"org.example": "yes"},
    )


def run(*arguments, cwd=None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "tagboat", "image", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


def test_an_image_is_the_same_wherever_it_is(image, tmp_path, registry):
    Layout(tmp_path / "lay").write(image, "one")
    Layout(tmp_path / "lay").write(image, "two")
    write_docker_archive(image, tmp_path / "a.tar", ["a:1"])
    reference = Reference(registry, "team/a", "one")
    with Registry(registry) as client:
        client.push(image, reference)
    places = [f"oci:{tmp_path}/lay:one", f"tar:{tmp_path}/a.tar", str(reference)]
    found = [Location.parse(place).image() for place in places]
    assert [other.config for other in found] == [image.config] * 3
    assert [differences(image, other) for other in found] == [[]] * 3
    assert Location.parse(f"oci:{tmp_path}/lay").names() == ["one", "two"]
    assert Location.parse(f"{registry}/team/a").names() == ["one"]


def test_ls_prints_a_name_a_line(image, tmp_path):
    Layout(tmp_path).write(image, "1.0")
    Layout(tmp_path).write(image, "2.0")
    assert run("ls", f"oci:{tmp_path}").stdout == "1.0\n2.0\n"


def test_inspect_shows_how_it_starts_and_its_layers(image, tmp_path):
    Layout(tmp_path).write(image, "1.0")
    done = run("inspect", f"oci:{tmp_path}")
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["digest", str(image.digest)] in lines
    assert ["entrypoint", '["/bin/run", "--fast"]'] in lines
    assert ["variable", "A=1"] in lines
    assert ["label", "org.example=yes"] in lines
    shown = [rest.split() for name, rest in lines if name == "layer"]
    assert [words[0] for words in shown] == [str(layer.descriptor.digest) for layer in image.layers]
    assert [words[-2:] for words in shown] == [["step", "0"], ["step", "1"]]


def test_inspect_gives_the_documents_to_programs(image, tmp_path):
    Layout(tmp_path).write(image, "1.0")
    document = json.loads(run("inspect", "--json", f"oci:{tmp_path}").stdout)
    assert document["digest"] == str(image.digest)
    assert document["config"] == json.loads(image.config_bytes)
    assert document["manifest"] == json.loads(image.manifest_bytes)


def test_layers_lists_what_is_in_them(image, tmp_path):
    Layout(tmp_path).write(image, "1.0")
    done = run("layers", "--files", f"oci:{tmp_path}")
    assert done.stdout.splitlines() == [
        f"{image.layers[0].descriptor.digest}:",
        "drwxr-xr-x 0:0          0 /etc",
        "-rw-r--r-- 0:0          4 /etc/hosts",
        "-rwxr-xr-x 0:0          2 /bin/run",
        "-rw-r--r-- 0:0          4 /old",
        f"{image.layers[1].descriptor.digest}:",
        "-rw-r--r-- 0:0          0 /.wh.old",
        "lrwxrwxrwx 0:0          0 /bin/sh -> run",
    ]


def test_a_reader_that_has_enough_is_no_error(image, tmp_path, make):
    many = make({f"file{number}": b"" for number in range(20_000)})
    Layout(tmp_path).write(many, "1.0")
    command = f"{sys.executable} -m tagboat image layers --files oci:{tmp_path} | head -1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout == f"{many.layers[0].descriptor.digest}:\n"
    assert done.stderr == ""


def test_differences_are_settings_and_files(make):
    base = {"etc/os": b"12", "usr/lib/gone": b"x", "usr/lib/kept": b"x"}
    first = make(base, {"app/a": b"1", "app/b": b"1"}, env=("A=1", "B=1"), user="1")
    second = make(base, {"app/a": b"2", "app/c": "a", ".wh.usr": b""}, env=("A=2", "C=1"), user="1")
    owner, digests = "-rw-r--r-- 0:0", ["6b86b273ff34", "d4735e3a265e"]
    assert differences(first, second) == [
        Difference("~", "variable A", "1", "2"),
        Difference("-", "variable B", before="1"),
        Difference("+", "variable C", after="1"),
        Difference("+", "/.wh.usr", after=f"{owner} 0 bytes sha256:e3b0c44298fc"),
        Difference("~", "/app/a", *(f"{owner} 1 bytes sha256:{digest}" for digest in digests)),
        Difference("-", "/app/b", before=f"{owner} 1 bytes sha256:{digests[0]}"),
        Difference("+", "/app/c", after="lrwxrwxrwx 0:0 a"),
    ]


def test_what_a_layer_hides_is_not_there(make):
    plain = make({"other": b"1"})
    hidden = make(
        {"d/x": b"1", "e/y": b"1", "other": b"1"}, {"d/.wh..wh..opq": b"", ".wh.e": b"", "d/z": b"1"}
    )
    assert [difference.what for difference in differences(plain, hidden)] == [
        "/.wh.e", "/d/.wh..wh..opq", "/d/z"
    ]  # fmt: skip


def test_diff_ends_with_one_when_images_differ(image, make, tmp_path):
    Layout(tmp_path / "lay").write(image, "a")
    Layout(tmp_path / "lay").write(image.with_config(replace(image.config.config, user="2")), "b")
    same = run("diff", "oci:lay:a", "oci:lay:a", cwd=tmp_path)
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "")
    other = run("diff", "oci:lay:a", "oci:lay:b", cwd=tmp_path)
    assert (other.returncode, other.stdout) == (1, '~ User "1:1" -> "2"\n')
    found = json.loads(run("diff", "--json", "oci:lay:a", "oci:lay:b", cwd=tmp_path).stdout)
    assert found == [{"sign": "~", "what": "User", "before": '"1:1"', "after": '"2"'}]


def test_names_of_a_hostile_image_do_not_reach_the_terminal(make, tmp_path):
    Layout(tmp_path).write(make({"a\x1b[31m\nb": b""}), "1.0")
    done = run("layers", "--files", f"oci:{tmp_path}")
    assert done.stdout.splitlines()[1].endswith("/a\\x1b[31m\\nb")


def test_a_layer_that_is_not_what_it_should_be_is_refused(image, tmp_path):
    Layout(tmp_path).write(image, "1.0")
    descriptor = image.layers[0].descriptor
    blob = tmp_path / "blobs" / "sha256" / descriptor.digest.hex
    blob.write_bytes(gzip.compress(b"another"))
    done = run("layers", "--files", f"oci:{tmp_path}")
    assert done.returncode == 1
    assert str(descriptor.digest) in done.stderr
    assert "Traceback" not in done.stderr
    checked = run("verify", f"oci:{tmp_path}")
    assert checked.returncode == 1
    assert "1 of" in checked.stderr


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["inspect", "oci:nowhere"], "nowhere is no OCI image layout"),
        (["inspect", "tar:"], "'tar:' names no path"),
        (["inspect", "tar:nowhere"], "nowhere"),
        (["inspect", "UPPER/case"], "UPPER"),
        (["inspect", "--platform", "arm64", "oci:nowhere"], "'arm64' is no platform"),
        (["ls", "tar:x"], "tar:x holds one image"),
        (["inspect", "127.0.0.1:1/a:1"], "127.0.0.1:1"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, arguments, complaint):
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == (2 if complaint in ("UPPER", "'arm64' is no platform") else 1)
    assert complaint in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr


def test_a_location_without_a_path_is_none():
    with pytest.raises(LocationError, match="names no path"):
        Location.parse("oci:")
