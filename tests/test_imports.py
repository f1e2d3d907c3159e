"""The module map of the README, as a rule: who may import whom, and what must not be loaded early."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

import infogan

PACKAGE = ROOT / "infogan"

# A module may import from its own room and from those of the lines above.
ORDER = (
    ("system",),
    ("config",),
    ("latents",),
    ("losses",),
    ("models",),
    ("extensions", "data"),
    ("auxiliary",),
    ("training",),
    ("evaluation",),
)
# Two that are still to be turned round.
BACKWARD = {("models.py", "extensions.overclusters"), ("training/trainer.py", "evaluation.scoring")}
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}
MODULES = {str(path.relative_to(PACKAGE)): path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py"}


def imported(path):
    """The modules of the package that a file imports, within functions too, as in `training.step`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "infogan":
            below = node.module.removeprefix("infogan").lstrip(".")
            yield from ([below] if below else [alias.name for alias in node.names])


def room_of(name):
    return name.split(".")[0].removesuffix(".py")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_go_one_way(name):
    mine = name.split("/")[0].removesuffix(".py")
    for other in imported(MODULES[name]):
        theirs = room_of(other)
        forward = theirs == mine or RANK[theirs] < RANK[mine]
        assert forward or (name, other) in BACKWARD, f"{name} imports {other}"


def test_every_public_name_is_there():
    for name in infogan.__all__:
        assert getattr(infogan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        infogan.nothing  # noqa: B018


def test_loading_the_package_loads_nothing_slow():
    code = (
        "import sys, infogan.config.train_config\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
        "import infogan.training.trainer\n"
        "assert not {'torchvision', 'matplotlib.figure', 'mlxtend'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
