"""InfoGAN: learn, without labels, which factors make up a set of images, and steer them.

Chen et al. 2016, arXiv 1606.03657. The names below are the public interface; each is imported at its first
use, so that a command line can check its flags without loading torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infogan import auxiliary, data, evaluation, export, extensions, models
    from infogan.api import resume, train
    from infogan.config.spec import Categorical, Gaussian, LatentSpec, Uniform
    from infogan.config.train_config import TrainConfig
    from infogan.data.datasets import ImageDataset, load_dataset
    from infogan.evaluation.disentanglement import disentanglement
    from infogan.evaluation.scoring import evaluate
    from infogan.inversion.invert import Inversion, invert
    from infogan.latents import posterior_categories, posterior_means, sample_prior, with_code
    from infogan.losses import discriminator_loss, generator_loss, mutual_information_lower_bound
    from infogan.models import Discriminator, Generator, build
    from infogan.system.errors import NonFiniteLossError, UserError
    from infogan.system.runtime import evaluating
    from infogan.training.checkpoint import TrainedNets, load_nets
    from infogan.training.trainer import Trainer

__version__ = "0.1.0"

_MODULE_OF = {
    "TrainConfig": "config.train_config",
    "train": "api",
    "resume": "api",
    "evaluate": "evaluation.scoring",
    "disentanglement": "evaluation.disentanglement",
    "Trainer": "training.trainer",
    "load_nets": "training.checkpoint",
    "TrainedNets": "training.checkpoint",
    "invert": "inversion.invert",
    "Inversion": "inversion.invert",
    "ImageDataset": "data.datasets",
    "load_dataset": "data.datasets",
    "Generator": "models",
    "Discriminator": "models",
    "build": "models",
    "discriminator_loss": "losses",
    "generator_loss": "losses",
    "mutual_information_lower_bound": "losses",
    "posterior_categories": "latents",
    "posterior_means": "latents",
    "sample_prior": "latents",
    "with_code": "latents",
    "Categorical": "config.spec",
    "Gaussian": "config.spec",
    "LatentSpec": "config.spec",
    "Uniform": "config.spec",
    "NonFiniteLossError": "system.errors",
    "UserError": "system.errors",
    "evaluating": "system.runtime",
}

_MODULES = ("auxiliary", "data", "evaluation", "export", "extensions", "models")

__all__ = [*_MODULE_OF, *_MODULES, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"infogan.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'infogan' has no attribute {name!r}")
    return getattr(importlib.import_module(f"infogan.{_MODULE_OF[name]}"), name)
