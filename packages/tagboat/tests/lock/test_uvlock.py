"""`uv.lock`, as the real uv writes it: what a component wants of it, and what is refused."""

import os
import subprocess

import pytest

from ocikit import Layout, unpack
from tagboat.build import build
from tagboat.build.interpreter import Libc
from tagboat.build.lockfile import read_lock
from tagboat.component import Component
from tagboat.errors import ConfigError


def wanted(directory, target):
    component = Component.load(directory)
    return read_lock(component.lock).wanted(component, target)


def names(directory, target) -> list[str]:
    return [str(pin.requirement) for pin in wanted(directory, target)]


def refusal(directory, target) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        wanted(directory, target)
    return caught.value


def test_it_is_what_the_component_reaches_without_groups_and_extras_that_nobody_asked_for(shop, target):
    assert Component.load(shop).lock == shop.parent / "uv.lock"
    assert names(shop, target()) == ["deep==1.0", "forked==1.0", "native==1.0", "plain==1.0", "speedy==1.0"]


def test_markers_are_about_the_base_and_not_about_this_machine(shop, target):
    newer = target((3, 12, 1))
    assert "forked==2.0" in names(shop, newer)
    assert "armonly==1.0" in names(shop, target(architecture="arm64"))


@pytest.mark.parametrize(
    ("where", "tag"),
    [
        ({}, "cp311-manylinux_2_28_x86_64"),
        ({"version": (3, 12, 1)}, "cp312-manylinux_2_28_x86_64"),
        ({"libc": Libc("musl", (1, 2))}, "cp311-musllinux_1_2_x86_64"),
        ({"architecture": "arm64"}, "cp311-manylinux_2_17_aarch64.manylinux2014_aarch64"),
    ],
)
def test_a_pin_is_of_the_one_wheel_for_the_base(shop, index, target, where, tag):
    (native,) = (pin for pin in wanted(shop, target(**where)) if pin.name == "native")
    assert native.wheel.filename == f"native-1.0-{tag.split('-')[0]}-{tag}.whl"
    assert native.text == f"native==1.0 --hash={native.wheel.hashes[0]}"
    assert native.index == f"http://{index.host}/simple"


def test_the_image_is_built_from_a_private_index_and_the_password_is_nowhere(
    shop, build_cache, index, house, tmp_path
):
    before = {path for path in build_cache.rglob("*") if path.is_file()}
    image = build(Component.load(shop), build_cache, progress=[].append)
    unpack(image, tmp_path / "files", ownership=False)
    site = tmp_path / "files" / "opt" / "venv" / "lib" / "python3.11" / "site-packages"
    machine = {"x86_64": "manylinux_2_28_x86_64", "aarch64": "manylinux_2_17_aarch64"}[os.uname().machine]
    assert machine in (site / "native" / "__init__.py").read_text()
    assert (site / "goods").is_dir()
    assert not any((site / name).exists() for name in ("other", "newer", "checker", "winonly"))
    Layout(tmp_path / "image").write(image, "1")
    made = {path for path in build_cache.rglob("*") if path.is_file()} - before
    made |= {path for folder in ("files", "image") for path in (tmp_path / folder / ".").rglob("*")}
    said = [path for path in made if path.is_file() and not path.is_symlink()]
    texts = {path: path.read_bytes() for path in said}
    assert len(texts) > 20
    assert not [path for path, text in texts.items() if b"open-sesame" in text or index.host.encode() in text]


def test_a_source_distribution_is_built_where_that_is_allowed(shop, build_cache, house, uv, tmp_path):
    file = shop / "pyproject.toml"
    needs = file.read_text().replace('"native"', '"native", "sourceonly"')
    file.write_text(f'{needs}[tool.tagboat]\nbuild-from-source = ["sourceonly"]\n')
    uv(shop, "lock")
    image = build(Component.load(shop), build_cache, progress=[].append)
    unpack(image, tmp_path / "files", ownership=False)
    site = tmp_path / "files" / "opt" / "venv" / "lib" / "python3.11" / "site-packages"
    assert (site / "sourceonly" / "__init__.py").read_text() == "TAG = 'built'\n"
    assert list((site / "sourceonly" / "__pycache__").iterdir())


