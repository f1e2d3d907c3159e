"""The notebook runs from top to bottom, in this process: a kernel of its own would take longer than its cells."""

import ast
import json

from conftest import ROOT
from PIL import Image

from infogan.inversion import encoder_training
from infogan.inversion.encoder import Encoder

NOTEBOOK = json.loads((ROOT / "docs" / "tour.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(cell["source"]) for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(code, names):
    """Runs a cell, and returns the value of its last line, which a notebook shows."""
    *statements, last = ast.parse(code).body
    exec(compile(ast.Module(statements, []), "tour.ipynb", "exec"), names)
    if isinstance(last, ast.Expr):
        return eval(compile(ast.Expression(last.value), "tour.ipynb", "eval"), names)
    exec(compile(ast.Module([last], []), "tour.ipynb", "exec"), names)
    return None


def test_the_notebook_is_kept_without_outputs():
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in NOTEBOOK["cells"])


def test_every_cell_of_the_notebook_runs_and_shows_what_it_makes(tmp_path, monkeypatch, one_picture):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoder_training, "train_encoder", lambda nets: Encoder(nets.spec, nets.image_shape).eval())
    names = {}
    shown = [run_cell(code, names) for code in ("STEPS, WIDTH = 4, 4", *CODE[1:])]
    assert CODE[0].startswith("STEPS = ")  # what the shrunk constants stand for
    pictures = [value for value in shown if isinstance(value, Image.Image)]
    assert len(pictures) == 4 and all(picture.width > 100 for picture in pictures)
    scores = next(value for value in shown if isinstance(value, dict))
    assert 0 <= scores["eval_accuracy_c1"] <= 1 and scores["eval_mi_c1"] < 2.31
