"""Byte code, compiled ahead of time by the image's own Python, the same whoever does it and in what order.

The files are hash-based and unchecked (PEP 552): no time stamp of a source file can make them stale.
"""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tagboat.build.cache import Cache, key_of
from tagboat.build.files import Entry, File, Files
from tagboat.build.interpreter import Interpreter, InterpreterError, command, environment

_FORMAT = "2"
_WORTH_A_PROCESS = 16  # files
_APART = (3, 12)  # the first Python whose files are compiled in processes of their own

# Runs in the image's interpreter. Only modules that are built in are needed, so the start is quick.
#
# `marshal` writes an object as one that may be referred to when anybody else in the process holds it too.
# Names and short strings are shared with whatever else is loaded, so here all are held; strings of one
# character are one object for the whole process, and are interned, or not, for good: here all are. Up to
# Python 3.11 nothing else is left of a file that was compiled (seen: 15,000 files in several orders). Later
# ones let all that they intern live for ever, and by that decide which constants are shared: there each
# file is compiled in a fork of the same fresh process, which takes three times as long, most of it for
# memory that each child gets anew.
_COMPILE = """
import sys, posix, _imp, marshal
from _frozen_importlib_external import _code_to_hash_pyc, _RAW_MAGIC_NUMBER as magic

def build(source, target, name):
    with open(source, "rb") as file:
        text = file.read()
    try:
        code = compile(text, name.decode(), "exec", dont_inherit=True, optimize=0)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        posix.write(1, name + b"\\t" + str(error).encode(errors="replace").replace(b"\\n", b" ") + b"\\n")
        return
    held = strings(code)
    data = _code_to_hash_pyc(code, _imp.source_hash(magic, text), False)
    partial = target + b".%d" % posix.getpid()
    with open(partial, "wb") as file:
        file.write(data)
    posix.rename(partial, target)

def strings(code):
    found = []
    waiting = [code]
    while waiting:
        value = waiting.pop()
        if isinstance(value, type(code)):
            for names in value.co_names, value.co_varnames, value.co_cellvars, value.co_freevars:
                found += names
            found += value.co_filename, value.co_name, getattr(value, "co_qualname", "")
            waiting += value.co_consts
        elif isinstance(value, (tuple, frozenset)):
            waiting += value
        else:
            found.append(value)
    return found

characters = [sys.intern(chr(number)) for number in range(256)]
jobs = sys.stdin.buffer.read().split(b"\\0")
for index in range(0, len(jobs) - 1, 3):
    if sys.argv[1] == "together":
        build(*jobs[index : index + 3])
        continue
    child = posix.fork()
    if child == 0:
        status = 1
        try:
            build(*jobs[index : index + 3])
            status = 0
        finally:
            posix._exit(status)
    status = posix.waitstatus_to_exitcode(posix.waitpid(child, 0)[1])
    if status:
        sys.exit("compiling " + jobs[index + 2].decode() + " ended with " + str(status))
"""


@dataclass(frozen=True, slots=True)
class Compiler:
    """The Python that compiles: unpacked in `root`, and `identity` stands for that very one."""

    interpreter: Interpreter
    root: Path
    identity: str


def compile_files(
    files: Files, compiler: Compiler | None, cache: Cache
) -> tuple[dict[str, Entry], dict[str, str]]:
    """The byte code for every `.py` of `files` by its path in the image, and what does not compile and why.

    What was compiled once comes from the cache; without a compiler there is none. Raises InterpreterError
    when the interpreter itself fails.
    """
    if compiler is None:
        return {}, {}
    stored: dict[str, Path] = {}
    jobs: list[_Job] = []
    with cache.temporary() as folder:
        for path, entry in sorted(files.items()):
            if not path.endswith(".py") or not isinstance(entry, File):
                continue
            source = entry.read()
            key = key_of(_FORMAT, compiler.identity, path, source)
            stored[path] = cache.path(f"bytecode/{key[:2]}", key)
            if not stored[path].exists():
                file = entry.content
                if isinstance(file, bytes):
                    file = folder / str(len(jobs))
                    file.write_bytes(source)
                jobs.append(_Job(file, stored[path], f"/{path}"))
        broken = _run(jobs, compiler.interpreter, compiler.root)
    made: dict[str, Entry] = {
        bytecode_path(path, compiler.interpreter): File(file)
        for path, file in stored.items()
        if f"/{path}" not in broken
    }
    return made, broken


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    target: Path
    name: str  # absolute path of the source in the image: what tracebacks show


def bytecode_path(path: str, interpreter: Interpreter) -> str:
    """Where the byte code of a source belongs (PEP 3147)."""
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.{interpreter.cache_tag}.pyc")


def _run(jobs: list[_Job], interpreter: Interpreter, root: Path) -> dict[str, str]:
    """Do all jobs, a share on each processor; returns which sources do not compile, and why."""
    shares = max(1, min(os.cpu_count() or 1, len(jobs) // _WORTH_A_PROCESS))
    with ThreadPoolExecutor(shares) as pool:
        refused = pool.map(
            lambda share: _compile(share, interpreter, root), (jobs[n::shares] for n in range(shares))
        )
        return dict(sorted(pair for pairs in refused for pair in pairs))


def _compile(jobs: list[_Job], interpreter: Interpreter, root: Path) -> list[tuple[str, str]]:
    if not jobs:
        return []
    words = [os.fsencode(word) for job in jobs for word in (job.source, job.target, job.name)]

    def run(how: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(root, interpreter.path, "-S", "-B", "-W", "ignore", "-c", _COMPILE, how),
            env=environment(root, interpreter.path),
            input=b"".join(word + b"\0" for word in words),
            capture_output=True,
            check=False,
        )

    done = run("together" if interpreter.version < _APART else "apart")
    if done.returncode < 0:
        done = run("apart")  # some file crashes it: this says which
    if done.returncode != 0:
        raise InterpreterError(
            f"{interpreter.path} of the base: {done.stderr.decode(errors='replace').strip()}"
        )
    lines = (line.partition("\t") for line in done.stdout.decode(errors="replace").split("\n") if line)
    return [(name, reason) for name, _, reason in lines]