def test_a_second_build_reads_no_lock(shop, build_cache, house, monkeypatch):
    first = build(Component.load(shop), build_cache, progress=[].append)

    def read(_):
        raise AssertionError("it was read")

    monkeypatch.setattr("tagboat.build.lockfile.read_lock", read)
    assert build(Component.load(shop), build_cache, progress=[].append).digest == first.digest


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"native"', '"native>=2"', "shop needs native>=2, and it was written for native"),
        ('"native", ', '"native", "newer", ', "shop needs newer, which it was not written for"),
        ('"native", ', "", "shop no longer asks for it, and it was written for native"),
    ],
)
def test_a_lock_that_is_older_than_what_the_project_asks_for_is_refused(
    shop, target, edit, *, old, new, complaint
):
    edit(shop / "pyproject.toml", old, new)
    error = refusal(shop, target())
    assert str(error) == f"{shop.parent / 'uv.lock'} is out of date: {complaint}"
    assert error.hint == f"`uv lock` in {shop.parent}"


def test_what_a_local_package_asks_for_is_looked_at_too(shop, target, edit):
    edit(shop.parent / "goods" / "pyproject.toml", "plain[fast]>=1", "plain")
    assert "goods needs plain, and it was written for plain[fast]>=1" in str(refusal(shop, target()))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"goods[more]", "native", ', '"Native", "Goods[More]>=0.5", '),
        ('later = ["newer"]', 'later = ["checker"]'),
        ('dev = ["checker"]', 'dev = ["newer"]'),
        ("sys_platform == 'win32'", "sys_platform=='win32' and python_version<'4'"),
    ],
)
def test_what_is_spelled_otherwise_or_is_not_for_the_image_makes_no_lock_old(shop, target, edit, old, new):
    before = names(shop, target())
    edit(shop / "pyproject.toml", old, new)
    assert names(shop, target()) == before


def test_the_base_must_have_a_python_that_the_lock_is_for(shop, target, edit):
    edit(shop.parent / "uv.lock", 'requires-python = ">=3.11"', 'requires-python = ">=3.13"')
    lock = shop.parent / "uv.lock"
    assert str(refusal(shop, target())) == f"{lock} needs Python >=3.13, and the base has 3.11.2"


def test_a_lock_for_certain_environments_is_for_no_others(shop, target, uv, edit):
    edit(
        shop.parent / "pyproject.toml",
        "[tool.uv.sources]",
        "[tool.uv]\nenvironments = [\"platform_machine == 'aarch64'\"]\n[tool.uv.sources]",
    )
    uv(shop, "lock")
    assert "is for platform_machine == 'aarch64', not for Python 3.11 with glibc 2.36 on x86_64" in str(
        refusal(shop, target())
    )


def test_a_package_without_a_wheel_for_the_base_is_refused_with_those_that_there_are(shop, target, uv, edit):
    edit(shop / "pyproject.toml", '"native"', '"native", "toonew", "sourceonly"')
    uv(shop, "lock")
    error = refusal(shop, target())
    assert str(error).splitlines() == [
        f"{shop.parent / 'uv.lock'}: sourceonly 1.0 has no wheel for Python 3.11 with glibc 2.36 on x86_64",
        "  there is only a source distribution, which is not built unless it is allowed",
        "toonew 1.0 has no wheel for Python 3.11 with glibc 2.36 on x86_64",
        "  needs glibc 2.39, and the base has glibc 2.36: toonew-1.0-cp311-cp311-manylinux_2_39_x86_64.whl",
        "  for CPython 3.12: toonew-1.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "  for macOS: toonew-1.0-cp311-cp311-macosx_11_0_arm64.whl",
    ]
    assert error.hint.endswith('build-from-source = ["sourceonly"]')


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("version = 1\n", "version = 2\n", "is a lock of version 2, and only 1 is understood"),
        ("version = 1\n", "", "is a lock of version None"),
        ("version = 1\n", "version =", "not TOML"),
        ('name = "shop"\n', "", "is not as uv writes it: KeyError('name')"),
        ('requires-python = ">=3.11"', 'requires-python = "new"', "is not as uv writes it"),
        ('    { name = "native" },\n', '    { name = "gone" },\n', "shop needs gone, which is there 0 times"),
    ],
)
def test_a_lock_that_is_not_understood_is_refused(shop, target, old, new, complaint):
    lock = shop.parent / "uv.lock"
    lock.write_text(lock.read_text().replace(old, new, 1))
    error = refusal(shop, target())
    assert str(error).startswith(str(lock))
    assert complaint in str(error)


