"""What the paper does not have, a file each; the step sums their terms and knows none of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from infogan.config.train_config import TrainConfig
from infogan.data.batches import UpdateBatch
from infogan.extensions.base import Extension
from infogan.extensions.class_conditional import ClassConditionalD
from infogan.extensions.consistency import Consistency
from infogan.extensions.equivariance import Equivariance
from infogan.extensions.gradient_penalty import GradientPenalty
from infogan.extensions.independence import Independence
from infogan.losses import Term, Terms
from infogan.system.errors import UserError, shown

# In the order in which their terms are summed.
EXTENSIONS: list[type[Extension]] = [Consistency, ClassConditionalD, Equivariance, Independence, GradientPenalty]

TermFunction = Callable[[UpdateBatch], Float[Tensor, ""]]
TERMS: dict[str, tuple[TermFunction, Literal["d", "g"]]] = {}
TAKEN_NAMES = re.compile(
    "step|epoch|images_seen|seconds|loss_[dg]|equivariance|independence|r1|(mi|consistency|vanilla|eval)_.*"
)


def register_term(name: str, update: Literal["d", "g"] = "d") -> Callable[[TermFunction], TermFunction]:
    """Returns a decorator that adds a loss term; `TrainConfig(terms="name=0.1")` gives it a weight in a run.

    Args:
        name: What the term is called in `terms`, and in metrics.jsonl.
        update: The update that minimises it: D's (of trunk, d_head and q_head) or G's.

    Raises:
        UserError: The name is that of a field of metrics.jsonl.
    """
    if TAKEN_NAMES.fullmatch(name):
        raise UserError(f"register_term: expected a name that is no field of metrics.jsonl, got {shown(name)}")

    def register(function: TermFunction) -> TermFunction:
        TERMS[name] = function, update
        return function

    return register


class RegisteredTerms(Extension):
    """The terms that the configuration gives a weight, by the functions registered under their names."""

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self._weights = config.term_weights
        if unknown := [name for name in self._weights if name not in TERMS]:
            known = ", ".join(TERMS) or "none"
            raise UserError(f"--terms: expected terms that are registered ({known}), got {', '.join(unknown)}")

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return bool(config.terms)

    def phase(self) -> Hashable | None:
        return None  # a user's functions may do anything

    def d_terms(self, batch: UpdateBatch) -> Terms:
        return self._terms("d", batch)

    def g_terms(self, batch: UpdateBatch) -> Terms:
        return self._terms("g", batch)

    def _terms(self, update: str, batch: UpdateBatch) -> Terms:
        terms = {}
        for name, weight in self._weights.items():
            function, of_update = TERMS[name]
            if of_update == update:
                terms[name] = Term(weight, function(batch))
        return terms


def active_extensions(config: TrainConfig) -> list[Extension]:
    """Returns the extensions that a run asks for."""
    return [extension(config) for extension in (*EXTENSIONS, RegisteredTerms) if extension.applies(config)]
