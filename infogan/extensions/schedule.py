"""When what happens to the categories: over-clusters, then groups of them, then L_I, then a class-conditional D.

step  0             merge_step           + 150                      + 650
      over-clusters | groups of them     | categories: the weight   | L_I at its full weight;
      learn         | learn in each head | of L_I is ramped up      | D is conditioned on the category
"""

from __future__ import annotations

from infogan.config.train_config import TrainConfig

MI_DELAY_STEPS = 150  # after the merge: the groups of all heads learn from real images alone, and one head's are kept
MI_RAMP_STEPS = 500  # little by little, or G loses its way: it has to give its categories another meaning


def mi_ramp(config: TrainConfig, step: int) -> float:
    """Returns the share of the category's λ that is in force at a step, in [0, 1]."""
    start, end = mi_ramp_steps(config)
    return min(max((step - start) / (end - start), 0.0), 1.0)


def mi_ramp_steps(config: TrainConfig) -> tuple[int, int]:
    """Returns the steps at which the weight of the category's L_I starts to rise, and at which it is full."""
    start = config.merge_step + MI_DELAY_STEPS
    return start, start + MI_RAMP_STEPS
