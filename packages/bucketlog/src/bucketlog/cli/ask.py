"""`bucketlog q` and `bucketlog pull`: questions in EDN, answers as tables, trees or JSON."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, Final

from bucketlog import Keyword, edn
from bucketlog.cli.command import Command, add_json, add_view, form_of, opened, view
from bucketlog.cli.output import notation, print_json, print_table

__all__ = ["COMMANDS"]


def _q_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("query", metavar="QUERY", help="a query in EDN; the database is $")
    parser.add_argument("inputs", nargs="*", metavar="INPUT", help="what else :in names, each in EDN")
    add_view(parser, history=True)
    add_json(parser)


def _q(options: argparse.Namespace) -> None:
    inputs = [form_of(text, "INPUT") for text in options.inputs]
    columns, is_relation = _find(options.query)
    with opened(options) as conn:
        result = view(conn.db(), options).q(options.query, *inputs)
    if options.json:
        print_json(result)
    else:
        _print_result(columns, is_relation, result)


def _pull_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("pattern", metavar="PATTERN", help="a pull pattern in EDN")
    parser.add_argument(
        "entities",
        nargs="+",
        metavar="ENTITY",
        help="an id, an ident or a lookup ref in EDN; --json prints a line for each",
    )
    add_view(parser, history=False)
    add_json(parser)


def _pull(options: argparse.Namespace) -> None:
    entities = [form_of(text, "ENTITY") for text in options.entities]
    with opened(options) as conn:
        trees = view(conn.db(), options).pull_many(options.pattern, entities)
    for tree in trees:
        if options.json:
            print_json(tree)
        else:
            print("\n".join(_tree_lines(tree)))


def _find(query: str) -> tuple[list[str], bool]:
    """What `:find` names, which are the headings of the result, and whether that is a relation."""
    form = edn.loads(query)
    if isinstance(form, Mapping):
        found: Sequence[Any] = form.get(":find", ())
    else:
        words = list(form) if isinstance(form, tuple) else []
        start = words.index(":find") + 1 if ":find" in words else len(words)
        end = next((n for n in range(start, len(words)) if isinstance(words[n], Keyword)), len(words))
        found = words[start:end]
    is_relation = not (found and (isinstance(found[0], edn.Vector) or found[-1] == "."))
    if len(found) == 1 and isinstance(found[0], edn.Vector):
        found = found[0]
    return [notation(item) for item in found if item not in (".", "...")], is_relation


def _print_result(columns: list[str], is_relation: bool, result: Any) -> None:
    """A result of any shape as a table: a row for each, one column for single values."""
    rows = result if isinstance(result, list) else [] if result is None else [result]
    if len(columns) == 1 and not is_relation:
        rows = [(row,) for row in rows]
    elif rows and isinstance(rows[0], Mapping):  # :keys, :strs or :syms name the columns
        columns, rows = list(rows[0]), [tuple(row.values()) for row in rows]
    print_table(columns, rows)


def _tree_lines(tree: Any, indent: int = 0) -> list[str]:
    """A pulled tree in EDN, a line for each attribute and each nested entity."""
    if isinstance(tree, Mapping) and tree:
        opening, closing = "{", "}"
        parts = []
        for key, value in tree.items():
            head = notation(Keyword(key) if str(key).startswith(":") else key) + " "
            lines = _tree_lines(value, indent + 1 + len(head))
            parts.append([head + lines[0], *lines[1:]])
    elif isinstance(tree, list) and any(isinstance(item, Mapping) for item in tree):
        opening, closing = "[", "]"
        parts = [_tree_lines(item, indent + 1) for item in tree]
    else:
        return [notation(tree)]
    margin = " " * (indent + 1)
    lines = [opening + parts[0][0], *parts[0][1:]]
    for part in parts[1:]:
        lines += [margin + part[0], *part[1:]]
    lines[-1] += closing
    return lines


COMMANDS: Final = (
    Command(
        "q",
        "ask a query",
        "bucketlog q s3://bucket/site '[:find ?e . :in $ ?name :where [?e :user/name ?name]]' '\"Ann\"'",
        _q_arguments,
        _q,
    ),
    Command(
        "pull",
        "print what a pattern selects from entities",
        "bucketlog pull s3://bucket/site '[*]' '[:user/name \"Ann\"]'",
        _pull_arguments,
        _pull,
    ),
)
