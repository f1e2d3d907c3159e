"""For tests of a single step: how it is built, and which weights and gradients it changes."""

from __future__ import annotations

import math

import torch

from infogan.training.step import InfoGANStep, code_weights
from infogan.training.trainer import make_extensions, make_nets
from infogan.training.vanilla import VanillaStep


def build_step(config, kind=InfoGANStep):
    """Returns a step with the nets and extensions that a run of this configuration has, always the same."""
    torch.manual_seed(1)
    extensions = make_extensions(config)
    nets = make_nets(config, (1, 28, 28), extensions, "cpu")
    return VanillaStep(*nets, config) if kind is VanillaStep else InfoGANStep(*nets, config, extensions)


def go_to(step, n, config):
    """Has the extensions of a step follow their schedules to the n-th of a run, as `Trainer` has them."""
    for extension in step.extensions:
        extension.start_step(n)
    lambdas = [
        weight * math.prod(extension.mi_scale(i) for extension in step.extensions)
        for i, weight in enumerate(code_weights(config))
    ]
    step.lambdas.copy_(torch.tensor(lambdas))


def parts(step):
    net = step.discriminator
    return {"G": step.generator, "trunk": net.trunk, "d_head": net.d_head, "q_head": net.q_head}


def weights(step):
    return {name: [p.detach().clone() for p in part.parameters()] for name, part in parts(step).items()}


def moved(step, before):
    """The parts of which every weight tensor has changed; none may have changed in part."""
    now = weights(step)
    changed = {name: [not torch.equal(a, b) for a, b in zip(now[name], before[name], strict=True)] for name in now}
    assert all(all(flags) or not any(flags) for flags in changed.values()), changed
    return {name for name, flags in changed.items() if any(flags)}


def owned(optimizer):
    return {id(p) for group in optimizer.param_groups for p in group["params"]}
