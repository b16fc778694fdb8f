"""The image's environment, as it comes out of what an installer left on this machine."""

import base64
import csv
import hashlib
import subprocess
import sys

import pytest

from tagboat.build.files import File, Link
from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.venv import VenvError, installed_distributions, installed_files, merged, skeleton

PYTHON = Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36)))
SITE = "opt/venv/lib/python3.11/site-packages"


def install(prefix, name, files, *, version="1.0"):
    """Put a distribution below `prefix` as an installer would; names are relative to its site-packages."""
    site = prefix / "lib" / "python3.99" / "site-packages"
    info = f"{name}-{version}.dist-info"
    metadata = {
        f"{info}/METADATA": f"Name: {name}\nVersion: {version}\n".encode(),
        f"{info}/INSTALLER": b"uv\n",
    }
    rows = []
    for path, content in (files | metadata).items():
        file = site / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        rows.append([path, "sha256=" + digest(content), str(len(content))])
    with (site / info / "RECORD").open("w", newline="") as record:
        csv.writer(record).writerows([*reversed(rows), [f"{info}/RECORD", "", ""]])
    return prefix


def digest(content):
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()


def test_a_skeleton_is_a_virtual_environment_of_the_images_python():
    files = skeleton(PYTHON)
    assert files["opt/venv/pyvenv.cfg"].read() == (
        b"home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n"
    )
    assert files["opt/venv/bin/python"] == Link("/usr/bin/python3.11")
    assert files["opt/venv/bin/python3.11"] == Link("python")


def test_files_get_the_place_of_the_images_python(tmp_path):
    files = installed_files(install(tmp_path, "goods", {"goods/__init__.py": b"x = 1\n"}), PYTHON)
    assert set(files) == {
        f"{SITE}/goods/__init__.py",
        f"{SITE}/goods-1.0.dist-info/METADATA",
        f"{SITE}/goods-1.0.dist-info/RECORD",
    }


def test_byte_code_and_the_installers_own_notes_are_left_behind(tmp_path):
    content = {
        "goods/__init__.py": b"",
        "goods/__pycache__/__init__.cpython-399.pyc": b"",
        "goods-1.0.dist-info/REQUESTED": b"",
        "goods-1.0.dist-info/direct_url.json": b"{}",
        "goods/INSTALLER": b"a file of the package",
    }
    files = installed_files(install(tmp_path, "goods", content), PYTHON)
    assert {path.removeprefix(f"{SITE}/") for path in files} == {
        "goods/__init__.py",
        "goods/INSTALLER",
        "goods-1.0.dist-info/METADATA",
        "goods-1.0.dist-info/RECORD",
    }


def test_the_record_is_sorted_and_true(tmp_path):
    content = {
        "goods/b.py": b"b",
        "goods/a.py": b"a",
        "goods-1.0.dist-info/entry_points.txt": b"[console_scripts]\ngoods = goods.a:main\n",
        "goods-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: uv 0.1\nRoot-Is-Purelib: true\n",
        "../../../bin/goods": b"#!/host/python\n",
    }
    files = installed_files(install(tmp_path, "goods", content), PYTHON)
    rows = list(csv.reader(files[f"{SITE}/goods-1.0.dist-info/RECORD"].read().decode().splitlines()))
    assert rows == sorted(rows)
    assert [row[0] for row in rows] == [
        "../../../bin/goods",
        "goods-1.0.dist-info/METADATA",
        "goods-1.0.dist-info/RECORD",
        "goods-1.0.dist-info/WHEEL",
        "goods-1.0.dist-info/entry_points.txt",
        "goods/a.py",
        "goods/b.py",
    ]
    for path, recorded, size in rows:
        if recorded:
            content = files["opt/venv/bin/goods" if path.startswith("..") else f"{SITE}/{path}"].read()
            assert recorded == "sha256=" + digest(content)
            assert int(size) == len(content)
    assert b"Generator" not in files[f"{SITE}/goods-1.0.dist-info/WHEEL"].read()


def test_console_scripts_are_written_for_the_image(tmp_path):
    content = {
        "goods/__init__.py": b"class app:\n    @staticmethod\n    def run():\n        return 7\n",
        "goods-1.0.dist-info/entry_points.txt": b"[console_scripts]\ngoods-run = goods:app.run [extra]\n",
        "../../../bin/goods-run": b"#!/host/venv/bin/python\nthe installer's own\n",
    }
    files = installed_files(install(tmp_path, "goods", content), PYTHON)
    script = files["opt/venv/bin/goods-run"]
    assert script.executable
    text = script.read().decode()
    assert text.startswith("#!/opt/venv/bin/python\n")
    site = tmp_path / "lib" / "python3.99" / "site-packages"
    done = subprocess.run([sys.executable, "-c", text], cwd=site, check=False)
    assert done.returncode == 7


