"""What sources import, read off their text, and what can be reached by it."""

import ast
import asyncio
import importlib
import json
import unittest
from collections.abc import Iterator
from pathlib import Path

import pytest
import starlette

from tagboat.build.files import File, Link
from tagboat.build.imports import Module, imports_of, modules_of, names_in_strings, reached

SITE = "opt/venv/lib/python3.11/site-packages"


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import a", {"a"}),
        ("import a.b as c, d\timport_me = 1", {"a.b", "d"}),
        ("try: import a\nexcept ImportError: import b;  import c", {"a", "b", "c"}),
        ("def f():\n    from a import (  # (odd)\n        b as x,  # , y\n        c,\n    )", {"a.b", "a.c"}),
        ("from a \\\n    import b, \\\r\n    c # , d", {"a.b", "a.c"}),
        ("from . import x; from ..y import(z)", {"top.pkg.x", "top.y.z"}),
        ("from .x import *\nfrom.y import z", {"top.pkg.x", "top.pkg.y.z"}),
        ("# import a\nimportant = 1\nreimport (2)\n>>> import b", set()),
        ("x = importlib.import_module('a')\ny = __import__( \".b\" )", {"a", "top.pkg.b"}),
        ("import_string('a.b:c'), import_it, 'd:e', 'f', 'g h.i'", {"a.b", "d"}),
        ("TABLE = {'a.b': 1}", set()),
        ("entry_points(group='shop.plugins')", {"group:shop.plugins"}),
    ],
)
def test_names_are_found_in_statements_and_in_calls_that_import_by_name(source, names):
    assert imports_of(source.encode(), "top.pkg") == names


@pytest.mark.parametrize(
    "package", [asyncio, importlib, json, unittest, starlette], ids=lambda one: one.__name__
)
def test_nothing_that_the_grammar_knows_as_an_import_is_missed(package):
    folder = Path(package.__file__).parent
    sources = sorted(folder.rglob("*.py"))
    assert len(sources) > 3
    for source in sources:
        parts = [package.__name__, *source.relative_to(folder).parent.parts]
        text = source.read_bytes()
        assert imports_of(text, ".".join(parts)) >= set(grammatical(text, parts)), source


def grammatical(source: bytes, package: list[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            yield from (base if alias.name == "*" else f"{base}.{alias.name}" for alias in node.names)


def test_settings_name_modules_and_what_is_in_them_in_strings():
    source = b"APPS = ['django.contrib.admin', \"shop.wsgi:app\", 'no name', '3.1', 'word', '.near.by']"
    assert names_in_strings(source, "shop") == {"django.contrib.admin", "shop.wsgi", "shop.near.by"}


def test_modules_are_known_by_the_name_that_they_are_imported_by():
    points = (
        b"[console_scripts]\nrun = a.cli:main\nwalk=a.cli:walk [extra]\n\n[a.plugins]\nx = a.x\ny = a.y:Y\n"
    )
    found = modules_of(
        {
            f"{SITE}/a/__init__.py": File(b"from .x import y"),
            f"{SITE}/a/b/c.py": File(b"from ..d import e"),
            f"{SITE}/a/fast.cpython-311-x86_64-linux-gnu.so": File(b"import z"),
            f"{SITE}/a-1.dist-info/entry_points.txt": File(points),
            f"{SITE}/a/not-one.py": File(b"import z"),
            f"{SITE}/a/data.txt": File(b"import z"),
            f"{SITE}/a/link.py": Link("x.py"),
            "opt/venv/bin/tool.py": File(b"import z"),
        },
        SITE,
    )
    assert {module.name: module.imports for module in found.values()} == {
        "a": ("a.x.y",),
        "a.b.c": ("a.d.e",),
        "a.fast": ("a.*",),
        "script:run": ("a.cli",),
        "script:walk": ("a.cli",),
        "group:a.plugins": ("a.x", "a.y"),
    }


MODULES = {
    "a/__init__.py": Module("a", ("os", "b.c.function")),
    "a/unused.py": Module("a.unused", ("e",)),
    "b/__init__.py": Module("b", ("d",)),
    "b/c.py": Module("b.c", ("a", "group:plugins")),
    "d.py": Module("d", ()),
    "e.py": Module("e", ()),
    "f/__init__.py": Module("f", ()),
    "f/g/h.py": Module("f.g.h", ()),
    "points run": Module("script:run", ("d",)),
    "points plugins": Module("group:plugins", ("f",)),
}


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        ({"os.path", "missing"}, set()),
        ({"d.Anything.at.all"}, {"d.py"}),
        ({"script:run"}, {"points run", "d.py"}),
        ({"a"}, {"a/__init__.py", "b/__init__.py", "b/c.py", "d.py", "f/__init__.py", "points plugins"}),
        ({"a.*"}, {*MODULES} - {"f/g/h.py", "points run"}),
        ({"f.g.*"}, {"f/__init__.py", "f/g/h.py"}),
    ],
)
def test_what_imports_reach_comes_with_its_packages(names, paths):
    assert reached(MODULES, names) == paths
