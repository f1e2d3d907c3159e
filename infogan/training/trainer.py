"""`Trainer`: the nets of a run, its batches and its random state, and a step after another."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import math
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from infogan.config.spec import OF_COLOURS
from infogan.config.train_config import HINTS, MAY_CHANGE, TrainConfig, differences
from infogan.content_nets import ContentGenerator, build_content_nets
from infogan.data.augment import AffineRange, Augmentation, Views
from infogan.data.batches import ShuffledBatches, fair_sample, to_unit_range
from infogan.data.transformations import background_of, thickness_range
from infogan.latents import sample_prior
from infogan.models import Discriminator, Generator, ImageShape, build
from infogan.paper_nets import build_paper_nets
from infogan.system import distributed
from infogan.system.errors import NonFiniteLossError, UserError, shown
from infogan.system.readers import is_count
from infogan.system.runtime import (
    GlobalState,
    autocast_for,
    make_deterministic,
    on_device,
    resolve_device,
    rng_state,
    seed_everything,
    set_generator_state,
    set_rng_state,
    tune_for,
)
from infogan.training.capture import Captured
from infogan.training.step import InfoGANStep, code_weights
from infogan.training.vanilla import VanillaStep
from infogan.weights.folding import folded

N_FOR_BACKGROUND = 1000  # images whose borders say what the background is
N_POSES, N_POSES_AT_A_TIME = 10_000, 500  # images whose places the pose of content nets is fitted to


class Trainer:
    """InfoGAN on a tensor of images, and beside it a vanilla GAN if the configuration says `baseline`.

    Its steps see global random generators of its own, seeded with `config.seed`, and deterministic algorithms; after
    each call, the process has the caller's again. Everything that a later step depends on is in `state_dict`: a trainer
    that loads it goes on bit for bit on the same device.

    Of several ranks (see `distributed`), each makes one, and their steps are in step.

    Args:
        config: Nets, objective, rates, seed, device.
        images: uint8, NCHW, in [0, 255], a tensor or an array; moved to the device.

    Attributes:
        generator: G, as trained.
        discriminator: D and Q.
        generator_ema: The EMA of G's weights, or None if `config.ema_decay` is 0.
        extensions: What the run has beyond the paper.
        step: Steps taken.
        is_stepping: Whether a step was begun and did not end: then the state is of neither end of it.

    Raises:
        UserError: Images of another type or shape, fewer than a batch, or too small; a device that is not there.
    """

    def __init__(self, config: TrainConfig, images: Tensor | np.ndarray) -> None:
        images = _image_tensor(images)
        distributed.check_batch_size(config.batch_size)
        self.config, self.spec = config, config.spec
        self.device = resolve_device(config.device)
        channels, height, width_px = images.shape[1:]
        self.image_shape: ImageShape = (channels, height, width_px)
        self.extensions = make_extensions(config)
        self._process = GlobalState()
        with self._entered():
            self._start(images)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        with self._process.entered(), on_device(self.device):
            yield

    def _start(self, images: Tensor) -> None:
        """Makes the nets, and all else that a step needs."""
        config = self.config
        make_deterministic()
        tune_for(self.device, config.matmul, config.threads)
        seed_everything(config.seed)
        self.generator, self.discriminator = make_nets(config, self.image_shape, self.extensions, self.device)
        if isinstance(self.generator, ContentGenerator):
            fit_pose(self.generator, images)
        if config.sync_batchnorm and distributed.n_ranks() > 1:
            distributed.use_global_batch_norm(self.generator)
            distributed.use_global_batch_norm(self.discriminator)
        # The vanilla GAN starts from the same weights and sees the same batches: only the objective differs.
        vanilla_nets = copy.deepcopy((self.generator, self.discriminator)) if config.baseline else None
        self._diffaugment = make_diffaugment(config, len(images))
        self._infogan = InfoGANStep(self.generator, self.discriminator, config, self.extensions, self._diffaugment)
        self._vanilla = VanillaStep(*vanilla_nets, config, self._diffaugment) if vanilla_nets else None
        if vanilla_nets:
            for extension in self.extensions:
                extension.leave(vanilla_nets[1])
        self.generator_ema = copy.deepcopy(self.generator) if config.ema_decay else None
        self.batches = ShuffledBatches(images.to(self.device), config.batch_size, config.seed)
        self._latents_rng = torch.Generator(self.device).manual_seed(config.seed)
        self._indices = torch.empty(config.batch_size, dtype=torch.int64, device=self.device)
        self._ema_share = torch.empty((), device=self.device)  # of the new weights
        self._captured = Captured(self._updates, [self._latents_rng]) if self._may_capture() else None
        self._augmentation = None
        if any(extension.needs_views for extension in self.extensions):
            self._augmentation = augmentation_of(config, images)
            for extension in self.extensions:
                extension.start_run(self.batches.images, self._augmentation)
        self.step, self.is_stepping = 0, False

    def calculate_as(self, config: TrainConfig) -> None:
        """Has later steps calculate in the precision and by the library of another configuration; no captured ones."""
        assert self._captured is None, "a captured step stays as it is"
        with self._entered():
            tune_for(self.device, config.matmul)
        for step in self._steps():
            step.autocast = autocast_for(config.precision, self.device)

    @property
    def picture_generator(self) -> Generator:
        """G for pictures: its EMA where there is one."""
        return self.generator if self.generator_ema is None else self.generator_ema

    def models(self) -> list[tuple[str, Generator, Discriminator]]:
        """Returns InfoGAN, with G for pictures, and the vanilla GAN if there is one, each after its metrics' prefix."""
        models = [("", self.picture_generator, self.discriminator)]
        if self._vanilla is not None:
            models.append(("vanilla_", self._vanilla.generator, self._vanilla.discriminator))
        return models

    def train_step(self) -> dict[str, Tensor]:
        """Takes one step and returns its losses and L_I by name, as scalars on the device.

        Raises:
            NonFiniteLossError: Before the update that the loss would have made.
        """
        self.is_stepping = True
        with self._entered():
            metrics = self._train_step()
        self.is_stepping = False
        return metrics

    def _train_step(self) -> dict[str, Tensor]:
        self._follow_schedule()
        self._indices.copy_(self.batches.next())
        try:
            if self._captured is None or (phase := self._phase()) is None:
                metrics = self._updates()
            else:
                metrics = self._captured(phase)
                for step in self._steps():
                    step.check_totals()
        except NonFiniteLossError as error:
            raise NonFiniteLossError(f"step {self.step + 1}: {error}; stopped before its update") from None
        self.step += 1
        return metrics

    def _may_capture(self) -> bool:
        return self.config.cuda_graphs and self.device.type == "cuda" and distributed.n_ranks() == 1

    def _phase(self) -> Hashable | None:
        phases = tuple(extension.phase() for extension in self.extensions)
        return None if None in phases else phases

    def _steps(self) -> list[InfoGANStep]:
        return [step for step in (self._infogan, self._vanilla) if step is not None]

    def _updates(self) -> dict[str, Tensor]:
        """Does what a step does on the device; all that changes from step to step is there already."""
        batch = (self.batches.at(self._indices), *sample_prior(self.spec, self.config.batch_size, self._latents_rng))
        x_real, z, c = (distributed.share(part) for part in batch)
        if self._diffaugment is not None:
            x_real = self._diffaugment(x_real)
        metrics = self._infogan(x_real, z, c, self._views(x_real))
        if self._vanilla is not None:
            metrics |= {f"vanilla_{name}": value for name, value in self._vanilla(x_real, z, c).items()}
        if self.generator_ema is not None:
            _move_average(self.generator_ema, self.generator, self._ema_share)
        return metrics

    def _views(self, x_real: Tensor) -> Views | None:
        if self._augmentation is None:
            return None
        # All ranks draw what happens to the whole batch.
        drawn = self._augmentation.draw(self.config.batch_size, self._latents_rng)
        return self._augmentation.views(x_real, *map(distributed.share, drawn))

    def _follow_schedule(self) -> None:
        """Sets what depends on the step: the rates, and with extensions the weights of L_I."""
        # A shorter memory at first, so that the EMA is not held back by the untrained weights.
        self._ema_share.fill_(1 - min(self.config.ema_decay, (1 + self.step) / (10 + self.step)))
        if self._diffaugment is not None:
            self._diffaugment.start_step(self.step)
        for extension in self.extensions:
            for parameter in extension.start_step(self.step):
                self._infogan.opt_d.state.pop(parameter, None)
        lambdas = [
            weight * math.prod(extension.mi_scale(i) for extension in self.extensions)
            for i, weight in enumerate(code_weights(self.config))
        ]
        self._infogan.lambdas.copy_(torch.tensor(lambdas))
        for step in self._steps():
            step.scale_rates(self._rate)

    @property
    def _rate(self) -> float:
        """The share of the learning rates that is in force: 1, and over the last steps linearly down to 0."""
        remaining = 1 - self.step / self.config.steps
        return max(min(1.0, remaining / self.config.lr_decay), 0.0) if self.config.lr_decay else 1.0

    def is_finite(self) -> bool:
        """Returns whether every weight and every statistic of BatchNorm is a number, those of the EMA too."""
        nets = [self.generator, self.discriminator, self.picture_generator]
        if self._vanilla is not None:
            nets += [self._vanilla.generator, self._vanilla.discriminator]
        return all(bool(tensor.isfinite().all()) for net in nets for tensor in net.state_dict().values())

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later steps depend on, as tensors and plain values."""
        with self._entered():
            global_rng = rng_state()
        return {
            "step": self.step,
            "device": self.device.type,
            "config": self.config.to_dict(),
            "image_shape": list(self.image_shape),
            "n_images": len(self.batches.images),
            "infogan": self._infogan.state_dict(),
            "vanilla": None if self._vanilla is None else self._vanilla.state_dict(),
            "generator_ema": None if self.generator_ema is None else self.generator_ema.state_dict(),
            "extensions": {type(extension).__name__: extension.state_dict() for extension in self.extensions},
            "batches": self.batches.state_dict(),
            "latents_rng": self._latents_rng.get_state(),
            "rng": global_rng,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues as the trainer did whose `state_dict` this is.

        Raises:
            UserError: It was made with another configuration, or other images; every difference is listed.
        """
        different = differences_between(TrainConfig.from_dict(state["config"]), self.config)
        images = (len(self.batches.images), *self.image_shape)
        if (saved_images := (state["n_images"], *state["image_shape"])) != images:
            different.append(f"images of shape {images} (the run has {saved_images})")
        if different:
            raise UserError(f"the checkpoint is of another run, got {'; '.join(different)}")
        self._infogan.load_state_dict(state["infogan"])
        if self._vanilla is not None:
            self._vanilla.load_state_dict(state["vanilla"])
        if self.generator_ema is not None:
            self.generator_ema.load_state_dict(state["generator_ema"])
        for extension in self.extensions:
            extension.load_state_dict(state.get("extensions", {}).get(type(extension).__name__, {}))
        self.batches.load_state_dict(state["batches"])
        self._check_loaded(state["batches"]["position"])
        set_generator_state(self._latents_rng, state["latents_rng"], self.config.seed + state["step"])
        with self._entered():
            set_rng_state(state["rng"])
        self.step = state["step"]
        if self._captured is not None:
            self._captured.forget()

    def _check_loaded(self, position: int) -> None:
        """Checks what torch does not when it loads weights and Adam's averages."""
        if not self.is_finite():
            raise ValueError("expected weights that are finite numbers, got NaN or infinity")
        if not is_count(position) or position > self.batches.per_epoch:
            raise ValueError(f"expected 0 to {self.batches.per_epoch} batches of an epoch, got {shown(position)}")
        for step in self._steps():
            for optimizer in (step.opt_d, step.opt_g):
                for parameter, averages in optimizer.state.items():
                    for name in ("exp_avg", "exp_avg_sq"):
                        if averages[name].shape != parameter.shape:
                            raise ValueError(
                                f"expected Adam's {name} of shape {tuple(parameter.shape)}, "
                                f"got {tuple(averages[name].shape)}"
                            )


