"""What a process runs on: versions, machine, commit, command."""

from __future__ import annotations

import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from infogan.system.distributed import launcher, n_ranks
from infogan.system.errors import UserError
from infogan.system.readers import read_json

MAX_BYTES = 2**24  # a session has 400


def read_sessions(run_folder: Path) -> list[dict[str, Any]]:
    """Returns what a run's environment.json lists; empty if there is none, or it is damaged: a run can do without."""
    try:
        sessions = read_json(run_folder / "environment.json", "environment", MAX_BYTES)
    except UserError:
        return []
    listed = isinstance(sessions, list) and all(isinstance(session, dict) for session in sessions)
    return sessions if listed else []


def environment() -> dict[str, Any]:
    """Returns what is needed to repeat a run: versions, machine, commit, command."""
    return {
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": sys.argv,
        "commit": _commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "ranks": n_ranks(),
        "launcher": launcher(),
        # A process that does not use CUDA must not take hold of a device for this.
        "cuda_devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        if torch.cuda.is_initialized()
        else [],
    }


def _commit() -> str | None:
    """Returns the commit of the package's own checkout, marked if it was changed; None outside of one."""
    if not _git("ls-files", Path(__file__).name):  # a copy may lie in another repository's folder
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*") or None


def _git(*command: str) -> str:
    """Returns what git prints in the package's folder; nothing where it cannot."""
    try:
        done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
