"""`pylock.toml` (PEP 751), as uv exports it and as others may write it."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from tagboat.build.cache import Cache
from tagboat.build.installer import Installer
from tagboat.build.interpreter import Libc
from tagboat.build.lock import Pin
from tagboat.build.lockfile import read_lock, to_pylock
from tagboat.build.selection import Selection
from tagboat.build.uv import UvError
from tagboat.build.wheel import Wheel
from tagboat.component import Component
from tagboat.errors import ConfigError

HASH = "0" * 64
WHEEL = (
    f"wheels = [{{ url = 'https://h.example/plain-1.0-py3-none-any.whl', hashes = {{ sha256 = '{HASH}' }} }}]"
)


@pytest.fixture
def exported(shop, uv):
    """The component with a pylock.toml of its own, exported by uv from the workspace's lock."""
    uv(shop, "export", "--no-dev", "--package", "shop", "--format", "pylock.toml", "-o", "pylock.toml")
    return shop


@pytest.fixture
def app(tmp_path):
    """Writes a component that needs `plain`, with a lock of the given packages."""

    def write(
        packages: str, *, head: str = 'lock-version = "1.0"\ncreated-by = "us"\n', needs: str = "plain"
    ):
        (tmp_path / "pyproject.toml").write_text(
            f'[project]\nname = "app"\nversion = "1"\ndependencies = ["{needs}"]\n'
            'scripts = { app = "app:main" }\n'
        )
        (tmp_path / "pylock.toml").write_text(head + packages)
        return tmp_path

    return write


def wanted(directory, target):
    component = Component.load(directory)
    return read_lock(component.lock).wanted(component, target)


def refusal(directory, target) -> str:
    with pytest.raises(ConfigError) as caught:
        wanted(directory, target)
    file = str(directory / "pylock.toml")
    assert str(caught.value).startswith(file)
    return str(caught.value).removeprefix(file)


@pytest.mark.parametrize(
    "where", [{}, {"version": (3, 12, 1)}, {"architecture": "arm64"}, {"libc": Libc("musl", (1, 2))}]
)
def test_what_uv_exports_pins_the_same_as_its_own_lock(exported, target, where):
    component = Component.load(exported)
    assert component.lock == exported / "pylock.toml"
    own = read_lock(exported.parent / "uv.lock").wanted(component, target(**where))
    pins = wanted(exported, target(**where))
    assert pins == own
    assert [(pin.wheel, pin.index) for pin in pins] == [(pin.wheel, pin.index) for pin in own]


def test_markers_may_ask_for_groups_and_those_that_are_default_are_in(app, target):
    head = 'lock-version = "1.0"\ncreated-by = "us"\ndefault-groups = ["default"]\n'
    packages = "".join(
        f"[[packages]]\nname = '{name}'\nversion = '1.0'\nmarker = \"{marker}\"\n"
        + WHEEL.replace("plain", name)
        + "\n"
        for name, marker in (
            ("plain", "'default' in dependency_groups"),
            ("checker", "'dev' in dependency_groups"),
            ("later", "'later' in extras"),
            ("old", "python_version < '3.11'"),
        )
    )
    assert [pin.name for pin in wanted(app(packages, head=head), target())] == ["plain"]


PLAIN = f"[[packages]]\nname = 'plain'\nversion = '1.0'\n{WHEEL}\n"
VCS = "vcs = { type = 'git', url = 'https://me:secret@h.example/plain', commit-id = '0a' }"


@pytest.mark.parametrize(
    ("packages", "complaint"),
    [
        (PLAIN * 2, ": plain is needed twice on Python 3.11 with glibc 2.36 on x86_64"),
        (PLAIN.replace("plain", "other"), ": app needs plain, and it has none"),
        (f"[[packages]]\nname = 'plain'\n{VCS}\n", ": plain comes from git, without a hash"),
        (
            "[[packages]]\nname = 'plain'\ndirectory = { path = '../plain' }\n",
            ": plain is a local package there",
        ),
        (PLAIN.replace("sha256", "md5"), ": plain 1.0: plain-1.0-py3-none-any.whl has no hash"),
        (PLAIN + "requires-python = '>=3.12'\n", ": plain needs Python >=3.12, and the base has 3.11.2"),
        (PLAIN.replace("hashes", "hashed"), ": Missing required value in 'packages[0].wheels[0].hashes'"),
        (
            PLAIN.replace("py3-none-any", "cp312-cp312-win_amd64"),
            ": plain 1.0 has no wheel for Python 3.11 with",
        ),
    ],
)
def test_packages_that_cannot_go_into_an_image_are_named(app, target, packages, complaint):
    said = refusal(app(packages), target())
    assert said.startswith(complaint)
    assert "secret" not in said


