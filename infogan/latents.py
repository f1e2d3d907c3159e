"""Draws latents from the prior and scores codes under Q(c|x).

Axes: n batch, z noise, c columns of all codes, q columns of Q's output, i codes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from infogan.circular import direction, von_mises_log_density
from infogan.config.spec import Categorical, Circular, Code, Gaussian, LatentSpec, Uniform
from infogan.system.errors import UserError

# Q's log-deviation is B·tanh(raw/B): the paper's exp() of the net's output near zero, yet bounded, since an
# unbounded deviation lets one code's term grow without limit and destabilises training.
MAX_ABS_LOG_STD = 3.0


def sample_prior(
    spec: LatentSpec, n: int, generator: torch.Generator
) -> tuple[Float[Tensor, "n z"], Float[Tensor, "n c"]]:
    """Returns n draws of the noise z and of the codes c, each independent, float32.

    Args:
        spec: The latents.
        n: How many.
        generator: Drawn from, and advanced; the tensors are made on its device.
    """
    return sample_noise(spec, n, generator), sample_codes(spec, n, generator)


def sample_noise(spec: LatentSpec, n: int, generator: torch.Generator) -> Float[Tensor, "n z"]:
    """Returns n draws of the noise alone; see `sample_prior`."""
    shape, device = (n, spec.noise_dim), generator.device
    if spec.noise == "uniform":
        return torch.rand(shape, generator=generator, device=device) * 2 - 1
    return torch.randn(shape, generator=generator, device=device)


def sample_codes(spec: LatentSpec, n: int, generator: torch.Generator) -> Float[Tensor, "n c"]:
    """Returns n draws of the codes alone; see `sample_prior`. A category is one-hot."""
    return torch.cat([_sample_code(code, n, generator) for code in spec.codes], dim=1)


def _sample_code(code: Code, n: int, generator: torch.Generator) -> Float[Tensor, "n dim"]:
    device = generator.device
    match code:
        case Categorical(n_categories):
            category = torch.randint(n_categories, (n,), generator=generator, device=device)
            return F.one_hot(category, n_categories).float()
        case Uniform() | Circular():
            return torch.rand((n, 1), generator=generator, device=device) * 2 - 1
        case Gaussian():
            return torch.randn((n, 1), generator=generator, device=device)


def log_q(spec: LatentSpec, q_params: Float[Tensor, "n q"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n i"]:
    """Returns log Q(c_i|x) in nats of each image and code: a log-probability, or a log-density.

    Args:
        spec: The latents.
        q_params: The Q head's output: logits of a category; mean and raw log-deviation of a continuous code.
        c: The codes to score.
    """
    parts = zip(spec.codes, spec.q_slices, spec.c_slices, strict=True)
    return torch.stack([_log_q(spec, code, q_params[:, q], c[:, columns]) for code, q, columns in parts], dim=1)


def _log_q(
    spec: LatentSpec, code: Code, params: Float[Tensor, "n p"], c: Float[Tensor, "n dim"]
) -> Float[Tensor, " n"]:
    match code:
        case Categorical():
            return (c * params.log_softmax(dim=1)).sum(dim=1)
        case Uniform() | Gaussian():
            log_std = _log_std(spec, params[:, 1:])
            standardised = (c[:, 0] - params[:, 0]) * torch.exp(-log_std)
            return -0.5 * standardised**2 - log_std - 0.5 * math.log(2.0 * math.pi)
        case Circular():
            return von_mises_log_density(params, c[:, 0], _log_std(spec, params[:, 2:]))


def _log_std(spec: LatentSpec, raw: Float[Tensor, "n p"]) -> Float[Tensor, " n"]:
    if spec.q_std is not None:
        return raw.new_full((len(raw),), math.log(spec.q_std))
    return MAX_ABS_LOG_STD * torch.tanh(raw[:, 0] / MAX_ABS_LOG_STD)


def posterior_categories(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Int[Tensor, "n categorical"]:
    """Returns argmax Q(c|x) of each categorical code, in the spec's order."""
    logits = [q_params[:, spec.q_slices[i]] for i in spec.categorical]
    if not logits:
        return torch.empty((len(q_params), 0), dtype=torch.int64, device=q_params.device)
    return torch.stack([values.argmax(dim=1) for values in logits], dim=1)


def posterior_means(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Float[Tensor, "n j"]:
    """Returns the mean of Q(c|x) of each continuous code, in the spec's order; of an angle, the mean direction."""
    params = {i: q_params[:, spec.q_slices[i]] for i in spec.continuous}
    means = [direction(params[i]) if i in spec.circular else params[i][:, 0] for i in params]
    return torch.stack(means, dim=1) if means else q_params[:, :0]


def with_code(
    spec: LatentSpec, c: Float[Tensor, "n c"], code: int | str, value: Float[Tensor, " n"] | float | int
) -> Float[Tensor, "n c"]:
    """Returns a copy of c in which one code has the given value.

    Args:
        spec: The latents.
        c: Left as it is.
        code: Which one: its name, as in `"c2"`, or its position, counted from 0.
        value: Of a continuous code its value, of a category its number; one for all, or one for each.

    Raises:
        UserError: A code that the spec does not have, or a category that the code does not have.
    """
    position = spec.index(code) if isinstance(code, str) else code
    kind, columns = spec.codes[position], spec.c_slices[position]
    values = torch.as_tensor(value, dtype=c.dtype, device=c.device).expand(len(c))
    changed = c.clone()
    if not isinstance(kind, Categorical):
        changed[:, columns] = values[:, None]
        return changed
    category = values.long()
    if ((category < 0) | (category >= kind.n_categories) | (category != values)).any():
        allowed = f"an integer from 0 to {kind.n_categories - 1}"
        raise UserError(f"{spec.names[position]}: expected {allowed}, got {value}")
    changed[:, columns] = F.one_hot(category, kind.n_categories).to(c.dtype)
    return changed


def quantile(code: Code, u: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Returns the values of a code that lie at the fractions u in [0, 1] of its traversal.

    A uniform code is walked from -1 to 1, a Gaussian one from its 1% to its 99% quantile, since its ends lie
    at infinity, and a category from its first value to its last.
    """
    match code:
        case Categorical(n_categories):
            return (u * n_categories).floor().clamp(max=n_categories - 1)
        case Uniform() | Circular():
            return u * 2 - 1
        case Gaussian():
            return torch.special.ndtri(0.01 + 0.98 * u.double()).float()


def traversal_values(code: Code, n: int) -> Float[Tensor, " n"]:
    """Returns the values of a sweep: n equally spaced quantiles, or of a category all values, n at most."""
    if isinstance(code, Categorical):
        return torch.arange(min(n, code.n_categories)).float()
    return quantile(code, torch.linspace(0.0, 1.0, n))
