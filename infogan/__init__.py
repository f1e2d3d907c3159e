"""InfoGAN: learn, without labels, which factors make up a set of images, and steer them.

Chen et al. 2016, arXiv 1606.03657. The names below are the public interface; each is imported at its first
use, so that a command line can check its flags without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan.config.spec import Categorical, Gaussian, LatentSpec, Uniform
    from infogan.config.train_config import TrainConfig
    from infogan.data.datasets import ImageDataset, load_dataset
    from infogan.latents import posterior_categories, posterior_means, sample_prior, with_code
    from infogan.losses import discriminator_loss, generator_loss, mutual_information_lower_bound
    from infogan.models import Discriminator, Generator
    from infogan.system.errors import NonFiniteLossError, UserError
    from infogan.system.runtime import evaluating
    from infogan.training.trainer import TrainedNets, Trainer, load_nets, train

__version__ = "0.1.0"

_MODULE_OF = {
    "TrainConfig": "config.train_config",
    "ImageDataset": "data.datasets",
    "load_dataset": "data.datasets",
    "NonFiniteLossError": "system.errors",
    "UserError": "system.errors",
    "posterior_categories": "latents",
    "posterior_means": "latents",
    "sample_prior": "latents",
    "with_code": "latents",
    "discriminator_loss": "losses",
    "generator_loss": "losses",
    "mutual_information_lower_bound": "losses",
    "Discriminator": "models",
    "Generator": "models",
    "evaluating": "system.runtime",
    "Categorical": "config.spec",
    "Gaussian": "config.spec",
    "LatentSpec": "config.spec",
    "Uniform": "config.spec",
    "TrainedNets": "training.trainer",
    "Trainer": "training.trainer",
    "load_nets": "training.trainer",
    "train": "training.trainer",
}

__all__ = [*_MODULE_OF, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    return getattr(importlib.import_module(f"infogan.{_MODULE_OF[name]}"), name)