@pytest.mark.parametrize(
    ("point", "complaint"),
    [
        ("run = goods", "its script run is 'goods', which names no function"),
        ("run = goods:no-name", "its script run is 'goods:no-name'"),
        ("../../../etc/cron.d/x = goods:run", "cannot lie in /opt/venv/bin"),
        (".. = goods:run", "cannot lie in /opt/venv/bin"),
        ("python3 = goods:run", "cannot lie in /opt/venv/bin"),
    ],
)
def test_a_script_that_cannot_be_is_refused(tmp_path, point, complaint):
    content = {"goods-1.0.dist-info/entry_points.txt": f"[console_scripts]\n{point}\n".encode()}
    with pytest.raises(VenvError, match=complaint):
        installed_files(install(tmp_path, "goods", content), PYTHON)


@pytest.mark.parametrize(
    "first",
    [
        f"#!{sys.executable}\n",
        f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n",
        "#!/opt/another/bin/python3.13 -E\n",  # by another spelling, or of who has filled the cache
    ],
)
def test_a_script_of_the_package_gets_the_images_python(tmp_path, first):
    files = installed_files(
        install(tmp_path, "goods", {"../../../bin/tool.py": first.encode() + b"print(1)\n"}), PYTHON
    )
    assert files["opt/venv/bin/tool.py"] == File(b"#!/opt/venv/bin/python\nprint(1)\n", executable=True)


@pytest.mark.parametrize("content", [b"\x7fELF...", b"#!/bin/sh\necho\n", b"", b"#!/usr/bin/env python\n"])
def test_any_other_program_of_the_package_is_kept_as_it_is(tmp_path, content):
    files = installed_files(install(tmp_path, "goods", {"../../../bin/tool": content}), PYTHON)
    assert files["opt/venv/bin/tool"] == File(content, executable=True)


@pytest.mark.parametrize("path", ["../../../../outside", "/etc/passwd", "../../../../venv2/x"])
def test_a_package_that_reaches_out_of_the_environment_is_refused(tmp_path, path):
    prefix = install(tmp_path / "prefix", "goods", {})
    record = next(prefix.rglob("RECORD"))
    record.write_text(record.read_text() + f"{path},,\n")
    with pytest.raises(VenvError, match="outside of the environment"):
        installed_files(prefix, PYTHON)


def test_a_file_that_is_recorded_but_missing_is_named(tmp_path):
    install(tmp_path, "goods", {"../../../bin/tool": b""})
    (tmp_path / "bin" / "tool").unlink()
    with pytest.raises(VenvError, match="goods: /opt/venv/bin/tool is recorded but not installed"):
        installed_files(tmp_path, PYTHON)


def test_the_same_file_in_two_packages_may_be_the_same(tmp_path):
    install(tmp_path, "one", {"tests/__init__.py": b""})
    install(tmp_path, "two", {"tests/__init__.py": b""})
    assert f"{SITE}/tests/__init__.py" in installed_files(tmp_path, PYTHON)


@pytest.mark.parametrize("order", [("one", "two"), ("two", "one")])
def test_of_two_packages_with_different_files_of_one_name_each_has_its_own(tmp_path, order):
    for name in order:
        install(tmp_path / "all", name, {"LICENSE": name.encode()})

    def install_alone(name):
        return install(tmp_path / name, name, {"LICENSE": name.encode()})

    found = installed_distributions(tmp_path / "all", PYTHON, install_alone=install_alone)
    assert list(found) == ["one", "two"]
    assert [found[name][f"{SITE}/LICENSE"].read() for name in found] == [b"one", b"two"]
    with pytest.raises(VenvError, match="one and two both bring"):
        installed_files(tmp_path / "all", PYTHON)


def test_what_two_bring_must_be_the_same():
    one, same, other = (File(text) for text in (b"1", b"1", b"2"))
    assert merged({"a": {"x": one}, "b": {"x": same, "y": other}}) == {"x": same, "y": other}
    with pytest.raises(VenvError, match="a and b both bring /x, and they differ"):
        merged({"a": {"x": one}, "b": {"x": other}})
    with pytest.raises(VenvError, match="a and b both bring /x, and they differ"):
        merged({"a": {"x": one}, "b": {"x": File(b"1", executable=True)}})


@pytest.mark.parametrize("limit", ["MAX_SIZE", "MAX_ENTRIES"])
def test_a_distribution_that_is_too_large_is_named(tmp_path, monkeypatch, limit):
    prefix = install(tmp_path, "goods", {"goods/a.py": b"1234"})
    monkeypatch.setattr(f"tagboat.build.venv.{limit}", 1)
    with pytest.raises(VenvError, match=r"goods has \d+ bytes in 2 files; .* are the most"):
        installed_files(prefix, PYTHON)


@pytest.mark.parametrize("name", ["RECORD", "entry_points.txt", "WHEEL"])
def test_metadata_that_memory_may_not_hold_is_not_read(tmp_path, name):
    prefix = install(tmp_path, "goods", {f"goods-1.0.dist-info/{name}": b""})
    (info,) = prefix.rglob("*.dist-info")
    with (info / name).open("ab") as file:
        file.truncate(1 << 32)  # no bytes on the disk
    with pytest.raises(VenvError, match=rf"goods-1\.0\.dist-info/{name} has more than"):
        installed_files(prefix, PYTHON)
