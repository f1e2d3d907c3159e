"""The module map of the README, as a rule: who may import whom, and what must not be loaded early."""

import ast
import subprocess
import sys

import pytest
from conftest import ROOT

import infogan

MAY_IMPORT = {
    "errors": set(),
    "spec": {"errors"},
    "config": {"errors", "spec"},
    "latents": {"errors", "spec"},
    "losses": {"latents", "spec"},
    "grouping": {"losses"},
    "models": {"errors", "grouping", "spec"},
    "affine": set(),
    "ranks": {"errors"},
    "runtime": {"errors"},
    "datasets": {"config", "errors", "runtime"},
    "steps": {"affine", "config", "errors", "latents", "losses", "models", "ranks", "runtime", "spec"},
    "run": {"config", "errors", "ranks"},
    "auxiliary": {"errors", "latents", "runtime", "spec"},
    "digits": {"errors"},
    "evaluation": {"errors"},
    "inception": {"errors", "runtime"},
    "classifier": {"affine", "datasets", "errors", "run"},
    "scoring": {
        *("auxiliary", "classifier", "datasets", "digits", "evaluation", "inception", "latents", "losses"),
        *("models", "runtime", "spec"),
    },
    "report": {"auxiliary", "datasets", "digits", "errors", "inception", "run", "scoring", "trainer"},
    "trainer": {
        *("affine", "auxiliary", "config", "datasets", "errors", "latents", "models", "ranks", "run", "runtime"),
        *("scoring", "spec", "steps"),
    },
}
MODULES = {path.stem: path for path in (ROOT / "infogan").glob("*.py") if path.stem != "__init__"}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "infogan":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("infogan."):
            yield node.module.split(".")[1]


def test_the_map_names_every_module():
    assert MAY_IMPORT.keys() == MODULES.keys()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in MODULES:
        assert f"`{name}.py`" in readme


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_the_map(name):
    assert set(imported(MODULES[name])) <= MAY_IMPORT[name]


def test_every_public_name_is_there():
    for name in infogan.__all__:
        assert getattr(infogan, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        infogan.nothing  # noqa: B018


def test_loading_the_package_loads_nothing_slow():
    code = (
        "import sys, infogan.config; assert not {'torch', 'numpy'} & sys.modules.keys();"
        "import infogan.trainer; assert not {'torchvision', 'matplotlib.figure', 'mlxtend'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
