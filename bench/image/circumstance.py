"""What must make no difference to a build: who builds, where, and on what kind of machine."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.image.shop import Shop

__all__ = ["Circumstance", "circumstances"]

_ZONES: Final = ("UTC", "Asia/Kathmandu", "America/St_Johns", "Pacific/Apia")
_LANGUAGES: Final = ("C", "C.UTF-8", "POSIX")
_MASKS: Final = (0o022, 0o077, 0o002)
_PREFIXES: Final = ((), ("taskset", "--cpu-list", "0"), ("unshare", "--user", "--map-user=1234"))


@dataclass(frozen=True, slots=True)
class Circumstance:
    """A folder that the source is moved to, a file mode mask, variables, and what starts the program."""

    folder: Path
    mask: int
    environment: Mapping[str, str]
    prefix: tuple[str, ...]
    seed: int

    def moved(self, shop: Shop) -> Path:
        """A copy of the app, whose files are made in another order and have other times."""
        files = sorted(path for path in shop.directory.rglob("*") if path.is_file())
        dice = random.Random(self.seed)  # noqa: S311  the same circumstances in every run
        dice.shuffle(files)
        for file in files:
            copy = self.folder / file.relative_to(shop.directory)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
            time = dice.randrange(10**9)
            os.utime(copy, (time, time))
        return self.folder


def circumstances(folder: Path, count: int) -> Iterator[Circumstance]:
    """So many of them; another user is among them where the kernel lets one become somebody else."""
    prefixes = itertools.cycle([prefix for prefix in _PREFIXES if _works(prefix)])
    for number, prefix in zip(range(count), prefixes, strict=False):
        environment = {
            "TZ": _ZONES[number % len(_ZONES)],
            "LC_ALL": _LANGUAGES[number % len(_LANGUAGES)],
            "PYTHONHASHSEED": str(number),
        }
        place = folder / ("x" * (number + 1)) / "an app"
        yield Circumstance(place, _MASKS[number % len(_MASKS)], environment, prefix, number)


def _works(prefix: tuple[str, ...]) -> bool:
    return not prefix or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode == 0
