"""The nets as Hugging Face's tools know a model; needs huggingface_hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import PyTorchModelHubMixin
from jaxtyping import Float
from torch import Tensor, nn

from infogan.config.train_config import TrainConfig
from infogan.export.model import Model
from infogan.inversion.encoder import Encoder
from infogan.inversion.encoder_training import present_encoder
from infogan.training.checkpoint import load_nets
from infogan.training.trainer import make_folded_nets
from infogan.weights.files import CONFIG_FILE, WEIGHTS_FILE, digest, write_json, write_weights


class InfoGAN(nn.Module, PyTorchModelHubMixin, library_name="infogan"):
    """G, D and Q of a trained run, without BatchNorm: `InfoGAN.from_pretrained(folder)`.

    Args:
        **description: What config.json holds.

    Attributes:
        generator: G; `generator(z, c)` are images, NCHW in [-1, 1].
        discriminator: D and Q; `discriminator(x)` are D's logits and the parameters of Q(c|x).
        encoder: From images to the noise that G would draw them from; None if the model came without.
        spec: The latents.
    """

    encoder: Encoder | None

    def __init__(self, **description: Any) -> None:
        super().__init__()
        self.description = description
        config = TrainConfig.from_dict(description["train_config"])
        nets = make_folded_nets(config, tuple(description["image_shape"]))
        self.spec = config.spec
        self.generator, self.discriminator = nets["generator"], nets["discriminator"]
        self.encoder = None

    @classmethod
    def of(cls, model: Model) -> InfoGAN:
        """Returns the nets of a model, with weights as they are stored."""
        nets = cls(**model.description())
        nets.encoder = model.encoder
        nets.load_state_dict(model.tensors(), assign=True)
        return nets

    def forward(self, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n ch h w"]:
        """Returns images, NCHW in [-1, 1]."""
        return self.generator(z, c)

    def _save_pretrained(self, save_directory: Path) -> None:
        """Saves weights that `load_nets` finds unaltered, also where someone has changed them."""
        weights = self.state_dict()
        write_weights(save_directory / WEIGHTS_FILE, weights)
        write_json(save_directory / CONFIG_FILE, {**self.description, "sha256": digest(weights)})

    @classmethod
    def _load_as_safetensor(cls, model: InfoGAN, model_file: str, map_location: str, strict: bool) -> InfoGAN:
        """Loads as `load_nets` does: the mixin's own way does not notice weights that are missing."""
        nets = load_nets(model_file, map_location)
        model.generator, model.discriminator, model.encoder = nets.generator, nets.discriminator, present_encoder(nets)
        return model
