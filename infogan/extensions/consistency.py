"""Consistency: Q's category of a real image should determine that of an augmented view of it.

    maximise  I(k; k')        where  k ~ Q(k | x),  k' ~ Q(k' | t(x)),  x ~ data

The paper's bound is content with any ten groups of images that Q can tell apart; the transformations t are what an
image may undergo without becoming another kind of image. Over-clusters learn first, then groups of them, and the groups
of one head become the categories: see `schedule` and `overclusters`. Source: IIC, Ji et al. 2019, arXiv 1807.06653,
equation 3; the running averages of the joint distribution are this package's.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable

from torch import nn

from infogan.config.train_config import TrainConfig
from infogan.content_nets import N_PLACE
from infogan.data.batches import UpdateBatch
from infogan.extensions.base import Extension
from infogan.extensions.information import entropy, information, joint_assignments, smoothed_information
from infogan.extensions.overclusters import OverclusteredQ
from infogan.extensions.schedule import mi_ramp, mi_ramp_steps
from infogan.losses import Term, Terms
from infogan.models import Discriminator, MakeHead
from infogan.system.distributed import mean_over_ranks

CLUSTER_JOINT_UPDATE = 0.02  # of the joint distributions of over-clusters and groups: an average over some 50 steps
CATEGORY_JOINT_UPDATE = 0.1  # of those of categories, which are far fewer: over some 10


class Consistency(Extension):
    """Maximises the mutual information between the categories of real images and of their augmented views.

    Attributes:
        merged: Whether the over-clusters are merged into groups, and the term is of these.
        chosen: Whether the groups of one head are the categories, and the term is of these.
    """

    needs_views = True

    def __init__(self, config: TrainConfig) -> None:
        super().__init__(config)
        self.merged = self.chosen = True
        self.ramp = 1.0

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        return config.lambda_consistency > 0 and len(config.spec.categorical) > 0

    def heads(self) -> dict[str, MakeHead]:
        n_overclusters, n_heads = self.config.overclusters, self.config.overcluster_heads
        n_place = N_PLACE if self.config.nets == "content" else 0
        return {
            "q_head": lambda n_features, n_hidden: OverclusteredQ(
                self.spec, n_features, n_hidden, n_overclusters, n_heads, n_place
            )
        }

    def attach(self, discriminator: Discriminator) -> None:
        assert isinstance(discriminator.q_head, OverclusteredQ)
        self.q_head = discriminator.q_head

    def start_step(self, step: int) -> Iterable[nn.Parameter]:
        merge_step, (choose_step, _) = self.config.merge_step, mi_ramp_steps(self.config)
        self.merged, self.chosen, self.ramp = step >= merge_step, step >= choose_step, mi_ramp(self.config, step)
        # Adam's averages are of other weights' gradients, or of none: its first steps would be too long.
        if step == merge_step:
            self.q_head.merge()
            return self.q_head.overclusters.parameters()
        if step == choose_step:
            self.q_head.choose()
            return self.q_head.categories.parameters()
        return ()

    def phase(self) -> Hashable | None:
        return self.merged, self.chosen

    def mi_scale(self, position: int) -> float:
        return self.ramp if position in self.spec.categorical else 1.0

    def d_terms(self, batch: UpdateBatch) -> Terms:
        terms = self._category_terms(batch) if self.chosen else self._cluster_terms(batch)
        names = [f"consistency_{self.spec.names[i]}" for i in self.spec.categorical]
        return dict(zip(names, terms, strict=True))

    def _cluster_terms(self, batch: UpdateBatch) -> list[Term]:
        """Returns a term for each code, the mean over its heads; logged is the most informative head."""
        q_head, terms = self.q_head, []
        of_real, of_views = (q_head.overcluster_logits(features) for features in batch.real_and_views())
        for i, n_categories in enumerate(q_head.sizes):
            k = n_categories if self.merged else q_head.n_overclusters
            joints = mean_over_ranks(joint_assignments(of_real[:, i, :, :k], of_views[:, i, :, :k]))
            running = q_head.overcluster_joints[i, :, :k, :k]
            running.lerp_(joints.detach(), CLUSTER_JOINT_UPDATE)
            # Clusters come into being by the chance of single batches: in the average there is nothing to start from.
            found = information(joints)
            if self.config.overcluster_entropy > 0 and not self.merged:
                found = found + self.config.overcluster_entropy * entropy(joints)
            terms.append(Term(-self.config.lambda_consistency, found.mean(), information(running).amax()))
        return terms

    def _category_terms(self, batch: UpdateBatch) -> list[Term]:
        """Returns a term for each code; logged is the information of the running average."""
        terms = []
        logits = zip(*(self.q_head.category_logits(features) for features in batch.real_and_views()), strict=True)
        for (of_real, of_views), running in zip(logits, self.q_head.category_joints, strict=True):
            joint = mean_over_ranks(joint_assignments(of_real.unsqueeze(1), of_views.unsqueeze(1))).squeeze(0)
            running.lerp_(joint.detach(), CATEGORY_JOINT_UPDATE)
            value = smoothed_information(joint, running)
            terms.append(Term(-self.config.lambda_consistency, value, information(running)))
        return terms

    def events(self) -> dict[int, str]:
        start, end = mi_ramp_steps(self.config)
        return {
            self.config.merge_step: "over-clusters are merged",
            start: "categories start, L_I is ramped up",
            end: "L_I at its full weight",
        }

    def warning(self) -> str | None:
        start, _ = mi_ramp_steps(self.config)
        if self.config.steps > start:
            return None
        return (
            f"{self.config.steps} steps are too few for the categories: the weight of their L_I is ramped up from step "
            f"{start} on ({start - self.config.merge_step} after --merge-step); before, G learns nothing of them, "
            "and Q has none"
        )
