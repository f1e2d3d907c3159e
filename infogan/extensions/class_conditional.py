"""A class-conditional D: a projection discriminator, with Q's categories for labels.

    logit = w·f + b + Σ_k p_k v_k·f        where  f = trunk(x),  p = Q(k | x), without a gradient

One linear function of the features sees what is wrong with all images, but hardly what is wrong with those of one
category. Source: Miyato & Koyama 2018, arXiv 1802.05637; there the labels are true ones.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.train_config import TrainConfig
from infogan.extensions.base import Extension
from infogan.extensions.consistency import Consistency
from infogan.extensions.overclusters import OverclusteredQ
from infogan.extensions.schedule import mi_ramp
from infogan.models import Discriminator, MakeHead


class ProjectionHead(nn.Module):
    """A d_head whose logit has a part for each category, while it is `active`.

    Args:
        n_features: Of the trunk.
        n_categories: Of all codes together.

    Attributes:
        categories_of: Returns the logits of each code's categories, from features.
        active: Whether the categories count.
    """

    def __init__(self, n_features: int, n_categories: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, 1)
        self.by_category = nn.Parameter(torch.zeros(n_categories, n_features))
        self.categories_of: Callable[[Tensor], list[Tensor]] | None = None
        self.active = True

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, " n"]:
        """Returns D's logits."""
        logits = self.linear(features)[:, 0]
        if self.active:
            assert self.categories_of is not None
            with torch.no_grad():  # no image is to change its category to please D
                p = torch.cat([of_code.softmax(dim=1) for of_code in self.categories_of(features)], dim=1)
            logits = logits + (p * (features @ self.by_category.T)).sum(dim=1)
        return logits


class ClassConditionalD(Extension):
    """Conditions D on Q's category once the category's L_I has its full weight."""

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.class_conditional_d and Consistency.applies(config)

    def heads(self) -> dict[str, MakeHead]:
        n_categories = sum(self.spec.codes[i].dim for i in self.spec.categorical)
        return {"d_head": lambda n_features, n_hidden: ProjectionHead(n_features, n_categories)}

    def attach(self, discriminator: Discriminator) -> None:
        head, q_head = discriminator.d_head, discriminator.q_head
        assert isinstance(head, ProjectionHead) and isinstance(q_head, OverclusteredQ)
        head.categories_of = q_head.category_logits
        self.head = head

    def leave(self, discriminator: Discriminator) -> None:
        assert isinstance(discriminator.d_head, ProjectionHead)
        discriminator.d_head.active = False

    def start_step(self, step: int) -> Iterable[nn.Parameter]:
        self.head.active = mi_ramp(self.config, step) >= 1
        return ()

    def phase(self) -> Hashable | None:
        return self.head.active
