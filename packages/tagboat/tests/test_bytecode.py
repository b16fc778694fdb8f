"""Byte code is made by the image's Python, the same by whoever has it made."""

import importlib.util
import json
import marshal
from pathlib import Path

import pytest

from tagboat.build.bytecode import Compiler, compile_files, compile_packages
from tagboat.build.cache import Cache
from tagboat.build.files import File, Link
from tagboat.build.interpreter import InterpreterError, find_interpreter, fingerprint, resolve
from tagboat.build.roots import unpacked

UNCHECKED = 0b01  # PEP 552: hash-based, source not looked at


@pytest.fixture(scope="session")
def root(built, build_cache):
    """The base, unpacked."""
    image = built.build.image
    base = type(image).empty(image.config.platform).append(image.layers[0], image.config.history[0])
    return unpacked(base, Cache.open(build_cache), "whole")


@pytest.fixture(scope="session")
def interpreter(root):
    return find_interpreter(root, path=None, search="/usr/bin")


@pytest.fixture
def compile_(root, interpreter, tmp_path):
    """Compile with a cache of its own."""

    def compile_with(files, cache="one"):
        store = Cache.open(tmp_path / cache)
        return compile_files(files, Compiler(interpreter, root, "id"), store)

    return compile_with


def test_the_interpreter_of_the_base_runs_here_and_says_what_it_is(interpreter):
    assert interpreter.path.startswith("/usr/bin/python3.")
    assert interpreter.version >= (3, 11, 0)
    assert interpreter.libc.family == "glibc"
    assert interpreter.libc.version >= (2, 36)


def test_a_python_is_known_by_its_program_and_its_library_wherever_they_are(interpreter, tmp_path):
    def write(name, program, library):
        for path, content in ((interpreter.path, program), ("/usr/lib/libpython3.11.so.1.0", library)):
            file = tmp_path / name / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        (tmp_path / name / "usr" / "lib" / "libpython3.11.so").symlink_to("/usr/lib/libpython3.11.so.1.0")
        (tmp_path / name / "usr" / "lib" / "libpython3.11.so.2").symlink_to("nowhere")
        return fingerprint(tmp_path / name, interpreter)

    one = write("one", b"a", b"b")
    assert write("the same", b"a", b"b") == one
    assert len({one, write("program", b"c", b"b"), write("library", b"a", b"c")}) == 3


def test_a_base_without_python_is_refused(tmp_path):
    with pytest.raises(InterpreterError, match="no Python in the base"):
        find_interpreter(tmp_path, path=None, search="/usr/bin:/bin")


def test_a_python_that_is_no_program_is_refused(tmp_path):
    (tmp_path / "python3").write_text("#!/bin/sh\n")
    with pytest.raises(InterpreterError, match="python3 of the base is not a 64-bit ELF program"):
        find_interpreter(tmp_path, path="/python3", search="")


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/bin/tool", "/usr/bin/tool"),
        ("/absolute", "/usr/bin/tool"),
        ("/up", "/usr/bin/tool"),
        ("/loop", None),
        ("/gone", None),
        ("/escape", None),
    ],
)
def test_links_are_followed_inside_the_image_and_never_out_of_it(tmp_path, path, found):
    (tmp_path / "usr" / "bin").mkdir(parents=True)
    (tmp_path / "usr" / "bin" / "tool").touch()
    for name, target in {
        "bin": "usr/bin",
        "absolute": "/bin/tool",
        "up": "../../../usr/bin/tool",
        "loop": "loop",
        "gone": "nowhere",
        "escape": "../../../../../../../../etc/hostname",
    }.items():
        (tmp_path / name).symlink_to(target)
    assert resolve(tmp_path, path) == found


def test_files_are_unchecked_and_name_the_source_as_it_is_in_the_image(compile_, interpreter):
    compiled, broken = compile_(
        {"app/x.py": File(b"import y\n"), "app/data.txt": File(b""), "app/l.py": Link("x.py")}
    )
    assert broken == {}
    assert list(compiled) == [f"app/__pycache__/x.{interpreter.cache_tag}.pyc"]
    data = next(iter(compiled.values())).read()
    assert int.from_bytes(data[4:8], "little") == UNCHECKED
    assert data[8:16] == importlib.util.source_hash(b"import y\n")
    assert b"/app/x.py" in data


