"""For tests of runs: their states and metrics, as far as equal runs have equal ones."""

from __future__ import annotations

import torch

from infogan.training.checkpoint import load_checkpoint

# What may differ between equal runs; beartype, which checks signatures here, draws from Python's generator.
NOT_COMPARED = ("/log/seconds", "/name", "/config/name", "/config/steps", "/config/eval_every", "/rng/python")


def leaves(value, path=""):
    if isinstance(value, dict):
        return {p: leaf for key, v in value.items() for p, leaf in leaves(v, f"{path}/{key}").items()}
    if isinstance(value, list | tuple):
        return {p: leaf for i, v in enumerate(value) for p, leaf in leaves(v, f"{path}/{i}").items()}
    return {path: value}


def assert_same_state(a, b):
    a, b = leaves(a), leaves(b)
    assert a.keys() == b.keys()
    for path, value in a.items():
        if not path.startswith(NOT_COMPARED):
            same = torch.equal(value, b[path]) if isinstance(value, torch.Tensor) else value == b[path]
            assert same, path


def final_state(run):
    return load_checkpoint(run.latest_checkpoint())


def metrics(run):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in run.read_metrics()]
