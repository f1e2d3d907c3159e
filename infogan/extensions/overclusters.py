"""Over-clusters: a q_head that finds more clusters than a code has categories, and merges them into these."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot

from infogan.config.spec import LatentSpec
from infogan.extensions.merging import best_merge
from infogan.models import HiddenLayerHead


class OverclusteredQ(nn.Module):
    """A q_head whose categories start as merged over-clusters.

    Categories and over-clusters are linear on the trunk's features: where they learn from real images too, that is
    several times faster than through a hidden layer. Ten categories that start at random put two kinds of images into
    one for good more often than not; 50 over-clusters seldom do. So over-clusters learn first, in several heads that
    differ by their random start, and each category then starts as the mean of the over-clusters that were merged into
    it. Continuous codes have the paper's hidden layer.

    Args:
        spec: The latents, a categorical code among them.
        n_features: Of the trunk.
        n_hidden: Of the hidden layer.
        n_overclusters: Of each head; at least as many as any code has categories.
        n_heads: For each categorical code.

    Attributes:
        categories: The logits of all codes' categories.
        overclusters: The logits of all heads' over-clusters; they have no use after `merge`.
        overcluster_joints: Running averages of the joint distributions of the over-clusters of images and views.
    """

    overcluster_joints: Float[Tensor, "categorical heads k k"]

    def __init__(self, spec: LatentSpec, n_features: int, n_hidden: int, n_overclusters: int, n_heads: int) -> None:
        super().__init__()
        self.spec, self.n_overclusters, self.n_heads = spec, n_overclusters, n_heads
        self.sizes = [spec.codes[i].dim for i in spec.categorical]
        n_codes = len(self.sizes)
        self.categories = nn.Linear(n_features, sum(self.sizes))
        self.overclusters = nn.Linear(n_features, n_codes * n_heads * n_overclusters)
        n_continuous = spec.q_dim - sum(self.sizes)
        self.continuous = HiddenLayerHead(n_features, n_hidden, n_continuous) if n_continuous else None
        self.register_buffer(
            "overcluster_joints", torch.full((n_codes, n_heads, n_overclusters, n_overclusters), n_overclusters**-2.0)
        )
        for i, size in enumerate(self.sizes):
            self.register_buffer(f"category_joint_{i}", torch.full((size, size), size**-2.0))

    @property
    def linear_layers(self) -> list[nn.Module]:
        """The layers that are linear on the trunk's features."""
        return [self.categories, self.overclusters]

    @property
    def category_joints(self) -> list[Float[Tensor, "g g"]]:
        """For each categorical code, a running average of the joint distribution of its categories."""
        return [self.get_buffer(f"category_joint_{i}") for i in range(len(self.sizes))]

    def overcluster_logits(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n categorical heads k"]:
        """Returns the logits of all heads' over-clusters."""
        return self.overclusters(features).unflatten(1, (-1, self.n_heads, self.n_overclusters))

    def category_logits(self, features: Float[Tensor, "n features"]) -> list[Float[Tensor, "n g"]]:
        """Returns the logits of each code's categories."""
        return [*self.categories(features).split(self.sizes, dim=1)]

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n q"]:
        """Returns the parameters of Q(c|x)."""
        params = dict(zip(self.spec.categorical, self.category_logits(features), strict=True))
        if self.continuous is not None:
            widths = [
                slice_.stop - slice_.start for i, slice_ in enumerate(self.spec.q_slices) if i in self.spec.continuous
            ]
            params |= zip(self.spec.continuous, self.continuous(features).split(widths, dim=1), strict=True)
        return torch.cat([params[i] for i in range(len(self.spec.codes))], dim=1)

    def drop_training_state(self) -> None:
        """Removes what only training needs: over-clusters and joint distributions. Categories and codes remain."""
        if not hasattr(self, "overclusters"):  # dropped before
            return
        del self.overclusters, self.overcluster_joints
        for i in range(len(self.sizes)):
            delattr(self, f"category_joint_{i}")

    @torch.no_grad()
    def merge(self) -> None:
        """Merges the over-clusters of each head, and starts the categories from the head that is most informative."""
        parts = zip(
            self.overcluster_joints,
            self.overclusters.weight.unflatten(0, (-1, self.n_heads, self.n_overclusters)),
            self.overclusters.bias.unflatten(0, (-1, self.n_heads, self.n_overclusters)),
            self.categories.weight.split(self.sizes),
            self.categories.bias.split(self.sizes),
            strict=True,
        )
        for joints, overcluster_weights, overcluster_biases, weight, bias in parts:
            n_groups = len(weight)
            head, groups = best_merge(joints, n_groups)
            shares = one_hot(groups, n_groups) * joints[head].sum(dim=1, keepdim=True)
            shares = (shares / shares.sum(dim=0)).T
            weight.copy_(shares @ overcluster_weights[head])
            bias.copy_(shares @ overcluster_biases[head])