def test_neither_order_nor_company_changes_a_file(compile_):
    names = [f"name{number}" for number in range(40)]
    files = {
        f"app/{name}.py": File(
            f"import os\ndef {name}(a, b={number}, *c):\n"
            f"    return ({name!r}, {{'x', 'y', {name!r}}}, os, 1.5, b'{name}')\n".encode()
        )
        for number, name in enumerate(names)
    }
    together, _ = compile_(files)
    for name in names[::8]:
        alone, _ = compile_({f"app/{name}.py": files[f"app/{name}.py"]}, cache=name)
        for path, file in alone.items():
            assert file.read() == together[path].read()


def test_a_process_for_each_file_makes_the_same(compile_, monkeypatch):
    """Names and characters that one file has interned, and another one has among its constants."""
    sources = [
        *("from os import *\nä = 1\n", "x = '*', 'ä', 'é', '-'\n", "é = 'ä'\nx = 'é'\n"),
        "def f(x):\n    return x in {'EXEC', 'WATCH'}\ndef g(x):\n    return x in {'EXEC', 'WATCH'}\n",
        "EXEC = WATCH = 'EXEC'\n",
        *(path.read_text() for path in sorted(Path(json.__file__).parent.glob("*.py"))),
    ]
    files = {f"app/{number}.py": File(source.encode()) for number, source in enumerate(sources)}
    made, _ = compile_(files)
    monkeypatch.setattr("tagboat.build.bytecode._APART", (0,))
    apart, _ = compile_(dict(reversed(files.items())), cache="apart")
    assert len(apart) == len(sources)
    assert {path: file.read() for path, file in apart.items()} == {
        path: file.read() for path, file in made.items()
    }


def test_a_source_that_does_not_compile_is_named_and_the_others_are_compiled(compile_):
    compiled, broken = compile_(
        {"app/bad.py": File(b"def\n"), "app/good.py": File(b""), "app/zero.py": File(b"\0")}
    )
    assert list(broken) == ["/app/bad.py", "/app/zero.py"]
    assert broken["/app/bad.py"] == "invalid syntax (bad.py, line 1)"
    assert len(compiled) == 1


def test_what_was_compiled_once_is_not_compiled_again(compile_, monkeypatch):
    files = {"app/x.py": File(b"x = 1\n")}
    first, _ = compile_(files)
    monkeypatch.setattr(
        "tagboat.build.bytecode.subprocess.run", lambda *_, **__: pytest.fail("compiled again")
    )
    again, _ = compile_(files)
    assert again == first


def test_packages_of_one_version_with_other_sources_have_byte_code_of_their_own(root, interpreter, tmp_path):
    store, compiler = Cache.open(tmp_path), Compiler(interpreter, root, "id")
    for machine in ("x86_64", "aarch64", "x86_64"):
        files = {"p/config.py": File(f"machine = {machine!r}".encode()), "p/data": File(b"")}
        (entry,) = compile_packages({"p": files}, compiler, store)["p"].values()
        found = {}
        exec(marshal.loads(entry.read()[16:]), found)  # noqa: S102, S302
        assert found["machine"] == machine


def test_the_python_of_a_base_compiles_without_the_rest_of_it(
    built, build_cache, compile_, interpreter, tmp_path
):
    image = built.build.image
    base = type(image).empty(image.config.platform).append(image.layers[0], image.config.history[0])
    root = unpacked(base, Cache.open(build_cache), "compiler")
    sources = {f"{name.replace('-', '_')}.py": File(_source_in(name)) for name in CODECS}
    alone, refused = compile_files(sources, Compiler(interpreter, root, "id"), Cache.open(tmp_path / "other"))
    whole, refused_by_whole = compile_(sources)
    assert refused == refused_by_whole
    assert {path: file.read() for path, file in alone.items()} == {
        path: one.read() for path, one in whole.items()
    }
    assert sum(1 for _ in root.rglob("*")) < 400


CODECS = (
    "utf-8",
    "latin-1",
    "cp1252",
    "koi8-r",
    "iso8859-15",
    "euc-jp",
    "gb18030",
    "big5",
    "punycode",
    "utf-7",
)


def _source_in(codec):
    text = f'# coding: {codec}\nname = "\\N{{SNOWMAN}}"\nx = "é"\n'
    return text.encode(codec, errors="ignore")


def test_the_code_runs(compile_):
    compiled, _ = compile_({"app/x.py": File(b"answer = 6 * 7\n")})
    data = next(iter(compiled.values())).read()
    if (
        data[:4] == importlib.util.MAGIC_NUMBER
    ):  # this very Python reads it only when it is of the same version
        namespace = {}
        exec(marshal.loads(data[16:]), namespace)  # noqa: S102, S302
        assert namespace["answer"] == 42
