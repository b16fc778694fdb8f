"""The reference app, made by rule: a FastAPI shop, 46 locked packages, 123 files and 3.6 MB of its own."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Final

from tagboat.config import ByteCode

__all__ = ["Shop"]

_HERE: Final = Path(__file__).parent
_PACKAGES: Final = 80  # modules of Python
_IMAGES: Final = 30
_IMAGE_BYTES: Final = 105_000  # as good as incompressible, as photographs are

_PYPROJECT: Final = """\
[project]
name = "shop"
version = "1.0.0"
requires-python = ">=3.11"
dependencies = [
{dependencies}
]

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[tool.tagboat]
base = "{base}"
byte-code = {byte_code}
entrypoint = ["uvicorn", "shop.main:app", "--host", "0.0.0.0", "--port", "8080"]
"""

_MAIN: Final = """\
\"\"\"The shop's entry: every part is imported, as it is when it serves.\"\"\"

from importlib import import_module

import alembic.config
import boto3
import cryptography.fernet
import httpx
import jinja2
import opentelemetry.trace
import orjson
import psycopg
import redis
import sqlalchemy.orm
from fastapi import FastAPI

from shop.version import VERSION

app = FastAPI(version=VERSION)
for number in range({modules}):
    app.include_router(import_module(f"shop.parts.part{{number}}").router)
"""

_PART: Final = """\
\"\"\"Part {number}: what the shop sells under that number.\"\"\"

from decimal import Decimal

from fastapi import APIRouter
from pydantic import BaseModel

router = APIRouter(prefix="/part{number}")


class Item(BaseModel):
    name: str
    price: Decimal
    stock: int = {number}

{functions}
"""

_FUNCTION: Final = '''
@router.get("/{name}")
def {name}(amount: int = {amount}) -> Item:
    """Item {name} at the price for `amount` of it."""
    discount = Decimal("{discount}") if amount > {amount} else Decimal(1)
    return Item(name="{name}", price=Decimal("{price}") * amount * discount)
'''


class Shop:
    """The app's folder; every method changes it in one way that a developer would."""

    def __init__(self, directory: Path, base: str, *, byte_code: ByteCode = True) -> None:
        self.directory = directory
        self._edits = 0
        _write(directory, base, byte_code)
        self._lock = self.lock.read_text()

    @property
    def lock(self) -> Path:
        return self.directory / "requirements.lock"

    def edit_line(self) -> None:
        """Another line in one module."""
        self._edits += 1
        (self.directory / "src/shop/version.py").write_text(f'VERSION = "1.0.{self._edits}"\n')

    def change_dependency(self, name: str) -> None:
        """The lock with the version before of `name`, and of nothing else."""
        other = _entry((_HERE / "older.lock").read_text(), name)
        self.lock.write_text(self._lock.replace(_entry(self._lock, name), other))

    def restore_dependencies(self) -> None:
        self.lock.write_text(self._lock)

    @property
    def source_bytes(self) -> int:
        return sum(file.stat().st_size for file in (self.directory / "src").rglob("*") if file.is_file())


def _entry(lock: str, name: str) -> str:
    """The lines of a lock that pin `name`."""
    lines = lock.splitlines(keepends=True)
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = start
    while lines[end].rstrip().endswith("\\"):
        end += 1
    return "".join(lines[start : end + 1])


def _write(directory: Path, base: str, byte_code: ByteCode) -> None:
    generator = random.Random(1)  # noqa: S311  the same app every time
    package = directory / "src" / "shop"
    for folder in ("parts", "templates", "static"):
        (package / folder).mkdir(parents=True)
    needs = (_HERE / "requirements.in").read_text().split()
    dependencies = "\n".join(f'    "{name}",' for name in needs)
    (directory / "pyproject.toml").write_text(
        _PYPROJECT.format(base=base, byte_code=json.dumps(byte_code), dependencies=dependencies)
    )
    shutil.copy(_HERE / "requirements.lock", directory)
    (package / "__init__.py").touch()
    (package / "parts" / "__init__.py").touch()
    (package / "version.py").write_text('VERSION = "1.0.0"\n')
    (package / "main.py").write_text(_MAIN.format(modules=_PACKAGES))
    for number in range(_PACKAGES):
        functions = "\n".join(
            _FUNCTION.format(
                name=f"item{item}",
                amount=generator.randrange(1, 99),
                discount=generator.randrange(1, 99) / 100,
                price=generator.randrange(1, 9999) / 100,
            )
            for item in range(15)
        )
        (package / "parts" / f"part{number}.py").write_text(_PART.format(number=number, functions=functions))
    for number in range(9):
        words = " ".join(f"<p>{generator.random()}</p>" for _ in range(500))
        (package / "templates" / f"page{number}.html").write_text(f"<html>{words}</html>\n")
    for number in range(_IMAGES):
        (package / "static" / f"photo{number}.jpg").write_bytes(generator.randbytes(_IMAGE_BYTES))