def _image_tensor(images: Any) -> Tensor:
    """Returns images as a tensor of uint8, NCHW."""
    got = type(images).__name__
    if isinstance(images, Tensor | np.ndarray):
        if str(images.dtype).removeprefix("torch.") == "uint8" and images.ndim == 4:
            return torch.as_tensor(images)
        got = f"{images.dtype} of shape {tuple(images.shape)}"
    raise UserError(f"images: expected uint8 in [0, 255] of shape (n, channels, height, width), got {got}")


def differences_between(run: TrainConfig, asked: TrainConfig) -> list[str]:
    """Returns a clause for each field that makes what is asked for another run."""
    fixed = {*HINTS} - MAY_CHANGE - {"name", "dataset", "preset"}
    return differences(run.to_dict(), {name: value for name, value in asked.to_dict().items() if name in fixed})


def make_extensions(config: TrainConfig) -> list[Any]:
    """Returns the extensions that a run asks for: none for the paper's objective, which runs without their package."""
    if not config.has_extensions:
        return []
    from infogan.extensions import active_extensions

    return list(active_extensions(config))


def extensions_of_nets(config: TrainConfig) -> list[Any]:
    """Returns the extensions that may make nets: terms make none, and need the code that registered them."""
    return make_extensions(dataclasses.replace(config, terms=""))


