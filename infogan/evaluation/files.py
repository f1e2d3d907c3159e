"""evaluation.json: where it belongs, written whole, and read again."""

from __future__ import annotations

import json
from functools import reduce
from pathlib import Path
from typing import Any

from infogan.config.spec import LatentSpec
from infogan.evaluation import registry
from infogan.evaluation.tables import MODELS
from infogan.system.errors import MALFORMED, UserError, one_line, shown
from infogan.system.files import write_atomically
from infogan.system.paths import given_path
from infogan.system.readers import is_count, read_json
from infogan.training.run import Run
from infogan.weights.files import WEIGHTS_FILE

EVALUATION_FORMAT = "infogan-evaluation-2"
EVALUATION_FILE = "evaluation.json"


def evaluation_path(checkpoint: Path) -> Path:
    """Returns where the evaluation of a checkpoint, or of exported weights, belongs.

    That is in its run's folder, or in that of the weights; beside the file if it is in neither.
    """
    if checkpoint.name == WEIGHTS_FILE:
        return checkpoint.with_name(EVALUATION_FILE)
    return Run.file_of(checkpoint, EVALUATION_FILE)


def save_evaluation(evaluation: dict[str, Any], path: Path) -> None:
    """Writes an evaluation whole or not at all, over an earlier one.

    Raises:
        UserError: It cannot be written.
    """
    content = (json.dumps(evaluation, indent=2, allow_nan=False) + "\n").encode()
    write_atomically(path, lambda file: file.write(content), "--json")


def read_evaluation(run_or_file: str | Path, argument: str) -> dict[str, Any]:
    """Returns the evaluation of a run, or that in a file, once it is seen to hold all that is read of it.

    Args:
        run_or_file: The run's folder, or the file.
        argument: Named by the error.

    Raises:
        UserError: There is none, or it cannot be read, or is damaged.
    """
    given = given_path(run_or_file, argument)
    path = given / EVALUATION_FILE if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        raise UserError(
            f"{argument}: expected runs with an {EVALUATION_FILE}, got {given}; "
            f"python scripts/evaluate.py {given} makes it"
        )
    if not path.exists():
        raise UserError(f"{argument}: expected runs or their {EVALUATION_FILE}, got {given}")
    evaluation = read_json(path, argument)
    if not isinstance(evaluation, dict) or evaluation.get("format") != EVALUATION_FORMAT:
        raise UserError(f"{argument}: expected an evaluation of format {EVALUATION_FORMAT}, got {path}")
    try:
        _check(evaluation)
    except MALFORMED as error:
        raise UserError(f"{argument}: {path} is damaged: {one_line(error)}") from error
    return evaluation


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_CHECKS = {
    ("run",): _is_text,
    ("step",): is_count,
    ("scored", "dataset"): _is_text,
    ("scored", "n_test_images"): is_count,
    ("scored", "n_samples"): is_count,
    ("config", "seed"): is_count,
    ("config", "codes"): _is_text,
}


def _check(evaluation: dict[str, Any]) -> None:
    """Checks what tables, reports and pictures read of an evaluation.

    Raises:
        ValueError: Something is missing, or is not of its kind; the message says what.
    """
    if missing := {*(place[0] for place in _CHECKS), "infogan"} - evaluation.keys():
        raise ValueError(f"it has no {', '.join(sorted(missing))}")
    for place, check in _CHECKS.items():
        if not check(value := reduce(lambda found, key: found[key], place, evaluation)):
            raise ValueError(f"{'.'.join(place)} is {shown(value)}")
    codes = LatentSpec.parse(evaluation["config"]["codes"])
    for model in MODELS.keys() & evaluation.keys():
        scores = evaluation[model]
        registry.check(scores)
        for name, clustering in scores.get("clustering", {}).items():
            code, matched = codes.codes[codes.index(name)], clustering["code_to_digit"]
            if len(matched) != code.dim or not all(digit is None or is_count(digit) for digit in matched):
                raise ValueError(f"{model}.clustering.{name}.code_to_digit is {shown(matched)}")


def evaluation_at(checkpoint: Path, step: int) -> dict[str, Any] | None:
    """Returns the evaluation of a checkpoint's run at a step.

    None if it has not been evaluated there: at another step its categories may mean something else.

    Raises:
        UserError: The evaluation cannot be read.
    """
    path = evaluation_path(checkpoint)
    if not path.is_file():
        return None
    evaluation = read_evaluation(path, EVALUATION_FILE)
    return evaluation if evaluation["step"] == step else None