@pytest.mark.parametrize(
    ("head", "complaint"),
    [
        ("lock-version = '2.0'\ncreated-by = 'us'\n", " is a lock of a version that is not understood"),
        ("created-by = 'us'\n", ": Missing required value in 'lock-version'"),
        ("lock-version = 1.0\ncreated-by = 'us'\n", ": Unexpected type float"),
        ("lock-version\n", ": not TOML"),
        (
            "lock-version = '1.0'\ncreated-by = 'us'\nrequires-python = '<3.11'\n",
            " needs Python <3.11, and the base",
        ),
        (
            "lock-version = '1.0'\ncreated-by = 'us'\nenvironments = [\"os_name == 'nt'\"]\n",
            ' is for os_name == "nt", not for Python 3.11 with glibc 2.36 on x86_64',
        ),
    ],
)
def test_a_lock_that_is_not_for_us_is_refused(app, target, head, complaint):
    assert refusal(app(PLAIN, head=head), target()).startswith(complaint)


def test_a_wheel_may_be_a_file_beside_the_lock(app, target):
    archive = f"archive = {{ path = 'wheels/plain-1.0-py3-none-any.whl', hashes = {{ sha256 = '{HASH}' }} }}"
    directory = app(f"[[packages]]\nname = 'plain'\nversion = '1.0'\n{archive}\n")
    (pin,) = wanted(directory, target())
    assert pin.wheel.place == str(directory / "wheels" / "plain-1.0-py3-none-any.whl")
    assert pin.text == f"plain==1.0 --hash=sha256:{HASH}"


def test_a_file_with_another_hash_is_not_installed(app, target, tmp_path, make_wheel, house):
    make_wheel(tmp_path / "wheels", "plain")
    archive = f"archive = {{ path = 'wheels/plain-1.0-py3-none-any.whl', hashes = {{ sha256 = '{HASH}' }} }}"
    directory = app(f"[[packages]]\nname = 'plain'\nversion = '1.0'\n{archive}\n")
    selection = Selection(Component.load(directory), target(), Cache.open(tmp_path / "cache"))
    (tmp_path / "installed").mkdir()
    with pytest.raises(UvError, match=r"(?i)hash mismatch for `?plain"):
        Installer(selection, tmp_path / "installed").install(selection.pins, "all")


names = st.text("abcxyz", min_size=1, max_size=8)
places = st.one_of(
    st.text(min_size=1).map(lambda text: f"/{text}"),
    st.text(min_size=1).map(lambda text: f"https://h.example/{text}"),
)


@given(
    st.lists(
        st.tuples(names, places, st.sampled_from([None, 'https://i.example/"\\é\n'])),
        unique_by=lambda one: one[0],
    )
)
def test_what_an_installer_is_given_says_what_the_pins_say(found):
    pins = [
        Pin(
            name,
            "",
            Requirement(f"{name}==1.0"),
            Wheel(f"{name}-1.0-py3-none-any.whl", place, (f"sha256:{HASH}",)),
            index,
        )
        for name, place, index in found
    ]
    document = tomllib.loads(to_pylock(pins))
    packages = document.get("packages", [])
    assert [one["name"] for one in packages] == [pin.name for pin in pins]
    for package, pin in zip(packages, pins, strict=True):
        file = package["wheels"][0] if pin.index else package["archive"]
        assert package.get("index") == pin.index
        assert file["path" if pin.wheel.place.startswith("/") else "url"] == pin.wheel.place
        assert file["hashes"] == {"sha256": HASH}
