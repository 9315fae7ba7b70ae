"""What a figure was measured on: without it the figure says nothing."""

import os
import platform
import sqlite3
import subprocess
from pathlib import Path
from typing import Any


def load() -> float:
    """The load average of the last minute."""
    return round(os.getloadavg()[0], 2)


def facts(data_dir: Path) -> dict[str, Any]:
    """The machine, the interpreter and the file system that the data lies on."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "interpreter_sqlite": sqlite3.sqlite_version,
        "file_system": _file_system(data_dir),
    }


def _cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _file_system(folder: Path) -> str:
    try:
        answer = subprocess.run(
            ["stat", "-f", "-c", "%T", str(folder)], capture_output=True, text=True, check=True
        )
    except (FileNotFoundError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