def make_diffaugment(config: TrainConfig, n_images: int) -> Any:
    """Returns what D and Q see images through, as `DiffAugment`; None where they see them as they are."""
    policy = config.diffaugment_for(n_images)
    if policy == "none":
        return None
    from infogan.extensions.diffaugment import DiffAugment

    return DiffAugment(policy, config.seed)


def make_nets(
    config: TrainConfig, image_shape: ImageShape, extensions: list[Any], device: torch.device | str
) -> tuple[Generator, Discriminator]:
    """Returns the nets of a run, with the heads that its extensions ask for."""
    heads = {name: make for extension in extensions for name, make in extension.heads().items()}
    if config.nets == "stages":
        generator, discriminator = build(config.spec, image_shape, config.width, **heads)
    elif config.nets == "content":
        generator, discriminator = build_content_nets(config.spec, image_shape, config.width, **heads)
    else:
        generator, discriminator = build_paper_nets(config.nets, config.spec, image_shape, config.width, **heads)
    for extension in extensions:
        extension.attach(discriminator)
    return generator.to(device), discriminator.to(device)


def fit_pose(generator: ContentGenerator, images: UInt8[Tensor, "n ch h w"]) -> None:
    """Fits what a generator of content nets knows of real images before training."""
    some = images[fair_sample(len(images), N_POSES).to(images.device)]
    generator.fit(to_unit_range(part) for part in some.split(N_POSES_AT_A_TIME))


