"""Tests that start runc themselves can do so in a plain chroot too.

pivot_root(2), which runc needs, wants `/` to be a mount point. In a plain chroot it is none: there the tree
is mounted once more, and the tests move in. (homeport has its own way, which leaves its process where it is.)
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _a_root_that_is_a_mount_point(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    if any(line.split()[4] == "/" for line in mounts):
        yield
        return
    target = tmp_path_factory.mktemp("root")
    subprocess.run(["mount", "--rbind", "/", target], check=True)
    # Or unmounting it would unmount /proc and /dev for everybody whom they are shared with.
    subprocess.run(["mount", "--make-rprivate", target], check=True)
    outside, here = os.open("/", os.O_RDONLY | os.O_DIRECTORY), Path.cwd()
    try:
        os.chroot(target)
        os.chdir(here)
        yield
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.chdir(here)
        os.close(outside)
        subprocess.run(["umount", "--recursive", "--lazy", target], check=True)
