"""Layers: what shares one with what, and that a change of one package leaves other layers alone."""

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from tagboat.build import build_with_report
from tagboat.build.lock import Pin
from tagboat.build.tier import TIERS, tiers_of
from tagboat.component import Component

NAMES = st.sets(st.from_regex(r"[a-z][a-z0-9]{0,8}(-[a-z0-9]{1,5})?", fullmatch=True), max_size=200)


def pin(name: str, version: str = "1") -> Pin:
    return Pin(name, f"{name}=={version}", Requirement(f"{name}=={version}"))


@given(NAMES)
def test_every_package_is_in_one_tier_and_there_are_never_too_many(names):
    tiers = tiers_of(map(pin, names))
    assert sorted(name for tier in tiers for name in tier.packages) == sorted(names)
    assert len(tiers) <= TIERS


@given(NAMES, st.randoms(use_true_random=False))
def test_the_order_of_the_lock_plays_no_part(names, random):
    pins = [pin(name) for name in sorted(names)]
    shuffled = random.sample(pins, len(pins))
    assert tiers_of(shuffled) == tiers_of(pins)


@given(NAMES.filter(bool), st.data())
def test_an_upgrade_an_addition_and_a_removal_change_one_tier(names, data):
    changed = data.draw(st.sampled_from(sorted(names)))
    before = set(tiers_of(map(pin, names)))
    upgraded = set(tiers_of(pin(name, "2" if name == changed else "1") for name in names))
    without = set(tiers_of(pin(name) for name in names if name != changed))
    assert len(before - upgraded) == len(upgraded - before) == 1
    assert len(before - without) == 1
    assert len(without - before) <= 1


@given(NAMES, st.data())
def test_a_large_package_is_alone_and_the_others_are_where_they_were(names, data):
    large = data.draw(st.sets(st.sampled_from(sorted(names)))) if names else set()
    tiers = tiers_of(map(pin, names), large)
    assert sorted(name for tier in tiers for name in tier.packages) == sorted(names)
    alone = {tier.packages[0] for tier in tiers if len(tier.packages) == 1}
    assert large <= alone
    others = [tier for tier in tiers if large.isdisjoint(tier.packages)]
    assert others == list(tiers_of(pin(name) for name in names - large))


@pytest.fixture
def h11_is_large(monkeypatch, build_cache, built):
    """As if it were so: the limit is put between the sizes of the two."""
    monkeypatch.setattr("tagboat.build.size.LARGE", 90_000)
    monkeypatch.setattr("tagboat.build.size._FORMAT", "test")
    monkeypatch.setattr("tagboat.build.tier.TIERS", 1)  # all others share one layer


def test_a_large_dependency_has_its_own_layer_and_who_knows_its_size_makes_the_same(
    h11_is_large, build_cache, project, tmp_path
):
    component = Component.load(project.directory)
    first = build_with_report(component, build_cache, progress=[].append)
    names = ["debian:bookworm", "dependencies: h11", "dependencies: jmespath", "app"]
    assert [layer.name for layer in first.layers] == names
    lines = []
    again = build_with_report(component, build_cache, progress=lines.append)
    assert (again.image.digest, lines) == (first.image.digest, [])
    for name in ("debian", "debs"):
        shutil.copytree(build_cache / name, tmp_path / "cache" / name)
    elsewhere = build_with_report(component, tmp_path / "cache", progress=[].append)
    assert elsewhere.image.digest == first.image.digest


def test_a_dependency_that_goes_leaves_the_layers_of_others_as_they_were(built, build_cache, project):
    lock = project.directory / "requirements.lock"
    text = lock.read_text()
    lock.write_text(text[: text.index("jmespath==")])
    project.pyproject.write_text(project.pyproject.read_text().replace(', "jmespath"', ""))
    changed = build_with_report(Component.load(project.directory), build_cache, progress=[].append)
    before = {layer.name: layer for layer in built.build.layers}
    assert [layer.name for layer in changed.layers] == ["debian:bookworm", "dependencies: h11", "app"]
    assert changed.image.layers[1] == built.build.image.layers[2]
    assert changed.layers[1].size == before["dependencies: h11"].size


def test_pins_for_other_machines_make_no_layer(built, build_cache, project):
    lock = project.directory / "requirements.lock"
    windows = "colorama==0.4.6 ; sys_platform == 'win32' --hash=sha256:" + "0" * 64
    lock.write_text(f"{lock.read_text()}{windows}\n")
    again = build_with_report(Component.load(project.directory), build_cache, progress=[].append)
    assert again.image.layers[:-1] == built.build.image.layers[:-1]


def test_large_assets_have_a_layer_that_a_changed_line_leaves_alone(built, build_cache, project):
    source = project.directory / "src" / "hail"
    (source / "photo.jpg").write_bytes(bytes(100_000))
    before = build_with_report(Component.load(project.directory), build_cache, progress=[].append)
    assert [layer.name for layer in before.layers[-2:]] == ["assets", "app"]
    (source / "__init__.py").write_text("def main():\n    pass\n")
    after = build_with_report(Component.load(project.directory), build_cache, progress=[].append)
    assert [layer.cached for layer in after.layers[-2:]] == [True, False]
    assert after.image.layers[-2] == before.image.layers[-2]
    (source / "photo.jpg").write_bytes(b"1" * 100_000)
    changed = build_with_report(Component.load(project.directory), build_cache, progress=[].append)
    assert changed.image.layers[-2] != before.image.layers[-2]
    assert changed.image.layers[:-2] == built.build.image.layers[:-1]
