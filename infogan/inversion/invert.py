"""Inversion: the latents from which G draws a given image, and how close it comes.

Q reads the codes; the encoder estimates the noise, which a descent on the error in pixels then improves. The codes
stay what Q has read, so that they can be changed afterwards and mean what they always mean.

Axes: n batch, ch h w image, z noise, c codes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from infogan.config.spec import LatentSpec
from infogan.data.batches import to_unit_range
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import kept_encoder
from infogan.latents import posterior_categories, posterior_means, quantile
from infogan.system.errors import UserError
from infogan.training.checkpoint import TrainedNets

N_STEPS = 60
LEARNING_RATE = 0.1  # of the noise; falls linearly to 0 over the second half of the steps
# Of the mean square of z beside that of the error in pixels: noise far out would make an image that falls apart once
# its codes are changed.
NOISE_WEIGHT = 0.02
BATCH_SIZE = 64
PEAK_TO_PEAK = 2.0  # of images in [-1, 1]


@dataclass(frozen=True)
class Inversion:
    """Images, and the latents from which G draws them as well as it can.

    Attributes:
        images: As given, in [-1, 1].
        z: The noise of each.
        c: The codes that Q reads in each: the category as one-hot, means kept within the prior's range.
        reconstruction: G(z, c).
        psnr_db: Peak signal-to-noise ratio of each reconstruction, in dB, of a range of 2; higher is better.
        q_agrees: Whether Q reads the image's categories in its reconstruction too. True where there are none.
    """

    images: Float[Tensor, "n ch h w"]
    z: Float[Tensor, "n z"]
    c: Float[Tensor, "n c"]
    reconstruction: Float[Tensor, "n ch h w"]
    psnr_db: Float[Tensor, " n"]
    q_agrees: Bool[Tensor, " n"]


def invert(nets: TrainedNets, images: Tensor, encoder: Encoder | None = None, steps: int = N_STEPS) -> Inversion:
    """Returns the latents of images, and what G draws from them; all of it on the CPU.

    The same images give the same latents, alone or among others (up to rounding).

    Args:
        nets: As `load_nets` gives them.
        images: NCHW: uint8 in [0, 255], or floats in [-1, 1]; of the shape that the nets were trained on.
        encoder: Where the descent starts; None for the one that is kept beside the run, which is trained at the first
            call.
        steps: Of the descent.

    Raises:
        UserError: Images of another type or shape.
    """
    _check(images, nets)
    encoder = kept_encoder(nets) if encoder is None else encoder
    device = next(nets.generator.parameters()).device
    parts = []
    # Within `torch.inference_mode` there would be no gradients.
    with torch.inference_mode(False):
        for batch in images.split(BATCH_SIZE):
            x = to_unit_range(batch) if batch.dtype == torch.uint8 else batch.float().clone()
            parts.append(_invert_batch(nets, encoder, x.to(device), steps))
    return Inversion(*(torch.cat(values).cpu() for values in zip(*parts, strict=True)))


def codes_read(spec: LatentSpec, q_params: Float[Tensor, "n q"]) -> Float[Tensor, "n c"]:
    """Returns the codes that Q reads, as G takes them: one-hot categories, means within the range of a traversal."""
    read: dict[int, Tensor] = {}
    for i, category in zip(spec.categorical, posterior_categories(spec, q_params).unbind(dim=1), strict=True):
        read[i] = F.one_hot(category, spec.codes[i].dim).float()
    for i, mean in zip(spec.continuous, posterior_means(spec, q_params).unbind(dim=1), strict=True):
        least, most = quantile(spec.codes[i], torch.tensor([0.0, 1.0])).tolist()
        read[i] = mean[:, None].clamp(least, most)
    return torch.cat([read[i] for i in range(len(spec.codes))], dim=1)


def _invert_batch(nets: TrainedNets, encoder: Encoder, x: Tensor, steps: int) -> tuple[Tensor, ...]:
    """Returns the attributes of an `Inversion`, in order."""
    spec, q = nets.spec, nets.discriminator
    with torch.no_grad():
        q_params = q(x)[1]
        c, z = codes_read(spec, q_params), encoder.eval()(x)
    z = _descend(nets.generator, x, z, c, steps, bounded=spec.noise == "uniform")
    with torch.no_grad():
        reconstruction = nets.generator(z, c)
        q_params_again = q(reconstruction)[1]
    agrees = (posterior_categories(spec, q_params) == posterior_categories(spec, q_params_again)).all(dim=1)
    return x, z, c, reconstruction, psnr_db(x, reconstruction), agrees


def _descend(generator: nn.Module, x: Tensor, z: Tensor, c: Tensor, steps: int, bounded: bool) -> Tensor:
    """Returns the noise after `steps` of Adam on the error in pixels, from z on; within [-1, 1] if it is bounded."""
    z = z.detach().requires_grad_()
    optimizer = torch.optim.Adam([z], lr=LEARNING_RATE, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2 * (1 - step / steps))
        with torch.enable_grad():
            errors = (generator(z, c) - x).square().flatten(1).mean(dim=1)
            # The sum over images, so that none depends on the others.
            loss = (errors + NOISE_WEIGHT * z.square().mean(dim=1)).sum()
        (z.grad,) = torch.autograd.grad(loss, [z])  # of z alone, not of G's weights
        optimizer.step()
        if bounded:
            z.data.clamp_(-1, 1)
    return z.detach()


def psnr_db(x: Float[Tensor, "n ch h w"], y: Float[Tensor, "n ch h w"]) -> Float[Tensor, " n"]:
    """Returns the peak signal-to-noise ratio of each pair of images in [-1, 1], in dB: infinite if they are equal."""
    return 10 * torch.log10(PEAK_TO_PEAK**2 / (x - y).square().flatten(1).mean(dim=1))


def _check(images: Tensor, nets: TrainedNets) -> None:
    shape = nets.image_shape
    if images.ndim != 4 or tuple(images.shape[1:]) != shape or len(images) == 0:
        raise UserError(f"images: expected shape (n, {', '.join(map(str, shape))}), n >= 1, got {tuple(images.shape)}")
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise UserError(f"images: expected uint8 in [0, 255], or floats in [-1, 1], got {images.dtype}")
    if images.is_floating_point() and not bool(((images >= -1) & (images <= 1)).all()):
        raise UserError(f"images: expected floats in [-1, 1], got {images.min():g} to {images.max():g}")
