"""Imports go one way, the paper stands in four rooms, and nothing slow is loaded early."""

import ast
import re
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
    ("circular",),
    ("latents",),
    ("losses",),
    ("models",),
    ("paper_nets", "pose"),
    ("content_nets",),
    ("weights",),
    ("data",),
    ("extensions",),
    ("auxiliary",),
    ("training",),
    ("evaluation",),
    ("inversion",),
    ("export",),
    ("explorer",),
    ("api",),
)
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
        assert theirs == mine or RANK[theirs] < RANK[mine], f"{name} imports {other}"


def test_every_public_name_is_there():
    # In a process of its own: a module that was imported elsewhere is there anyway.
    code = "import infogan; assert all(getattr(infogan, name) is not None for name in infogan.__all__)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        infogan.nothing  # noqa: B018


def test_loading_the_package_loads_nothing_slow():
    code = (
        "import sys, infogan.config.train_config\n"
        "assert not {'torch', 'numpy'} & sys.modules.keys()\n"
        "import infogan.api\n"
        "assert not {'torchvision', 'matplotlib.figure', 'mlxtend'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


FOUR_ROOMS = ("models.py", "losses.py", "latents.py", "training/step.py")


def test_the_paper_stands_in_four_rooms_that_name_no_extension():
    texts = {name: MODULES[name].read_text(encoding="utf-8") for name in FOUR_ROOMS}
    assert sum(len(text.splitlines()) for text in texts.values()) < 700
    of_extensions = r"consisten|overcluster|over-cluster|equivarian|class.conditional|projection|merge|schedule|diffaug"
    for name, text in texts.items():
        assert not re.search(of_extensions, text, re.IGNORECASE), name
        assert "infogan.extensions" not in text


PAPER_WITHOUT_EXTENSIONS = """
import sys
sys.modules["infogan.extensions"] = None  # an import of it, or of what is in it, now fails
import infogan
config = infogan.TrainConfig.from_preset("paper", dataset="mnist5k", width=4, steps=3, baseline=True, device="cpu")
run = infogan.train(config, sys.argv[1])
print(infogan.load_nets(run.folder).step)
"""


def test_the_paper_preset_trains_where_extensions_cannot_be_imported(tmp_path):
    command = [sys.executable, "-c", PAPER_WITHOUT_EXTENSIONS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "3"
    assert len(list(tmp_path.glob("samples/*/*.png"))) == 7  # a sample grid and the gallery
