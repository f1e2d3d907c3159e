"""What the README shows must run, and the pictures it shows must be there and small."""

import re

from conftest import ROOT

FLAG = r"(?<![\w-])--[a-z][a-z0-9-]*"
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)  # the first needs a trained run: test_report.py


def test_the_example_of_training_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(EXAMPLES[1], "README.md", "exec"), names)
    assert names["x"].shape == (10, 1, 28, 28)


def test_every_flag_shown_exists(script):
    shown = README + "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md"))
    known = {
        path.name: set(re.findall(FLAG, script(path.name, "--help").stdout)) for path in (ROOT / "scripts").glob("*.py")
    }
    commands = re.findall(r"scripts/(\w+\.py)([^\n`#]*)", shown)
    assert len(commands) > 15
    for name, flags in commands:
        assert set(re.findall(FLAG, flags)) <= known[name], (name, flags)
    # A flag that a sentence names is one of some script, or of torchrun, pip or pytest, whose own are few.
    named = {
        flag for code in re.findall(r"`([^`\n]*)`", shown) if "scripts/" not in code for flag in re.findall(FLAG, code)
    }
    assert named <= set().union(*known.values()) | {"--max-restarts"}


def test_pictures_are_there_and_under_4_mb_in_all():
    shown = [ROOT / path for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)]
    assert len(shown) > 5
    assert sum(path.stat().st_size for path in shown) < 4e6
