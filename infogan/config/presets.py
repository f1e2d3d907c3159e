"""Presets: named sets of values, each with where it is from."""

from __future__ import annotations

from typing import Any, Literal

from infogan.config.datasets import DIGIT_SETS

PresetName = Literal["digits", "letters", "sprites", "fashion", "images", "paper"]
DEFAULT_PRESET: PresetName = "digits"
IMAGES_PRESET: PresetName = "images"
# Characters, light strokes on dark: outline tells their classes apart, and slant and thickness are factors of them.
CHARACTER_SETS = DIGIT_SETS | {"kmnist", "emnist-letters", "emnist-balanced", "usps", "glyphs"}

# "Paper" is arXiv 1606.03657, "authors' code" the MNIST launcher of openai/InfoGAN, which fills in what the paper
# leaves open. The fields' own defaults are the preset `digits`.
PRESETS: dict[str, dict[str, tuple[Any, str]]] = {
    "digits": {},
    "letters": {
        "dataset": ("capitals", "what the preset is for"),
        "codes": ("cat26,slant,width,height", "the alphabet, and what a font varies in besides weight"),
        "batch_size": (256, "measured on over-clusters, as all below: docs/tried.md"),
        "steps": (1500, "of which 250 have the category's L_I at its full weight"),
        "lr_d": (1e-3, "measured"),
        "lambda_consistency": (16.0, "measured: below it, H and N, D and O, C and G stay one over-cluster"),
        "overclusters": (100, "measured: some four for each letter"),
        "overcluster_entropy": (1.0, "measured: without it a fifth of them is used"),
        "merge_step": (600, "measured"),
        "lambda_equivariance": (3.0, "as in those measurements"),
        "augment_thickness": (True, "measured: a letter has any weight"),
        "augment_scale": (0.4, "measured: a letter has any size"),
        "augment_rotation": (8.0, "measured"),
        "augment_shear": (0.2, "measured"),
    },
    "sprites": {
        "dataset": ("dsprites", "what the preset is for"),
        "codes": (
            "cat3,circular:rotation/4,scale,shift-x,shift-y",
            "what dSprites vary in; a square looks the same after a quarter turn",
        ),
        "nets": ("content", "one thing before a plain background: docs/tried.md"),
        "width": (16, "measured: as all below, docs/tried.md"),
        "steps": (3000, "measured"),
        "noise_dim": (4, "measured: there is little that no code says"),
        "lr_d": (5e-4, "measured: with 1e-3 D wins in one of five runs"),
        "lr_g": (5e-4, "likewise"),
        "lambda_cont": (3.0, "measured: codes are taken up sooner than with 1"),
        "lambda_consistency": (0.0, "categories are shapes without it, as nothing else is left to draw"),
        "class_conditional_d": (False, "needs the consistency term"),
        "lambda_equivariance": (3.0, "measured: with 30, G does not come to draw hearts"),
        "lambda_independence": (3.0, "measured: without it each shape has a level of its own"),
        "lambda_r1": (1.0, "measured: without it D wins, and G draws no sprites"),
        "augment_rotation": (180.0, "a sprite has any angle"),
        "augment_scale": (0.3, "measured"),
        "augment_shear": (0.0, "a sheared sprite is another shape"),
        "augment_translation": (0.15, "measured: less is learned more slowly"),
    },
    "fashion": {
        "dataset": ("fashion", "what the preset is for"),
        "augment_contrast": (0.4, "measured on over-clusters before they are merged: docs/tried.md"),
        "augment_rotation": (20.0, "as in those measurements"),
        "augment_scale": (0.1, "as in those measurements"),
        "overcluster_entropy": (1.0, "measured: without it some over-clusters are empty"),
        "merge_step": (450, "as in those measurements"),
        "precision": ("float32", "as in the five runs of docs/results.md"),
        "class_conditional_d": (False, "as in the five runs of docs/results.md"),
        "codes": ("cat10,uniform,uniform", "free: as in the five runs of docs/results.md"),
    },
    "images": {
        "codes": ("cat10,uniform,uniform", "free: what images vary in is not known beforehand"),
        "lambda_consistency": (0.0, "measured: with it, photographs become patterns: docs/tried.md"),
        "class_conditional_d": (False, "needs the consistency term"),
        "batch_size": (64, "measured: better images than of 128, after as many: docs/tried.md"),
        "steps": (4000, "8 minutes for images of 32 px on two cores, 27 to 33 for 64 px: docs/speed.md"),
        "diffaugment": ("auto", "measured: docs/tried.md"),
        # Of views, which only a code that is named, or the consistency term, asks for.
        "augment_rotation": (5.0, "gentle, since a view of any image must show the same"),
        "augment_scale": (0.1, "gentle, likewise"),
        "augment_shear": (0.05, "gentle, likewise"),
        "augment_translation": (0.05, "gentle, likewise"),
        "augment_contrast": (0.2, "as for Fashion-MNIST, but half as much"),
        "merge_step": (450, "as for Fashion-MNIST"),
    },
    "paper": {
        "codes": ("cat10,uniform,uniform", "paper, section 7.2"),
        "noise_dim": (62, "paper, appendix C.1"),
        "noise": ("uniform", "authors' code: Uniform(62)"),
        # The paper's appendix C has a learned deviation, but its MNIST results come from code that fixes it.
        "q_std": (1.0, "authors' code: Uniform(1, fix_std=True)"),
        "width": (64, "paper, appendix C.1, table 1"),
        "batch_size": (128, "authors' code"),
        "steps": (5000, "authors' code: 50 epochs of 100 updates"),
        "precision": ("float32", "authors' code"),
        "gan_loss": ("bce", "paper, equation 1; authors' code: non-saturating for G"),
        "lambda_cat": (1.0, "paper, appendix C: lambda = 1"),
        "lambda_cont": (1.0, "paper, appendix C: lambda = 1"),
        "lambda_consistency": (0.0, "no such term in the paper"),
        "class_conditional_d": (False, "the paper's D has no class"),
        "lambda_equivariance": (0.0, "no such term in the paper"),
        "lr_g": (1e-3, "paper, appendix C"),
        "lr_d": (2e-4, "paper, appendix C"),
        "lr_heads": (None, "paper: the discriminator has one rate"),
        "lr_decay": (0.0, "paper: constant rates"),
        "beta1": (0.5, "authors' code"),
        "beta2": (0.999, "authors' code: Adam's default"),
        "ema_decay": (0.0, "no EMA in the paper"),
    },
}

