"""Packages that lie in uv's cache are read there, and are what an installer makes of them."""

from dataclasses import replace

import pytest
from packaging.requirements import Requirement

from ocikit import Platform
from tagboat.build.base import resolve_base
from tagboat.build.cache import Cache
from tagboat.build.files import File
from tagboat.build.installer import Installer
from tagboat.build.selection import Selection
from tagboat.build.uvcache import UvCache
from tagboat.build.venv import installed_distributions, unpacked_wheel
from tagboat.component import Component


@pytest.fixture
def installer(built, build_cache, tmp_path):
    """Of what the component of `built` needs, which uv has in its cache."""
    component = Component.load(built.project.directory)
    cache = Cache.open(build_cache)
    base, _ = resolve_base(component, Platform.host(), cache, progress=lambda _: None)
    folder = tmp_path / "installed"
    folder.mkdir()
    return Installer(Selection(component, base.target, cache), folder)


@pytest.fixture
def uv_cache(installer):
    with UvCache.opened(installer.selection.component.directory) as cache:
        yield cache


def contents(packages):
    return {
        name: {
            path: (one.read(), one.executable) if isinstance(one, File) else one
            for path, one in files.items()
        }
        for name, files in packages.items()
    }


def test_they_are_read_as_if_they_were_installed(installer, uv_cache):
    pins = installer.selection.pins
    found = installer.unpacked(pins, uv_cache)
    assert sorted(found) == ["h11", "jmespath"]  # which has a script
    (prefix,) = installer.install(pins, "all")
    interpreter = installer.selection.target.interpreter
    assert contents(found) == contents(installed_distributions(prefix, interpreter))


def test_a_wheel_that_has_another_hash_than_the_lock_is_not_read(installer, uv_cache):
    pins = installer._with_wheels(installer.selection.pins)
    assert all(map(uv_cache.find, pins))
    for pin in pins:
        other = replace(pin, wheel=replace(pin.wheel, hashes=("sha256:" + "0" * 64,)))
        assert uv_cache.find(other) is None
        named = replace(
            pin, requirement=Requirement(f"{pin.name} @ https://host.example/{pin.wheel.filename}")
        )
        assert uv_cache.find(named) is None


def test_without_a_cache_all_is_installed(installer, monkeypatch, tmp_path):
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "none"))
    with UvCache.opened(installer.selection.component.directory) as cache:
        assert cache is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("goods-1.data/headers/goods.h", ""),
        ("goods-1.data/data/share/goods", ""),
        ("goods-1.data/scripts/goods", "#!python -I\n"),
    ],
)
def test_a_wheel_that_is_more_than_modules_and_scripts_needs_an_installer(installer, tmp_path, file, text):
    wheel = tmp_path / "wheel"
    for name, content in (("goods.py", ""), ("goods-1.dist-info/METADATA", "Name: goods\n"), (file, text)):
        (wheel / name).parent.mkdir(parents=True, exist_ok=True)
        (wheel / name).write_text(content)
    interpreter = installer.selection.target.interpreter
    record = wheel / "goods-1.dist-info" / "RECORD"
    record.write_text("goods.py,,\ngoods-1.dist-info/METADATA,,\n")
    assert unpacked_wheel(wheel, interpreter) is not None
    record.write_text(f"goods.py,,\ngoods-1.dist-info/METADATA,,\n{file},,\n")
    assert unpacked_wheel(wheel, interpreter) is None
