"""The image's command: as configured, or through a shell that expands what the container is started with."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagboat.build.image import start_command

WORDS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"))


def run(command, *arguments, **environment):
    """The words that the started program gets; `printf` stands for the app."""
    done = subprocess.run(
        [*command, *arguments], env={"PATH": "/usr/bin:/bin"} | environment, check=True, capture_output=True
    )
    return done.stdout.decode().split("\0")[:-1]


def test_a_command_without_variables_runs_without_a_shell():
    assert start_command(("shop", "--price", "5$", "a b")) == ("shop", "--price", "5$", "a b")


@pytest.mark.parametrize(
    ("word", "expanded"),
    [
        ("$PORT", "8000"),
        ("0.0.0.0:${PORT}", "0.0.0.0:8000"),
        ("${NOWHERE:-9000}", "9000"),
        ("$PORT costs 5$", "8000 costs 5$"),
        ("$PORT `id` $(id) \\ \"quoted\" 'too'", "8000 `id` $(id) \\ \"quoted\" 'too'"),
        ("$SPACED", "a  b *"),
    ],
)
def test_variables_are_expanded_at_start_and_nothing_else_is(word, expanded):
    command = start_command(("printf", "%s\\0", word))
    assert run(command, PORT="8000", SPACED="a  b *") == [expanded]


def test_arguments_given_at_start_follow():
    assert run(start_command(("printf", "%s\\0", "$PORT")), "more", "a b", PORT="1") == ["1", "more", "a b"]


def test_the_shell_becomes_the_app():
    assert start_command(("shop", "$PORT"))[:2] == ("/bin/sh", "-c")
    assert start_command(("shop", "$PORT"))[2].startswith("exec shop ")


@given(st.lists(WORDS, max_size=4))
def test_words_reach_the_app_as_they_are(words):
    safe = [word.replace("$", "€") for word in words]
    assert run(start_command(("printf", "%s\\0", "$PORT", *safe)), PORT="1") == ["1", *safe]
