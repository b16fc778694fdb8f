"""uv unpacks what a lock names, and is stopped where that has no end."""

import hashlib
import subprocess
import zipfile

import pytest

from ocikit import MAX_SIZE
from tagboat.build import uv
from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.target import Target

TARGET = Target(Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36))), "amd64")


@pytest.fixture
def lock(tmp_path):
    """Names one wheel by its hash, and leads to it."""
    wheel = tmp_path / "goods-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("goods.py", b"\0" * (1 << 20))
        archive.writestr("goods-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: goods\nVersion: 1\n")
        archive.writestr("goods-1.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("goods-1.dist-info/RECORD", "goods.py,,\n")
    file = tmp_path / "requirements.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    file.write_text(f"goods @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return file


def test_what_becomes_larger_than_an_image_can_be_is_not_installed(lock, tmp_path, monkeypatch):
    prefix = tmp_path / "prefix"
    prefix.mkdir()
    monkeypatch.setattr(uv, "_GLANCE", 0)  # before anything can have come of it
    stopped = []
    monkeypatch.setattr(uv, "_written", lambda process: stopped.append(process) or MAX_SIZE + 1)
    with pytest.raises(uv.TooLargeError, match=f"what it unpacks has more than {MAX_SIZE} bytes"):
        uv.install(lock, prefix, target=TARGET, directory=tmp_path)
    assert len(stopped) == 1  # and it is not tried again
    assert not list(prefix.iterdir())
    monkeypatch.undo()
    uv.install(lock, prefix, target=TARGET, directory=tmp_path)
    assert list(prefix.rglob("goods.py"))


def test_a_lock_that_no_pipe_holds_reaches_who_takes_longer_than_a_glance(tmp_path, monkeypatch):
    slow = tmp_path / "uv"
    slow.write_text("#!/bin/sh\nsleep 0.1\nwc -c\n")
    slow.chmod(0o755)
    monkeypatch.setattr(uv, "_program", lambda: str(slow))
    monkeypatch.setattr(uv, "_GLANCE", 0.01)
    assert uv._run("pip", directory=tmp_path, text="x" * 500_000).strip() == "500000"


def test_all_counts_that_a_process_and_its_own_have_written(tmp_path, monkeypatch):
    monkeypatch.setattr(uv, "_GLANCE", 0.01)
    monkeypatch.setattr(uv, "MAX_SIZE", 2_000_000)
    writes = f"head -c 2000001 /dev/zero > {tmp_path}/zeros; exec sleep 600"
    with subprocess.Popen(["sh", "-c", writes], text=True) as process:
        try:
            with pytest.raises(uv.TooLargeError):
                uv._watched(process)
        finally:
            process.kill()
