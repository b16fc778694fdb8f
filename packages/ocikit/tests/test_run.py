"""An image that we wrote, unpacked by umoci and run by runc."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from ocikit import (
    ContainerConfig,
    Digest,
    History,
    Image,
    LayerWriter,
    Layout,
    Platform,
    unpack,
)


def _shell(writer: LayerWriter) -> None:
    """The machine's own shell and the libraries it needs."""
    shell = Path(shutil.which("sh") or "/bin/sh").resolve()
    listed = subprocess.run(["ldd", shell], check=True, capture_output=True, text=True).stdout
    libraries = {word for line in listed.splitlines() for word in line.split() if word.startswith("/")}
    names = {"bin/sh": shell} | {name.removeprefix("/"): Path(name).resolve() for name in libraries}
    written: set[str] = set()
    for name, path in sorted(names.items()):
        for parent in reversed(Path(name).parents[:-1]):
            if str(parent) not in written:
                written.add(str(parent))
                writer.directory(str(parent))
        writer.file(name, path, 0o755)


def test_umoci_unpacks_what_we_wrote_and_runc_runs_it(run, tmp_path):
    image = Image.empty(Platform.host())
    with LayerWriter(tmp_path / "shell.tar.gz") as writer:
        _shell(writer)
        image = image.append(writer.finish(), History(created_by="the shell"))
    with LayerWriter(tmp_path / "app.tar.gz") as writer:
        writer.file("greeting", b"hello from a layer\n")
        image = image.append(writer.finish(), History(created_by="the app"))
    script = 'while read line; do echo "$line"; done </greeting; echo "$GREETED"'
    image = image.with_config(
        ContainerConfig(
            user="65532:65532", env=("GREETED=world",), entrypoint=("/bin/sh", "-c"), cmd=(script,)
        )
    )
    Layout(tmp_path / "layout").write(image, "app")
    bundle = tmp_path / "bundle"
    run("umoci", "unpack", "--image", f"{tmp_path}/layout:app", bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    # The kernel of the test machine decides about limits and their controllers; the image is what is tested.
    config["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(config))
    name = f"ocikit-test-{os.getpid()}"
    assert run("runc", "run", "--bundle", bundle, name) == "hello from a layer\nworld\n"
    unpack(image, tmp_path / "root")
    theirs = {
        path.relative_to(bundle / "rootfs") for path in (bundle / "rootfs").rglob("*") if path.is_file()
    }
    ours = {path.relative_to(tmp_path / "root") for path in (tmp_path / "root").rglob("*") if path.is_file()}
    assert ours <= theirs
    assert Path("greeting") in ours
    assert Digest.of((tmp_path / "root" / "greeting").read_bytes()) == Digest.of(b"hello from a layer\n")
