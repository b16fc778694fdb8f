"""Files that appear when they are complete."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(target: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of `target` at the end of the block, and is gone if that fails.

    Nobody else writes to it: not another process, not another thread.
    """
    partial = target.with_name(f".{target.name}.{os.urandom(8).hex()}.partial")
    try:
        with partial.open("xb") as file:
            yield file
        partial.replace(target)
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT):
            error.filename = str(target)  # a write does not say of what
        raise
    finally:
        partial.unlink(missing_ok=True)