# The paper's other data sets (appendices C.2 to C.5), as they differ from its MNIST. "Read by others" is what two
# independent public implementations of the appendix agree on.
_LEARNED = (None, "paper, appendix C: a diagonal Gaussian with a learned deviation")
_RATES = "paper, appendix C"
_COMMON = {
    "noise": ("uniform", "authors' code for MNIST; the appendix does not say"),
    "width": (64, "paper, appendix C: the outer stages of all tables"),
    "batch_size": (128, "authors' code for MNIST; the appendix does not say"),
    "steps": (5000, "authors' code for MNIST; the appendix does not say"),
}
PAPER_SETUPS: dict[str, dict[str, tuple[Any, str]]] = {
    "svhn": {
        **_COMMON,
        "codes": (",".join(["cat10"] * 4 + ["uniform"] * 4), "paper, appendix C.2"),
        "noise_dim": (124, "paper, appendix C.2"),
        "q_std": _LEARNED,
        "nets": ("svhn", "paper, appendix C.2, table 2; read by others"),
    },
    "celeba": {
        **_COMMON,
        "codes": (",".join(["cat10"] * 10), "paper, appendix C.3"),
        "noise_dim": (128, "paper, appendix C.3"),
        "q_std": _LEARNED,
        "size": (32, "paper, appendix C.3; read by others"),
        "nets": ("svhn", "paper, appendix C.3, table 3, whose nets are those of SVHN; read by others"),
    },
    "faces": {
        **_COMMON,
        "codes": (",".join(["uniform"] * 5), "paper, appendix C.4"),
        "noise_dim": (128, "paper, appendix C.4"),
        "q_std": _LEARNED,
        "size": (32, "paper, appendix C.4; not verified"),
        "channels": ("grey", "paper, appendix C.4; not verified"),
        "nets": ("faces", "paper, appendix C.4, table 4; not verified"),
        "lr_g": (1e-3, _RATES + "; C.4 has others for each variation, not verified"),
        "lr_d": (2e-4, _RATES + "; likewise"),
    },
    "chairs": {
        **_COMMON,
        "codes": ("cat20,cat20,cat20,uniform", "paper, appendix C.5"),
        "noise_dim": (128, "paper, appendix C.5"),
        "q_std": _LEARNED,
        "size": (64, "paper, appendix C.5; read by others"),
        "channels": ("grey", "paper, appendix C.5; read so by one of two others"),
        "nets": ("chairs", "paper, appendix C.5; read by others"),
        "lambda_cont": (10.0, "paper, appendix C.5, rotation (width has 0.05, and 2 for categories); read by others"),
        "lr_g": (1e-3, _RATES),
        "lr_d": (2e-4, _RATES),
    },
}


def default_preset(dataset: str) -> PresetName:
    """Returns the preset that a data set has where none is given."""
    made_for: dict[str, PresetName] = {"fashion": "fashion", "capitals": "letters", "dsprites": "sprites"}
    if dataset in made_for:
        return made_for[dataset]
    return DEFAULT_PRESET if dataset in CHARACTER_SETS else IMAGES_PRESET


def preset_values(preset: str, dataset: str | None) -> dict[str, tuple[Any, str]]:
    """Returns the values of a preset, each with where it is from; the paper has others for some data sets."""
    return PRESETS[preset] | (PAPER_SETUPS.get(dataset or "", {}) if preset == "paper" else {})
