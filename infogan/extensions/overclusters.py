"""Over-clusters: a q_head that finds more clusters than a code has categories, and makes these of groups of them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot

from infogan.config.spec import LatentSpec
from infogan.extensions.information import information
from infogan.extensions.merging import merge_clusters, merged_joint
from infogan.models import HiddenLayerHead


class OverclusteredQ(nn.Module):
    """A q_head whose categories start as groups of over-clusters.

    Categories and over-clusters are linear on the trunk's features: where they learn from real images too, that is
    several times faster than through a hidden layer. Ten categories that start at random put two kinds of images into
    one for good more often than not; 50 over-clusters seldom do. So over-clusters learn first, in several heads that
    differ by their random start. `merge` makes groups of each head's, as many as there are categories, which learn on
    beside each other, each from the mean of its over-clusters; and `choose` has the categories start as those of one
    head. Continuous codes have the paper's hidden layer.

    Args:
        spec: The latents, a categorical code among them.
        n_features: Of the trunk.
        n_hidden: Of the hidden layer.
        n_overclusters: Of each head; at least as many as any code has categories.
        n_heads: For each categorical code.
        n_place: Of the features, the last ones, which categories and over-clusters are not given.

    Attributes:
        categories: The logits of all codes' categories.
        overclusters: The logits of all heads' over-clusters, and after `merge` first of all of their groups; they have
            no use after `choose`.
        overcluster_joints: Running averages of the joint distributions of these for images and views.
    """

    overcluster_joints: Float[Tensor, "categorical heads k k"]

    def __init__(
        self, spec: LatentSpec, n_features: int, n_hidden: int, n_overclusters: int, n_heads: int, n_place: int = 0
    ) -> None:
        super().__init__()
        self.spec, self.n_overclusters, self.n_heads = spec, n_overclusters, n_heads
        self.n_features, self.n_kind = n_features, n_features - n_place
        self.sizes = [spec.codes[i].dim for i in spec.categorical]
        n_codes = len(self.sizes)
        self.categories = nn.Linear(self.n_kind, sum(self.sizes))
        self.overclusters = nn.Linear(self.n_kind, n_codes * n_heads * n_overclusters)
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
        return self.overclusters(features[:, : self.n_kind]).unflatten(1, (-1, self.n_heads, self.n_overclusters))

    def category_logits(self, features: Float[Tensor, "n features"]) -> list[Float[Tensor, "n g"]]:
        """Returns the logits of each code's categories."""
        return [*self.categories(features[:, : self.n_kind]).split(self.sizes, dim=1)]

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
        """Puts groups of each head's over-clusters in the place of its first ones, each as the mean of its own."""
        for n_groups, *of_code in zip(self.sizes, self.overcluster_joints, *self._weights_by_head(), strict=True):
            for joint, weight, bias in zip(*of_code, strict=True):
                groups = merge_clusters(joint, n_groups).to(joint.device)
                # One that has no image counts too, or a group of such would have no mean.
                frequencies = joint.sum(dim=1, keepdim=True).clamp_min(torch.finfo(joint.dtype).tiny)
                shares = one_hot(groups, n_groups) * frequencies
                shares = (shares / shares.sum(dim=0)).T
                weight[:n_groups], bias[:n_groups] = shares @ weight, shares @ bias
                joint[:n_groups, :n_groups] = merged_joint(joint, groups, n_groups)

    @torch.no_grad()
    def choose(self) -> None:
        """Starts the categories of each code as the groups of the head whose groups are most informative."""
        starts = zip(self.categories.weight.split(self.sizes), self.categories.bias.split(self.sizes), strict=True)
        parts = zip(self.overcluster_joints, *self._weights_by_head(), starts, self.category_joints, strict=True)
        for joints, weights, biases, (weight, bias), joint in parts:
            joints = joints[:, : len(weight), : len(weight)]
            best = int(information(joints).argmax())
            weight.copy_(weights[best, : len(weight)])
            bias.copy_(biases[best, : len(bias)])
            joint.copy_(joints[best])

    def _weights_by_head(self) -> tuple[Float[Tensor, "codes heads k f"], Float[Tensor, "codes heads k"]]:
        layer = self.overclusters
        weight, bias = (
            part.detach().unflatten(0, (-1, self.n_heads, self.n_overclusters)) for part in (layer.weight, layer.bias)
        )
        return weight, bias
