"""Who may look into a data directory."""

from __future__ import annotations

import shutil
import stat
from pathlib import Path

from homeport.layout import Layout


def test_nobody_else_looks_into_a_data_directory_that_was_made_for_all(tmp_path: Path) -> None:
    data = tmp_path / "port"
    for name in ("state", "registry/blobs", "audit", "buckets", "images", "logs"):
        (data / name).mkdir(parents=True)
    data.chmod(0o755)
    layout = Layout(data)
    try:
        layout.create()
        assert {stat.S_IMODE(path.stat().st_mode) for path in data.iterdir()} == {0o700}
        assert stat.S_IMODE(data.stat().st_mode) == 0o755  # it is not ours alone to say
    finally:
        shutil.rmtree(layout.run)
