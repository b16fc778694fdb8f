"""The data that every engine gets: people as in DataScript's own benchmark, and graphs of them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

__all__ = [
    "CHILDREN",
    "FAMILIES",
    "Dataset",
    "Person",
    "chain",
    "cyclic",
    "families",
    "people",
    "wide",
]

_SEED: Final = 20_261
_NAMES: Final = ("Ivan", "Petr", "Sergei", "Oleg", "Yuri", "Dmitry", "Fedor", "Denis")
_LAST_NAMES: Final = ("Ivanov", "Petrov", "Sidorov", "Kovalev", "Kuznetsov", "Voronoi")
_SEXES: Final = ("male", "female")

FAMILIES: Final = 100
CHILDREN: Final = 20

Person = tuple[int, str, str, str, int, int]
"""`id`, `name`, `last-name`, `sex` (a keyword without its colon), `age`, `salary`."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """People and who follows whom, both by `id`."""

    name: str
    people: list[Person]
    follows: list[tuple[int, int]]

    @property
    def datoms(self) -> int:
        return 6 * len(self.people) + len(self.follows)

    def write(self, folder: Path) -> Path:
        """The dataset as a JSON file, which every engine reads."""
        path = folder / f"{self.name}.json"
        path.write_text(json.dumps(asdict(self)))
        return path

    @staticmethod
    def read(path: Path) -> Dataset:
        """What `write` wrote."""
        content = json.loads(path.read_text())
        return Dataset(
            content["name"],
            [tuple(person) for person in content["people"]],
            [tuple(edge) for edge in content["follows"]],
        )


def people(count: int) -> Dataset:
    """People without relations."""
    return Dataset(f"{count:,} people", _people(range(1, count + 1)), [])


def families() -> Dataset:
    """`FAMILIES` people, ids from 1, each of whom follows `CHILDREN` others."""
    follows = [
        (parent, FAMILIES + (parent - 1) * CHILDREN + child)
        for parent in range(1, FAMILIES + 1)
        for child in range(1, CHILDREN + 1)
    ]
    return Dataset("families", _people(range(1, FAMILIES * (CHILDREN + 1) + 1)), follows)


def wide(depth: int, width: int) -> Dataset:
    """A tree in which everybody who is not a leaf follows `width` others."""
    follows: list[tuple[int, int]] = []
    level, last = [1], 1
    for _ in range(depth):
        below = list(range(last + 1, last + 1 + width * len(level)))
        follows += [(level[position // width], child) for position, child in enumerate(below)]
        level, last = below, below[-1]
    return Dataset(f"wide {depth}x{width}", _people(range(1, last + 1)), follows)


def chain(depth: int, width: int) -> Dataset:
    """`width` chains of `depth` steps."""
    follows = [
        (start + step, start + step + 1)
        for start in range(1, width * (depth + 1) + 1, depth + 1)
        for step in range(depth)
    ]
    return Dataset(f"long {depth}x{width}", _people(range(1, width * (depth + 1) + 1)), follows)


def cyclic(count: int, degree: int) -> Dataset:
    """A random graph in which everybody follows the next one, round in a ring, and `degree - 1` others."""
    chance = random.Random(_SEED)  # noqa: S311 -- data
    follows = {(node, node % count + 1) for node in range(1, count + 1)}
    for node in range(1, count + 1):
        follows |= {(node, other) for other in chance.sample(range(1, count + 1), degree - 1)}
    return Dataset(f"cyclic {count}x{degree}", _people(range(1, count + 1)), sorted(follows))


def _people(ids: Iterable[int]) -> list[Person]:
    chance = random.Random(_SEED)  # noqa: S311 -- data
    return [
        (
            number,
            chance.choice(_NAMES),
            chance.choice(_LAST_NAMES),
            chance.choice(_SEXES),
            chance.randrange(100),
            chance.randrange(100_000),
        )
        for number in ids
    ]
