"""Curves of a run: losses, L_I, and cheap evaluations, from the rows of metrics.jsonl."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from infogan.auxiliary import default_style, new_figure, render
from infogan.config.spec import LatentSpec


@default_style()
def loss_figures(
    rows: Sequence[dict[str, float]],
    spec: LatentSpec,
    title: str,
    gan_loss: str = "bce",
    events: Mapping[int, str] | None = None,
) -> dict[str, UInt8[np.ndarray, "height width 3"]]:
    """Returns the figures of a run's metrics by name: Generator_Loss, Discriminator_Loss, L1_Loss.

    And Evaluation, where the run was evaluated as it went (`--eval-every`).

    Args:
        rows: Of metrics.jsonl; those of a run with `--baseline` hold the vanilla GAN's under `vanilla_`.
        spec: The latents.
        title: Of each figure.
        gan_loss: Sets where the line "D at chance" is.
        events: What the extensions' schedules do at which step.
    """
    at_chance = {"bce": (math.log(2), 2 * math.log(2)), "lsgan": (0.125, 0.25)}[gan_loss]
    figures = {
        "Generator_Loss": _loss_figure(rows, "loss_g", "generator loss", at_chance[0], title),
        "Discriminator_Loss": _loss_figure(rows, "loss_d", "discriminator loss", at_chance[1], title),
        "L1_Loss": _mi_figure(rows, spec, title, events or {}),
    }
    if any(f"eval_mi_{spec.names[0]}" in row for row in rows):
        figures["Evaluation"] = _evaluation_figure(rows, spec, title)
    return figures


def _loss_figure(
    rows: Sequence[dict[str, float]], key: str, name: str, at_chance: float, title: str
) -> UInt8[np.ndarray, "height width 3"]:
    figure, (axes,) = new_figure(7, 4, title=title)
    for prefix, label, colour in (("", "InfoGAN", "C0"), ("vanilla_", "vanilla GAN", "C1")):
        _plot(axes, rows, prefix + key, label, color=colour)
    axes.axhline(at_chance, color="0.5", linestyle=":", label="D at chance")
    _finish(axes, name)
    return render(figure)


def _mi_figure(
    rows: Sequence[dict[str, float]], spec: LatentSpec, title: str, events: Mapping[int, str]
) -> UInt8[np.ndarray, "height width 3"]:
    """The paper's figure 1: L_I over training, against the vanilla GAN's, between chance and the most it can be.

    Beside it, the mutual information between the categories of a real image and of its augmented view, where training
    has that term.
    """
    kinds = [("categorical", spec.categorical), ("continuous", spec.continuous)]
    kinds = [(kind, positions) for kind, positions in kinds if positions]
    figure, panels = new_figure(7, 3.6 * len(kinds), n_axes=len(kinds), title=title)
    for axes, (kind, positions) in zip(panels, kinds, strict=True):
        for n, i in enumerate(positions):
            name, code = spec.names[i], f"{spec.names[i]} ({spec.codes[i]})"
            _plot(axes, rows, f"mi_{name}", f"InfoGAN, {code}", color=f"C{2 * n}")
            _plot(axes, rows, f"vanilla_mi_{name}", f"vanilla GAN, {code}", color=f"C{2 * n + 1}")
            label = f"not L_I: information of image and augmented view, {code}"
            _plot(axes, rows, f"consistency_{name}", label, f"C{2 * n}", style="--")
        for chance, most in sorted({spec.mi_ranges_nats[i] for i in positions}):
            if math.isfinite(most):
                which = "H(c)" if kind == "categorical" else f"most for σ = {spec.q_std:g}"
                axes.axhline(most, color="0.3", linestyle="--", label=f"{which}: {most:.3f} nats")
            axes.axhline(chance, color="0.3", linestyle=":", label=f"at chance: {chance:.3f} nats")
        if kind == "categorical":
            happened = {step: event for step, event in events.items() if rows and step <= rows[-1]["step"]}
            for step, event in happened.items():
                axes.axvline(step, color="0.7", linewidth=0.8)
                axes.text(step, 0.02, event, transform=axes.get_xaxis_transform(), rotation=90, fontsize=7, ha="right")
        _finish(axes, f"L_I of {kind} codes, nats", least=-1.0)
    return render(figure)


def _evaluation_figure(
    rows: Sequence[dict[str, float]], spec: LatentSpec, title: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Accuracy and NMI of the test images, where there is a category, above L_I of fresh samples."""
    n_panels = 2 if spec.categorical else 1
    figure, panels = new_figure(7, 3.6 * n_panels, n_axes=n_panels, title=title)
    for prefix, label in (("", "InfoGAN"), ("vanilla_", "vanilla GAN")):
        for n, i in enumerate(spec.categorical):
            name, shade = spec.names[i], 4 * n + (2 if prefix else 0)
            _plot(panels[0], rows, f"{prefix}eval_accuracy_{name}", f"{label}, {name}: accuracy", f"C{shade}")
            _plot(panels[0], rows, f"{prefix}eval_nmi_{name}", f"{label}, {name}: NMI", f"C{shade + 1}")
        for n, (name, title_of_code) in enumerate(zip(spec.names, spec.titles, strict=True)):
            shade = 2 * n + (1 if prefix else 0)
            _plot(panels[-1], rows, f"{prefix}eval_mi_{name}", f"{label}, {title_of_code}", f"C{shade}")
    if spec.categorical:
        panels[0].set_ylim(0, 1)
        _finish(panels[0], "clustering of test images")
    panels[-1].axhline(0, color="0.8", linewidth=0.8)
    _finish(panels[-1], "L_I on fresh samples, nats", least=-1.0)
    return render(figure)


def _plot(axes: Any, rows: Sequence[dict[str, float]], key: str, label: str, color: str, style: str = "-") -> None:
    points = [(row["step"], row[key]) for row in rows if key in row]
    if points:
        axes.plot(*zip(*points, strict=True), label=label, color=color, linestyle=style, linewidth=1.2)


def _finish(axes: Any, y_label: str, least: float = -math.inf) -> None:
    axes.set_xlabel("step")
    is_cut = axes.get_ylim()[0] < least  # a wild start must not flatten the rest
    if is_cut:
        axes.set_ylim(bottom=least)
    axes.set_ylabel(f"{y_label} (cut at {least:g})" if is_cut else y_label)
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:  # a run of a step or two has nothing to show yet
        axes.legend(fontsize=8)
