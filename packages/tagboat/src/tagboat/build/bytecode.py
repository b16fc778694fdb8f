"""Byte code, compiled ahead of time by the image's own Python, the same whoever does it and in what order.

The files are hash-based and unchecked (PEP 552): no time stamp of a source file can make them stale.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tagboat.build.cache import Cache, key_of
from tagboat.build.files import Entry, File, Files, Part
from tagboat.build.interpreter import Interpreter, InterpreterError, command, environment

_FORMAT = "4"
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
        posix.write(1, b"!" + str(error).encode(errors="replace").replace(b"\\n", b" ") + b"\\n")
        return
    held = strings(code)
    data = _code_to_hash_pyc(code, _imp.source_hash(magic, text), False)
    with open(target, "ab") as file:
        file.write(data)
    posix.write(1, b"%d\\n" % len(data))

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
    broken: dict[str, str] = {}
    with cache.temporary() as folder:
        for path, entry in _sources(files).items():
            source = entry.read()
            key = key_of(_FORMAT, compiler.identity, path, source)
            stored[path] = cache.path(f"bytecode/{key[:2]}", key)
            if not stored[path].exists():
                jobs.append(_Job(_on_disk(entry, folder / f"{len(jobs)}.py"), folder / str(len(jobs)), path))
        shares = max(1, min(os.cpu_count() or 1, len(jobs) // _WORTH_A_PROCESS))
        for job, result in _run([jobs[n::shares] for n in range(shares)], compiler):
            if isinstance(result, str):
                broken[f"/{job.path}"] = result
            else:
                job.target.replace(stored[job.path])
    made: dict[str, Entry] = {
        bytecode_path(path, compiler.interpreter): File(file)
        for path, file in stored.items()
        if f"/{path}" not in broken
    }
    return made, dict(sorted(broken.items()))


def compile_packages(
    packages: Mapping[str, Files], compiler: Compiler, cache: Cache
) -> dict[str, dict[str, Entry]]:
    """The byte code of each of the packages, which are their files by name.

    That of a package is kept in one file, since there are thousands: as many files take longer to be made
    than much of the byte code. Raises InterpreterError when the interpreter itself fails.
    """
    sources = {name: _sources(files) for name, files in packages.items()}
    # By the sources themselves: the wheels of a version for other architectures may differ in them.
    kept = {
        name: cache.path("packages", key_of(_FORMAT, compiler.identity, *_contents(found)))
        for name, found in sources.items()
    }
    with cache.temporary() as folder:
        work = []
        for number, name in enumerate(name for name, file in kept.items() if not file.exists()):
            jobs = [
                _Job(_on_disk(entry, folder / f"{number}.{index}.py"), folder / str(number), path)
                for index, (path, entry) in enumerate(sources[name].items())
            ]
            size = sum(entry.size for entry in sources[name].values())
            work.append((size, number, name, jobs))
        shares: list[list[_Job]] = [[] for _ in range(os.cpu_count() or 1)]
        loads = [0] * len(shares)
        for size, _, _, jobs in sorted(work, key=lambda one: one[:2], reverse=True):
            least = loads.index(min(loads))
            shares[least] += jobs
            loads[least] += size
        found = dict(_run(shares, compiler))
        for _, number, name, jobs in work:
            results = ((job.path, found[job]) for job in jobs)
            sizes = [(path, result) for path, result in results if isinstance(result, int)]
            _keep(folder / str(number), sizes, kept[name])
    return {name: _parts(file, compiler.interpreter) for name, file in kept.items()}


def _sources(files: Files) -> dict[str, File]:
    found = ((path, entry) for path, entry in sorted(files.items()) if path.endswith(".py"))
    return {path: entry for path, entry in found if isinstance(entry, File)}


def _contents(sources: Mapping[str, File]) -> Iterator[str]:
    for path, entry in sources.items():
        yield path
        yield entry.sha256()


def _keep(pack: Path, sizes: list[tuple[str, int]], target: Path) -> None:
    """Put what was compiled of a package in its place, with the paths and sizes at its end."""
    index = json.dumps(sizes).encode()
    with pack.open("ab") as file:
        file.write(index + len(index).to_bytes(8, "big"))
    pack.replace(target)


def _parts(pack: Path, interpreter: Interpreter) -> dict[str, Entry]:
    made: dict[str, Entry] = {}
    with pack.open("rb") as file:
        end = file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(8), "big")
        file.seek(end - length)
        sizes: list[tuple[str, int]] = json.loads(file.read(length))
    offset = 0
    for path, size in sizes:
        made[bytecode_path(path, interpreter)] = File(Part(pack, offset, size))
        offset += size
    return made


def _on_disk(entry: File, otherwise: Path) -> Path:
    """Where the content of a source is; that place, if it was nowhere yet."""
    if isinstance(entry.content, Path):
        return entry.content
    otherwise.write_bytes(entry.read())
    return otherwise


@dataclass(frozen=True, slots=True)
class _Job:
    source: Path
    target: Path  # to whose end the byte code is put
    path: str  # of the source in the image

    @property
    def words(self) -> tuple[bytes, bytes, bytes]:
        """The last is the name that tracebacks show."""
        return os.fsencode(self.source), os.fsencode(self.target), os.fsencode(f"/{self.path}")


def bytecode_path(path: str, interpreter: Interpreter) -> str:
    """Where the byte code of a source belongs (PEP 3147)."""
    source = PurePosixPath(path)
    return str(source.parent / "__pycache__" / f"{source.stem}.{interpreter.cache_tag}.pyc")


def _run(shares: list[list[_Job]], compiler: Compiler) -> Iterator[tuple[_Job, int | str]]:
    """Do all jobs, each share in a process of its own; each with the bytes that it gave, or what is wrong
    with the source."""
    with ThreadPoolExecutor(len(shares)) as pool:
        done = pool.map(lambda share: _compile(share, compiler), shares)
        for share, results in zip(shares, done, strict=True):
            yield from zip(share, results, strict=True)


def _compile(jobs: list[_Job], compiler: Compiler) -> list[int | str]:
    if not jobs:
        return []
    root, interpreter = compiler.root, compiler.interpreter

    def run(how: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command(root, interpreter.path, "-S", "-B", "-W", "ignore", "-c", _COMPILE, how),
            env=environment(root, interpreter.path),
            input=b"".join(word + b"\0" for job in jobs for word in job.words),
            capture_output=True,
            check=False,
        )

    done = run("together" if interpreter.version < _APART else "apart")
    if done.returncode < 0:
        for target in {job.target for job in jobs}:
            target.unlink(missing_ok=True)
        done = run("apart")  # some file crashes it: this says which
    if done.returncode != 0:
        raise InterpreterError(
            f"{interpreter.path} of the base: {done.stderr.decode(errors='replace').strip()}"
        )
    lines = done.stdout.decode(errors="replace").split("\n")[:-1]
    return [line[1:] if line.startswith("!") else int(line) for line in lines]