def make_folded_nets(config: TrainConfig, image_shape: ImageShape) -> nn.ModuleDict:
    """Returns the `generator` and `discriminator` of a run as `folded` returns them, with weights that take no memory.

    They are on torch's meta device: shapes can be compared before weights are loaded with `assign=True`.
    """
    with torch.device("meta"):
        nets = make_nets(config, image_shape, extensions_of_nets(config), "meta")
    return nn.ModuleDict(dict(zip(("generator", "discriminator"), map(folded, nets), strict=True)))


def augmentation_of(config: TrainConfig, images: UInt8[Tensor, "n ch h w"]) -> Augmentation:
    """Returns how a run's augmented views differ from its images.

    Raises:
        UserError: A code is named for a change of colour, and the images are grey.
    """
    affine = AffineRange(
        config.augment_rotation, config.augment_scale, config.augment_shear, config.augment_translation
    )
    spec = config.spec
    named = tuple(name for _, name in spec.named)
    if images.shape[1] == 1 and (of_colours := OF_COLOURS & {*named}):
        raise UserError(f"codes: expected images in colour for {', '.join(sorted(of_colours))}, got grey ones")
    by_any_angle = frozenset(name for position, name in spec.named if position in spec.circular)
    if "slant" in named and "rotation" in by_any_angle:
        raise UserError("codes: expected no slant beside circular:rotation, as a view turned by any angle has none")
    some = to_unit_range(images[fair_sample(len(images), N_FOR_BACKGROUND).to(images.device)].cpu())
    background = background_of(some)
    thicknesses = thickness_range(some, background) if config.augment_thickness else None
    return Augmentation(affine, config.augment_contrast, named, background, by_any_angle, thicknesses).reaching()


@torch.no_grad()
def _move_average(average: Generator, current: Generator, share: Float[Tensor, ""]) -> None:
    for kept, new in zip(average.parameters(), current.parameters(), strict=True):
        kept.lerp_(new, share)
    for kept, new in zip(average.buffers(), current.buffers(), strict=True):
        kept.copy_(new)  # BatchNorm's running statistics are averages already
