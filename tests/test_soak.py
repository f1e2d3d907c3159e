"""The soak: runs that are killed over and over end as if nothing had happened."""

import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="its processes are forked")
def test_a_thousand_kills_leave_no_trace(tmp_path):
    command = [sys.executable, str(ROOT / "tests" / "soak.py"), "1000", str(tmp_path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    assert done.returncode == 0
    print(done.stdout.splitlines()[-1])
