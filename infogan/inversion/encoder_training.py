"""Trains the encoder on what G itself draws, and keeps it beside the run."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from infogan.inversion.encoder import Encoder
from infogan.latents import sample_prior
from infogan.system.errors import UserError, one_line
from infogan.system.files import write_atomically
from infogan.system.progress import seconds_between_updates
from infogan.system.readers import open_regular
from infogan.system.runtime import seeded
from infogan.training.checkpoint import TrainedNets
from infogan.training.run import Run
from infogan.weights.folding import folded

ENCODER_FILE = "encoder.safetensors"
ENCODER_FORMAT = "infogan-encoder-1"
N_STEPS = 600
BATCH_SIZE = 128
PEAK_LEARNING_RATE = 5e-3
# Of the error in pixels beside that of z: most of the noise leaves no trace in the image, and to regress that would
# tell the encoder nothing.
PIXEL_WEIGHT = 90.0


def kept_encoder(nets: TrainedNets) -> Encoder:
    """Returns the encoder of these very nets: one that is there, or else a new one, which is then kept."""
    encoder = present_encoder(nets)
    if encoder is None:
        encoder = train_encoder(nets)
        weights = {name: value.cpu().contiguous() for name, value in encoder.state_dict().items()}
        content = save(weights, metadata=_key(nets))
        try:
            write_atomically(_place(nets), lambda file: file.write(content), "run")
        except UserError as error:  # a folder that is only to be read
            print(f"warning: the encoder is not kept: {error}", file=sys.stderr)
    return encoder


def present_encoder(nets: TrainedNets) -> Encoder | None:
    """Returns the encoder that exported nets came with, or that is kept beside the run; None if there is none.

    Raises:
        UserError: The one that they came with does not fit them.
    """
    if not nets.encoder_weights:
        return load_encoder(_place(nets), nets, _key(nets))
    with torch.device("meta"):  # it takes the memory of the weights alone
        encoder = folded(Encoder(nets.spec, nets.image_shape))
    try:
        encoder.load_state_dict(nets.encoder_weights, assign=True)
    except RuntimeError as error:
        raise UserError(f"{nets.checkpoint}: the encoder does not fit its nets: {one_line(error)}") from error
    return encoder


def _place(nets: TrainedNets) -> Path:
    return Run.file_of(nets.checkpoint, ENCODER_FILE)


def load_encoder(path: Path, nets: TrainedNets, key: dict[str, str]) -> Encoder | None:
    """Returns the encoder in a file; None if there is none, if it is damaged, or made for another checkpoint."""
    try:
        open_regular(path, "encoder").close()  # safetensors would wait for the writer of a pipe
        with safe_open(path, "pt") as file:
            if file.metadata() != key:
                return None
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dictionary
        encoder = Encoder(nets.spec, nets.image_shape)
        encoder.load_state_dict(weights)
    except (UserError, OSError, RuntimeError, SafetensorError):
        return None
    return encoder.to(_device(nets.generator)).eval()


def train_encoder(nets: TrainedNets, steps: int = N_STEPS, seed: int = 0) -> Encoder:
    """Returns an encoder trained on images that G draws from the prior, in evaluation mode; no real image is needed.

    Its loss is the mean square error of the noise, and that of what G draws from the estimate and the true codes.

    Args:
        nets: G and the latents.
        steps: Updates of 128 images.
        seed: Of the weights and of the latents.
    """
    generator, device = nets.generator, _device(nets.generator)
    with seeded(seed):
        encoder = Encoder(nets.spec, nets.image_shape).to(device)
    rng = torch.Generator(device).manual_seed(seed)
    weights = [*encoder.parameters()]
    optimizer = torch.optim.Adam(weights, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_LEARNING_RATE, total_steps=steps + 1)
    with torch.inference_mode(False), torch.enable_grad():
        bar = {"desc": f"encoder of {nets.name}, once", "leave": False, "mininterval": seconds_between_updates()}
        for _ in tqdm(range(steps), unit="step", **bar):
            z, c = sample_prior(nets.spec, BATCH_SIZE, rng)
            loss = _loss(encoder, generator, z, c)
            optimizer.zero_grad()
            loss.backward(inputs=weights)  # of the encoder alone: G stays as it is
            optimizer.step()
            schedule.step()
    return encoder.eval()


def _loss(encoder: Encoder, generator: nn.Module, z: Tensor, c: Tensor) -> Tensor:
    with torch.no_grad():
        x = generator(z, c)
    estimate = encoder(x)
    return F.mse_loss(estimate, z) + PIXEL_WEIGHT * F.mse_loss(generator(estimate, c), x)


def _key(nets: TrainedNets) -> dict[str, str]:
    """Returns what an encoder's file says of the nets that it was made for."""
    digest = hashlib.sha256()
    for value in nets.generator.state_dict().values():
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return {"format": ENCODER_FORMAT, "run": nets.name, "step": str(nets.step), "generator_sha256": digest.hexdigest()}


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
