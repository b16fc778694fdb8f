"""A root that containers can be made in.

pivot_root(2), which runc needs, and `ip netns` want `/` to be a mount point. In a plain chroot it is none:
there the tree is mounted once more, on a folder of its own, and homeport moves in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from homeport.command import run
from homeport.layout import Layout


@contextmanager
def mounted_root(data: Path) -> Iterator[None]:
    """Run the block in a root that is a mount point; after a crash in the same one. Paths stay as they are."""
    if _is_mount_point("/"):
        yield
        return
    # Outside of everything that homeport removes as a tree: what is mounted there is the whole root.
    target = Path(f"/run/homeport-root-{Layout(data).key}")
    if not _is_mount_point(str(target)):
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
        run("mount", "--rbind", "/", target)
        # Or unmounting it would unmount /proc and /dev for everybody whom they are shared with.
        run("mount", "--make-rprivate", target)
    outside = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    here = Path.cwd()
    try:
        os.chroot(target)
        os.chdir(here)
        yield
    finally:
        os.fchdir(outside)
        os.chroot(".")
        os.chdir(here)
        os.close(outside)
        run("umount", "--recursive", "--lazy", target)
        target.rmdir()


def _is_mount_point(path: str) -> bool:
    """As this process sees it: /proc/self/mountinfo lists only what is below its root (proc(5))."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == path for line in lines)
