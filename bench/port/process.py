"""What the kernel says of a process."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["seconds_of_cpu"]


def seconds_of_cpu(pid: int) -> float:
    """User and system time (proc(5), stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
