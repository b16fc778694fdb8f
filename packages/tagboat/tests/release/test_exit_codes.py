"""Every way to fail has the exit code that the README says."""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

import tagboat
from tagboat.errors import TagboatError
from tagboat.refusal import TagRefusedError

README = (Path(__file__).parents[2] / "README.md").read_text()
SAID = {int(code) for code in re.findall(r"^\| (\d+) \| ", README, re.MULTILINE)}


def errors(base: type[TagboatError]) -> Iterator[type[TagboatError]]:
    yield base
    for below in base.__subclasses__():
        yield from errors(below)


def test_the_readme_lists_the_codes_of_all_errors_and_no_others():
    for module in pkgutil.walk_packages(tagboat.__path__, "tagboat."):
        if module.name != "tagboat.__main__":
            importlib.import_module(module.name)
    codes = {error.exit_code for error in errors(TagboatError)}
    assert codes | {0} == SAID


def test_no_two_refusals_of_a_release_share_a_code():

    codes = [error.exit_code for error in errors(TagRefusedError)]
    assert len(set(codes)) == len(codes)