def test_a_component_that_a_lock_does_not_have_is_named(shop, target, edit):
    edit(shop / "pyproject.toml", 'name = "shop"', 'name = "stall"')
    edit(shop / "pyproject.toml", "[build-system]", '[tool.tagboat]\nlock = "../uv.lock"\n[build-system]')
    assert str(refusal(shop, target())) == f"{shop / '../uv.lock'} does not have stall"


def test_a_wheel_without_a_hash_is_refused(tmp_path, uv, target, make_wheel):
    make_wheel(tmp_path / "wheels", "plain")
    write_app(tmp_path, "plain", '[[tool.uv.index]]\nurl = "../wheels"\nformat = "flat"\ndefault = true\n')
    uv(tmp_path / "app", "lock")
    error = refusal(tmp_path / "app", target())
    assert str(error).endswith("uv.lock: plain 1.0: plain-1.0-py3-none-any.whl has no hash")
    assert "uv export" in error.hint
    (tmp_path / "app" / "pylock.toml").write_text(uv(tmp_path / "app", "export", "--format", "pylock.toml"))
    (tmp_path / "app" / "uv.lock").unlink()
    (pin,) = wanted(tmp_path / "app", target())
    assert pin.wheel.place == (tmp_path / "wheels" / "plain-1.0-py3-none-any.whl").as_uri()


def test_a_wheel_that_is_named_itself_is_taken_by_its_hash(tmp_path, uv, target, make_wheel):
    wheel = make_wheel(tmp_path / "wheels", "plain")
    write_app(tmp_path, "plain", f'[tool.uv.sources]\nplain = {{ path = "../wheels/{wheel.name}" }}\n')
    uv(tmp_path / "app", "lock")
    (pin,) = wanted(tmp_path / "app", target())
    assert (pin.wheel.place, pin.index) == (str(wheel), None)
    assert pin.text.startswith("plain==1.0 --hash=sha256:")


def test_what_comes_from_git_is_refused_by_name(tmp_path, uv, target):
    repository = tmp_path / "plain"
    repository.mkdir()
    (repository / "pyproject.toml").write_text('[project]\nname = "plain"\nversion = "1.0"\n')
    for command in (
        ("init", "--quiet"),
        ("add", "."),
        ("-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "1"),
    ):
        subprocess.run(["git", "-C", repository, *command], check=True)
    write_app(tmp_path, "plain", f'[tool.uv.sources]\nplain = {{ git = "{repository.as_uri()}" }}\n')
    uv(tmp_path / "app", "lock")
    error = refusal(tmp_path / "app", target())
    assert str(error) == f"{tmp_path / 'app' / 'uv.lock'}: plain 1.0 comes from git, without a hash"
    assert repository.as_uri() not in f"{error} {error.hint}"


def write_app(folder, needs, settings):
    (folder / "app").mkdir()
    (folder / "app" / "pyproject.toml").write_text(
        f'[project]\nname = "app"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["{needs}"]\n'
        f'scripts = {{ app = "app:main" }}\n{settings}'
    )
