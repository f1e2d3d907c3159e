"""What the README shows must run, and the pictures it shows must be there and small."""

import re

from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_library_example_runs_as_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["x"].shape == (10, 1, 28, 28)


def test_every_flag_shown_exists(script):
    names = ("train.py", "interpolate.py", "evaluate.py", "train_classifier.py")
    known = "".join(script(name, "--help").stdout for name in names)
    commands = re.findall(r"python scripts/\S+\.py[^\n`]*", README)
    assert len(commands) > 5
    for flag in {flag for command in commands for flag in re.findall(r"--[a-z][a-z-]*", command)}:
        assert re.search(rf"{flag}\b", known), flag


def test_pictures_are_there_and_under_4_mb_in_all():
    shown = [ROOT / path for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)]
    assert len(shown) > 5
    assert sum(path.stat().st_size for path in shown) < 4e6
