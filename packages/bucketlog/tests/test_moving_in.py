"""The page on moving in: what it says of data."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[3] / "docs" / "moving-in.md").read_text()

PEOPLE = """
[#datahike/Datom [1 :db/ident :name 536870913 true]
 #datahike/Datom [1 :db/valueType :db.type/string 536870913 true]
 #datahike/Datom [1 :db/cardinality :db.cardinality/one 536870913 true]
 #datahike/Datom [2 :name "Ann" 536870914 true] #datahike/Datom [3 :name "Bob" 536870914 true]
 #datahike/Datom [3 :name "Bob" 536870915 false] #datahike/Datom [3 :name "Rob" 536870915 true]]
"""


def test_the_data_move_in_as_the_page_says(tmp_path: Path) -> None:
    (tmp_path / "people.edn").write_text(PEOPLE)
    (block,) = re.findall(r"^```sh data\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        env=os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "bucketlog: transactions 0 to 3 are in moved\n" * 2
    assert done.stdout.split()[-1] == "2"
