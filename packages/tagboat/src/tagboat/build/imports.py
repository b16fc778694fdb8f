"""What Python sources import, found without running or compiling any of them.

Sources are searched for words, not parsed: that takes a twentieth of the time that compiling does, and which
Python builds makes no difference. It errs to the side of too much: what only a type checker imports counts,
and so does a line of a docstring that begins as an import does.

A name of what is imported is dotted, of a module or of something in one. Besides, `a.b.*` is all that lies
right in the package `a.b`, `script:x` the console script `x`, and `group:x` all entry points of that group.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tagboat.build.files import File, Files

FORMAT: Final = "1"  # raise it when the same sources would be understood otherwise

_IMPORT = re.compile(rb"import[ \t(*]")
_FROM = re.compile(rb"from[ \t]*(\.*)[ \t]*([\w.]*)")
_PLAIN = re.compile(rb"[\w. \t,]*")
_LISTED = re.compile(rb"[ \t]*(?:\(((?>[^)#]+|#[^\n]*)*)|([^;\n#]*))")
_COMMENT = re.compile(rb"#[^\n]*")
_CALL = re.compile(rb"(?:import_module|__import__)\(\s*[\"'](\.*)(\w+)[\"']")
_STRING = re.compile(rb"[\"'](\.*)([A-Za-z_]\w*(?:(?:\.\w+)+(?=[\"':])|(?=:\w)))(?::[\w.]+)?[\"']")
_GROUP = re.compile(rb"(?:group\s*=\s*|entry_?points\(\s*)[\"']([\w.-]+)[\"']")


@dataclass(frozen=True, slots=True)
class Module:
    """What is in a file: something with that name, and the names that it imports, sorted."""

    name: str
    imports: tuple[str, ...]


def modules_of(files: Files, site: str) -> dict[str, Module]:
    """The modules and entry points among `files`, by path; `site` is the folder that is imported from.

    Of entry points several are in one file, and the path has the name after it. What a compiled module
    imports cannot be seen: that it needs what lies beside it is taken for granted.
    """
    found: dict[str, Module] = {}
    for path, entry in files.items():
        if not isinstance(entry, File):
            continue
        if path.endswith(".dist-info/entry_points.txt"):
            points = _entry_points(entry.read().decode(errors="replace"))
            found |= {f"{path} {name}": Module(name, tuple(sorted(points[name]))) for name in points}
        elif named := _named(path, site):
            name, package = named
            if path.endswith(".py"):
                found[path] = Module(name, tuple(sorted(imports_of(entry.read(), package))))
            else:
                found[path] = Module(name, (f"{package}.*",) if package else ())
    return found


def imports_of(source: bytes, package: str) -> set[str]:
    """What a source of `package` imports: in statements anywhere in it, or by names that it holds."""
    source = _in_long_lines(source)
    found = set(_statements(source, package))
    if b"import_" in source:  # import_module, import_string, __import__: names are in strings
        found |= names_in_strings(source, package)
        found |= {_absolute(package, *match.groups()) for match in _CALL.finditer(source)}
    if b"entry_points" in source:
        found |= {f"group:{match[1].decode()}" for match in _GROUP.finditer(source)}
    return found


def names_in_strings(source: bytes, package: str) -> set[str]:
    """The strings of a source of `package` that may name a module or what is in one: `a.b.c`, `a:b`."""
    return {_absolute(package, *match.groups()) for match in _STRING.finditer(source)}


def reached(modules: Mapping[str, Module], names: Iterable[str]) -> set[str]:
    """The paths of all that importing `names` may import, with the packages that they are in."""
    paths: dict[str, list[str]] = {}
    for path, module in modules.items():
        paths.setdefault(module.name, []).append(path)
        if ":" not in module.name:
            paths.setdefault(f"{module.name.rpartition('.')[0]}.*", []).append(path)
    found: set[str] = set()
    seen: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        while name and name not in seen:
            seen.add(name)
            for path in paths.get(name, ()):
                found.add(path)
                waiting += (modules[path].name, *modules[path].imports)
            name = name.rpartition(".")[0]
    return found


def _named(path: str, site: str) -> tuple[str, str] | None:
    """The name of the module in a file, and of its package; None for what is not imported from `site`."""
    if not path.startswith(f"{site}/") or not path.endswith((".py", ".so")):
        return None
    *parents, file = path.removeprefix(f"{site}/").split("/")
    stem = file.partition(".")[0]
    parts = parents if stem == "__init__" else [*parents, stem]
    if not parts or not all(part.isidentifier() for part in parts):
        return None
    return ".".join(parts), ".".join(parents)


def _entry_points(text: str) -> dict[str, list[str]]:
    """The modules of entry points, by how they are named here (PyPA's "Entry points specification")."""
    found: dict[str, list[str]] = {}
    group = ""
    for line in text.splitlines():
        if line.startswith("["):
            group = line.strip("[] \t")
        elif match := re.match(r"\s*([^=\[#;]+?)\s*=\s*([\w.]+)", line):
            name = f"script:{match[1]}" if group == "console_scripts" else f"group:{group}"
            found.setdefault(name, []).append(match[2])
    return found


def _in_long_lines(source: bytes) -> bytes:
    return source.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ") if b"\\" in source else source


def _statements(source: bytes, package: str) -> Iterator[str]:
    for match in _IMPORT.finditer(source):
        start = match.start()
        line = source[max(source.rfind(b"\n", 0, start) + 1, start - 500) : start]
        clause = line[max(line.rfind(b";"), line.rfind(b":")) + 1 :].strip()
        if not clause:
            yield from _first_words(_matched(_PLAIN, source, start + 6))
        elif origin := _FROM.fullmatch(clause):
            base = _absolute(package, *origin.groups())
            listed = _COMMENT.sub(b"", _matched(_LISTED, source, start + 6))
            yield from [f"{base}.{name}" for name in _first_words(listed) if name != "*"] or [base]


def _matched(pattern: re.Pattern[bytes], source: bytes, start: int) -> bytes:
    match = pattern.match(source, start)
    return (match[match.lastindex or 0] if match else None) or b""


def _first_words(listed: bytes) -> Iterator[str]:
    """`a` and `b` of `a as c, b`."""
    for part in listed.split(b","):
        if words := part.split(None, 1):
            yield words[0].decode("latin-1")


def _absolute(package: str, dots: bytes, name: bytes) -> str:
    """The name, which is relative to `package` when there are dots before it."""
    text = name.decode("latin-1")
    if not dots:
        return text
    above = package.split(".")
    parents = above[: max(0, len(above) - len(dots) + 1)]
    return ".".join([*parents, text] if text else parents)
