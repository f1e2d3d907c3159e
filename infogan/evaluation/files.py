"""evaluation.json: where it belongs, written whole, and read again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infogan.system.errors import UserError
from infogan.system.files import write_atomically
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
    """Returns the evaluation of a run, or that in a file; an error names `argument`.

    Raises:
        UserError: There is none, or it cannot be read.
    """
    given = Path(run_or_file)
    path = given / EVALUATION_FILE if given.is_dir() else given
    if given.is_dir() and not path.is_file():
        raise UserError(
            f"{argument}: expected runs with an {EVALUATION_FILE}, got {given}; "
            f"python scripts/evaluate.py {given} makes it"
        )
    try:
        evaluation = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{argument}: expected runs or their {EVALUATION_FILE}, got {given}: {error}") from error
    if not isinstance(evaluation, dict) or evaluation.get("format") != EVALUATION_FORMAT:
        raise UserError(f"{argument}: expected an evaluation of format {EVALUATION_FORMAT}, got {path}")
    if missing := {"run", "step", "scored", "config", "infogan"} - evaluation.keys():
        raise UserError(f"{argument}: {path} is damaged: it has no {', '.join(sorted(missing))}")
    return evaluation


def code_to_digit(checkpoint: Path, step: int) -> dict[str, list[int | None]]:
    """Returns which digit, or class, each category of each code is matched to, by the code's name.

    Empty if the run has not been evaluated at this step: at another, its categories may mean something else.

    Raises:
        UserError: The evaluation cannot be read.
    """
    path = evaluation_path(checkpoint)
    if not path.is_file():
        return {}
    evaluation = read_evaluation(path, EVALUATION_FILE)
    if evaluation["step"] != step:
        return {}
    clusterings = evaluation["infogan"].get("clustering", {})
    return {name: scores["code_to_digit"] for name, scores in clusterings.items()}
