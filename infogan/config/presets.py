"""Presets: named sets of values, each with where it is from."""

from __future__ import annotations

from typing import Any, Literal

PresetName = Literal["digits", "fashion", "paper"]
DEFAULT_PRESET: PresetName = "digits"

# "Paper" is arXiv 1606.03657, "authors' code" the MNIST launcher of openai/InfoGAN, which fills in what the paper
# leaves open. The fields' own defaults are the preset `digits`.
PRESETS: dict[str, dict[str, tuple[Any, str]]] = {
    "digits": {},
    "fashion": {
        "dataset": ("fashion", "what the preset is for"),
        "augment_contrast": (0.4, "measured on over-clusters before they are merged: docs/tried.md"),
        "merge_step": (450, "as in those measurements"),
        "precision": ("float32", "as in the five runs of docs/results.md"),
        "class_conditional_d": (False, "as in the five runs of docs/results.md"),
        "lambda_equivariance": (0.0, "left out: its transformations are made for digits"),
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
