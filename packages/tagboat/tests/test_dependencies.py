"""The lock: what it pins, and what is no lock."""

import pytest

from tagboat.build.interpreter import Interpreter, Libc
from tagboat.build.lockfile import read_lock
from tagboat.build.target import Target
from tagboat.component import Component
from tagboat.errors import ConfigError

TARGET = Target(Interpreter("/usr/bin/python3.11", (3, 11, 2), Libc("glibc", (2, 36))), "amd64")
HASH = "sha256:" + "0" * 64
OTHER = "sha256:" + "1" * 64


def lock(tmp_path, text):
    file = tmp_path / "requirements.lock"
    file.write_text(text)
    return file


def test_pins_are_read_over_continued_lines_and_past_comments(tmp_path):
    file = lock(
        tmp_path,
        f"# made by a tool\n--index-url https://index.example/simple\n"
        f"Anyio==4.1 \\\n    --hash={OTHER} \\\n    --hash={HASH}\n    # via shop\n"
        f"tomli==2 ; python_version < '3.11' --hash={HASH}  # never\n",
    )
    read = read_lock(file)
    assert [pin.name for pin in read.pins] == ["anyio", "tomli"]
    assert read.pins[0].text == f"Anyio==4.1 --hash={HASH} --hash={OTHER}"
    assert read.pins[1].text == f"tomli==2 ; python_version < '3.11' --hash={HASH}"
    assert read.options == ("--index-url https://index.example/simple",)


def test_an_empty_lock_pins_nothing(tmp_path):
    assert read_lock(lock(tmp_path, "\n# nothing needed\n")).pins == ()


def test_comments_and_the_order_of_hashes_do_not_change_what_is_pinned(tmp_path):
    one = read_lock(lock(tmp_path, f"a==1 --hash={HASH} --hash={OTHER}\n"))
    two = read_lock(lock(tmp_path, f"# new\na==1 \\\n  --hash={OTHER} \\\n  --hash={HASH}"))
    assert one == two


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (f"a==1 --hash={HASH}\n\nb==2\nc==3\n", 3, "b==2 has no hash"),
        ("a==1 \\\n  # via b\n", 1, "a==1 has no hash"),
        ("-r other.txt\n", 1, "-r cannot be part of a lock"),
        ("-e ../shop\n", 1, "-e cannot be part of a lock"),
        (f"==1 --hash={HASH}\n", 1, "is no requirement"),
        ("a @ https://joe:secret@x.example/a.whl\n", 1, "a @ https://x.example/a.whl has no hash"),
    ],
)
def test_a_lock_that_locks_too_little_is_refused_with_the_line(tmp_path, text, line, message):
    file = lock(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_lock(file)
    assert str(caught.value).startswith(f"{file}:{line}: ")
    assert message in str(caught.value)


def test_a_missing_lock_comes_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(ConfigError) as caught:
        read_lock(tmp_path / "requirements.lock")
    assert "requirements.lock does not exist" in str(caught.value)
    assert "--generate-hashes" in caught.value.hint


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ('dependencies = ["goods", "h11", "jmespath"]', None),
        ('dependencies = ["goods", "h11>=0.16,<1", "JMESPath ~= 1.0"]', None),
        ("dependencies = [\"colorama ; sys_platform == 'win32'\"]", None),
        ("dependencies = [\"tomli ; python_version < '3.11'\"]", None),
        ('dependencies = ["rich"]', "hail needs rich, and it has none"),
        ('dependencies = ["h11>=1"]', "hail needs h11>=1, and it has h11==0.16.0"),
    ],
)
def test_the_lock_must_have_what_the_packages_need(project, needs, message):
    text = project.pyproject.read_text()
    project.pyproject.write_text(text.replace('dependencies = ["goods", "h11", "jmespath"]', needs))
    component = Component.load(project.directory)
    if message is None:
        read_lock(component.lock).wanted(component, TARGET)
        return
    with pytest.raises(ConfigError) as caught:
        read_lock(component.lock).wanted(component, TARGET)
    assert str(caught.value) == f"{component.lock}: {message}"


def test_the_base_must_have_the_python_that_the_packages_need(project):
    project.pyproject.write_text(project.pyproject.read_text().replace(">=3.11", ">=3.12"))
    component = Component.load(project.directory)
    with pytest.raises(ConfigError, match=r"hail needs Python >=3\.12, and the base has 3\.11\.2"):
        read_lock(component.lock).wanted(component, TARGET)
