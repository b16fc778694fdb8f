"""A machine that starts with user data: cloud-init, on this Debian's files, in namespaces of its own.

In the place of the disk's image there is an overlay above this machine's own root, with Debian's cloud-init
unpacked into it; in the place of systemd, a `systemctl` that takes note, and a loop that does what the unit
says (`Restart=always`); in the place of the role, credentials. The rest is real. What this machine's Python
has installed stands in for the packages that homeport needs: each is there as a wheel that leads to it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sysconfig
import tomllib
import zipfile
from pathlib import Path

PACKAGES = Path(__file__).parents[3]
_OURS = ("homeport", "bucketlog", "ocikit")
_UNIT = "etc/systemd/system/homeport.service"
_SYSTEMCTL = '#!/bin/sh\necho "$@" >>/run/systemctl\n'
_MODULES = """\
datasource_list: [ NoCloud ]
cloud_init_modules: [ write-files ]
cloud_config_modules: [ runcmd ]
cloud_final_modules: [ package-update-upgrade-install, scripts-user ]
system_info: { distro: debian, paths: { cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/ } }
"""

# $1 is the folder, $2 the place of the packages that stand in; both namespaces are this script's own.
_DISK = """\
set -eu
top=$1 root=$1/root
mount -t tmpfs tmpfs "$top/layer"
mkdir "$top/layer/upper" "$top/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$top/layer/upper,workdir=$top/layer/work" "$root"
rm -rf "$root/etc/pip.conf" "$root/opt/homeport" "$root/usr/local/bin/homeport" "$root/root/.config"
mkdir -p "$root/srv/wheels" "$root/srv/packages" "$root/var/lib/homeport" "$root/var/lib/cloud/seed/nocloud"
mount --bind "$top/data" "$root/var/lib/homeport"
mount --bind "$top/wheels" "$root/srv/wheels"
mount --bind "$2" "$root/srv/packages"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cp -L /etc/resolv.conf "$root/run/resolv.conf"
ln -sfn /run/resolv.conf "$root/etc/resolv.conf"
mkdir -p "$root/run/debs/partial"
fetch() {
    chroot "$root" apt-get install --quiet --quiet --yes --no-install-recommends --download-only \
        -o Dir::Cache::archives=/run/debs cloud-init >/dev/null
}
fetch || { chroot "$root" apt-get update --quiet --quiet; fetch; }  # where the lists are old, or none
for deb in "$root"/run/debs/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink --directory "$root"
done
# What is there is as new as it needs to be, and nobody reads manuals here.
echo 'APT::Get::Upgrade "false";' >"$root/etc/apt/apt.conf.d/99test"
echo 'path-exclude=/usr/share/man/*' >"$root/etc/dpkg/dpkg.cfg.d/test"
cp "$top/user-data" "$top/meta-data" "$root/var/lib/cloud/seed/nocloud/"
cp "$top/cloud.cfg" "$root/etc/cloud/cloud.cfg"
rm -f "$root"/etc/cloud/cloud.cfg.d/*
cp "$top/pip.conf" "$root/etc/pip.conf"
cp "$top/systemctl" "$root/usr/local/bin/systemctl"
chmod 755 "$root/usr/local/bin/systemctl"
for stage in "init --local" init "modules --mode=config" "modules --mode=final"; do
    chroot "$root" cloud-init $stage </dev/null
done
cp "$root/run/systemctl" "$root/UNIT" "$top/"
# The network begins when the other end of it is there.
exec unshare --net sh -euc '
    mount -t sysfs sysfs "$1/root/sys"
    mount --rbind /sys/fs/cgroup "$1/root/sys/fs/cgroup"
    ip link set lo up
    exec 3<&0
    echo ready
    read -r address <&3
    ip address add "$address" dev eth0
    ip link set eth0 up
    cd "$1/root"
    # Whoever has started it has gone, or wants it off: homeport stops all that it runs.
    { cat <&3 >/dev/null; touch "$1/off"; kill -TERM "$(cat "$1/pid")"; } &
    trap : TERM
    while [ ! -e "$1/off" ]; do
        env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin chroot . /bin/sh -c "$2" &
        echo $! >"$1/pid"
        wait $! || true
        sleep 0.3
    done
' sh "$top" "exec $(sed -n 's/^ExecStart=//p' "$top/homeport.service")" 2>>"$top/journal"
""".replace("UNIT", _UNIT)


class Machine:
    """One that is off until it is started; what it does and says is in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        number = 1 + os.getpid() % 254
        self._near, self.address = f"198.18.{number}.1", f"198.18.{number}.2"
        self._link = f"tbm{os.getpid()}"
        for name in ("data", "layer", "root", "wheels"):
            (folder / name).mkdir(parents=True)
        _stand_in(folder / "wheels")
        for version in ("0.2.0", "0.3.0"):
            self.publish(version)
        self._process: subprocess.Popen[str] | None = None
        self.on = False

    def publish(self, version: str, **changed: str) -> None:
        """Let the machine's index have a version of homeport: ours, with something at the end of modules."""
        _wheel(self.folder / "wheels", "homeport", version, changed)

    def start(self, user_data: str, identity: str, environment: dict[str, str]) -> None:
        """With a role whose credentials are in the `environment`. Returns when the unit is started."""
        (self.folder / "user-data").write_text(user_data)
        (self.folder / "meta-data").write_text(json.dumps({"instance-id": identity}))
        (self.folder / "cloud.cfg").write_text(_MODULES)
        (self.folder / "systemctl").write_text(_SYSTEMCTL)
        (self.folder / "pip.conf").write_text(
            "[global]\nno-index = true\nfind-links = /srv/wheels\n[install]\ncompile = false\n"
        )
        site = sysconfig.get_path("purelib")
        command = ["unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL"]
        with (self.folder / "boot.log").open("w") as log:
            self._process = subprocess.Popen(
                [*command, "sh", "-c", _DISK, "sh", self.folder, site],
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        assert self._process.stdin is not None
        lines = []
        for line in self._process.stdout:
            if line == "ready\n":
                break
            lines.append(line)
        else:
            raise AssertionError("".join(lines) + (self.folder / "boot.log").read_text())
        (self.folder / "cloud-init.log").write_text("".join(lines))
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", str(self._inner()))
        _ip("address", "add", f"{self._near}/30", "dev", self._link)
        _ip("link", "set", self._link, "up")
        self._process.stdin.write(f"{self.address}/30\n")
        self._process.stdin.flush()
        self.on = True

    def stop(self) -> None:
        """Stop homeport as a machine that is shut down does, and with it all else."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(300)
        finally:
            self._process.kill()
            self._process.wait(120)
            self._process.stdout.close()

    def _inner(self) -> int:
        """The process in the machine's network, as this machine numbers it."""
        assert self._process is not None
        (child,) = _children(self._process.pid)
        return child


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


def _stand_in(folder: Path) -> None:
    """A wheel for each package that is installed here; one of them leads to all."""
    for name in ("bucketlog", "ocikit"):
        _wheel(folder, name, importlib.metadata.version(name), {})
    for one in importlib.metadata.distributions():
        name = one.metadata["Name"]
        if name not in (*_OURS, "tagboat", "site"):
            files = {"stand-in.pth": "/srv/packages\n"} if name == "starlette" else {}
            extras = "".join(
                f"Provides-Extra: {extra}\n" for extra in one.metadata.get_all("Provides-Extra") or ()
            )
            _write(folder, name, one.version, files, extras)


def _wheel(folder: Path, name: str, version: str, changed: dict[str, str]) -> None:
    """One of our own packages, from its sources."""
    package = PACKAGES / name
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    files = {
        str(file.relative_to(package / "src")): file.read_text()
        for file in (package / "src").rglob("*")
        if file.is_file() and file.suffix in (".py", ".html", ".css", ".js", ".txt", ".json", ".edn", ".svg")
    }
    for module, text in changed.items():
        files[f"{name}/{module}.py"] += text
    needs = "".join(f"Requires-Dist: {need}\n" for need in project.get("dependencies", ()))
    scripts = "".join(f"{key} = {value}\n" for key, value in project.get("scripts", {}).items())
    information = f"{name}-{version}.dist-info"
    if scripts:
        files[f"{information}/entry_points.txt"] = f"[console_scripts]\n{scripts}"
    _write(folder, name, version, files, needs + "Provides-Extra: registry\n")


def _write(folder: Path, name: str, version: str, files: dict[str, str], more: str) -> None:
    escaped = name.replace("-", "_").replace(".", "_").lower()
    information = f"{escaped}-{version}.dist-info"
    files = {
        **files,
        f"{information}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{more}",
        f"{information}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in (*files, f"{information}/RECORD"))
    with zipfile.ZipFile(folder / f"{escaped}-{version}-py3-none-any.whl", "w") as archive:
        for path, text in {**files, f"{information}/RECORD": record}.items():
            archive.writestr(path, text)
