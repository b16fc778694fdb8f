"""Which wheel is for a base, and what is said of those that are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.tags import compatible_tags, cpython_tags, create_compatible_tags_selector
from packaging.utils import parse_wheel_filename

from tagboat.build.interpreter import Libc
from tagboat.build.wheel import Release, Wheel, best_wheel, remedy, why_none_fits

MUSL = Libc("musl", (1, 2))


def release(*tags: str, sdist: bool = False) -> Release:
    return Release(
        "thing", "1.0", tuple(Wheel(f"thing-1.0-{tag}.whl", "", ()) for tag in tags), has_sdist=sdist
    )


def best(target, *tags: str) -> str | None:
    found = best_wheel(release(*tags), target)
    return found and found.filename.removeprefix("thing-1.0-").removesuffix(".whl")


@pytest.mark.parametrize(
    ("where", "fitting"),
    [
        ({}, "cp311-cp311-manylinux_2_36_x86_64"),
        ({}, "cp311-cp311-manylinux2014_x86_64"),
        ({}, "cp311-cp311-manylinux1_x86_64.manylinux_2_5_x86_64"),
        ({}, "cp39-abi3-manylinux_2_17_x86_64"),
        ({}, "py2.py3-none-any"),
        ({}, "1-py3-none-any"),
        ({"architecture": "arm64"}, "cp311-cp311-manylinux_2_17_aarch64"),
        ({"libc": MUSL}, "cp311-cp311-musllinux_1_1_x86_64"),
        ({"libc": Libc("glibc", (2, 99))}, "cp311-cp311-manylinux_2_40_x86_64"),
    ],
)
def test_a_wheel_for_the_base_is_found(target, where, fitting):
    assert best(target(**where), "cp311-cp311-win_amd64", fitting) == fitting


def test_the_most_particular_wheel_is_the_best(target):
    tags = [
        "py3-none-any",
        "cp39-abi3-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_17_x86_64",
        "cp311-cp311-manylinux_2_28_x86_64",
        "1-cp311-cp311-manylinux_2_28_x86_64",
    ]
    while tags:
        assert best(target(), *tags) == tags.pop()


@pytest.mark.parametrize(
    ("where", "tag", "reason"),
    [
        ({}, "cp311-cp311-manylinux_2_39_x86_64", "needs glibc 2.39, and the base has glibc 2.36"),
        ({}, "cp311-cp311-musllinux_1_2_x86_64", "for musl, and the base has glibc 2.36"),
        ({"libc": MUSL}, "cp311-cp311-manylinux_2_17_x86_64", "for glibc, and the base has musl 1.2"),
        ({"libc": MUSL}, "cp311-cp311-manylinux2014_x86_64", "for glibc, and the base has musl 1.2"),
        (
            {"libc": Libc("musl", (1, 1))},
            "cp311-cp311-musllinux_1_2_x86_64",
            "needs musl 1.2, and the base has musl 1.1",
        ),
        ({}, "cp311-cp311-manylinux_2_17_aarch64", "for linux/arm64"),
        ({}, "cp311-cp311-manylinux_2_17_ppc64le", "for Linux on ppc64le"),
        ({"architecture": "arm64"}, "cp311-cp311-manylinux1_x86_64", "for linux/amd64"),
        ({}, "cp312-cp312-manylinux_2_17_x86_64", "for CPython 3.12"),
        ({}, "cp312-abi3-manylinux_2_17_x86_64", "for CPython 3.12 or newer"),
        ({"version": (3, 13, 0)}, "cp313-cp313t-manylinux_2_17_x86_64", "for CPython 3.13 without the GIL"),
        ({}, "pp310-pypy310_pp73-manylinux_2_17_x86_64", "for PyPy 3.10"),
        ({}, "py2-none-any", "for Python 2"),
        ({}, "cp312-cp312-macosx_11_0_arm64", "for macOS"),
        ({}, "cp311-cp311-win32", "for Windows"),
        ({}, "cp311-cp311", "not a wheel's name"),
    ],
)
def test_a_wheel_that_is_not_for_the_base_is_shown_with_the_reason(target, where, tag, reason):
    assert best(target(**where), tag) is None
    said = why_none_fits(release(tag), target(**where)).splitlines()
    assert said == [f"thing 1.0 has no wheel for {target(**where)}", f"  {reason}: thing-1.0-{tag}.whl"]


def test_many_wheels_are_told_by_reason_the_nearest_first(target):
    tags = [
        f"cp3{minor}-cp3{minor}-{system}"
        for minor in (9, 10, 12, 13, 14)
        for system in ("win32", "macosx_11_0_arm64")
    ]
    said = why_none_fits(release(*tags, "cp311-cp311-musllinux_1_2_x86_64", sdist=True), target())
    assert [line.partition(":")[0].strip() for line in said.splitlines()[1:]] == [
        "for musl, and the base has glibc 2.36",
        "for Windows",
        "for macOS",
        "there is also a source distribution, which is not built unless it is allowed",
    ]
    assert "thing-1.0-cp313-cp313-win32.whl and 2 more" in said


@pytest.mark.parametrize(
    ("releases", "hint"),
    [
        ([release("cp311-cp311-manylinux_2_39_x86_64")], "take a base with glibc 2.39 or newer, or"),
        (
            [release("cp312-cp312-manylinux_2_17_x86_64", "cp312-cp312-win32")],
            "take a base with CPython 3.12, or",
        ),
        ([release("cp311-cp311-musllinux_1_2_x86_64")], "take a base with musl, or"),
        ([release("cp311-cp311-win32")], "lock a version that has such a wheel"),
        ([release(sdist=True)], "lock a version that has one, or allow to build it: build-from-source = ["),
        ([release()], "lock a version that has one, or make it a local package"),
    ],
)
def test_the_hint_is_what_would_help(target, releases, hint):
    assert remedy(releases, target()).startswith(hint)


PYTHONS = (
    "cp311-cp311",
    "cp310-cp310",
    "cp39-abi3",
    "cp312-abi3",
    "py3-none",
    "py311-none",
    "cp311-none",
    "py2.py3-none",
)
PLATFORMS = (
    "any", "linux_x86_64", "manylinux1_x86_64", "manylinux2014_x86_64", "manylinux_2_28_x86_64",
    "manylinux_2_36_x86_64", "manylinux_2_37_x86_64", "musllinux_1_1_x86_64", "manylinux_2_28_aarch64",
    "win_amd64", "manylinux_2_17_x86_64.manylinux2014_x86_64",
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from(PYTHONS), st.sampled_from(PLATFORMS)), unique=True))
def test_the_choice_is_that_of_the_package_packaging(target, found):
    here = target()
    version, platforms = here.interpreter.version[:2], list(here.platforms())
    tags = [*cpython_tags(version, ["cp311"], platforms), *compatible_tags(version, "cp311", platforms)]
    names = [f"{python}-{platform}" for python, platform in found]
    parsed = [(name, parse_wheel_filename(f"thing-1.0-{name}.whl")[-1]) for name in names]
    ranks = {tag: rank for rank, tag in reversed(list(enumerate(tags)))}
    chosen = next(create_compatible_tags_selector(tags)(parsed), None)
    ours = best(here, *names)
    assert (ours is None) == (chosen is None)
    if ours is not None:
        rank = {name: min((ranks[tag] for tag in own if tag in ranks), default=None) for name, own in parsed}
        assert rank[ours] == rank[chosen]
    else:
        assert all(f"thing-1.0-{name}.whl" in why_none_fits(release(name), here) for name in names)
