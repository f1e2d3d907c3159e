"""Pictures of an evaluation: confusion matrices, and heat maps of what each code controls or knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from infogan.auxiliary import category_labels, default_style, in_order_of_digits, new_figure, render, save_png
from infogan.evaluation.tables import MODELS, class_names, code_title


def draw_evaluation(evaluation: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `confusion.png`, `factors.png` and `factor_matrix.png`, and those of the vanilla GAN; returns their paths.

    Each only if it was measured.
    """
    paths = []
    for model, label in MODELS.items():
        if model not in evaluation:
            continue
        scores, suffix = evaluation[model], "" if model == "infogan" else f"_{model}"
        title = f"{evaluation['run']}, step {evaluation['step']}, {label}"
        if scores.get("clustering"):
            picture = confusion_figure(scores["clustering"], title, class_names(evaluation))
            paths.append(save_png(picture, folder / f"confusion{suffix}.png"))
        if (factors := scores.get("factors") or scores.get("image_factors")) and factors["samples"]:
            images = evaluation["scored"].get("images", "test images")
            panels = {
                images: _titled(factors["test_images"], scores),
                "samples": _titled(factors["samples"], scores),
            }
            picture = factors_figure(panels, factors["attributes"], title)
            paths.append(save_png(picture, folder / f"factors{suffix}.png"))
        if "disentanglement" in scores:
            found = scores["disentanglement"]
            matrices = {key: _titled(found[key], scores) for key in ("mutual_information", "importances")}
            picture = factor_matrix_figure({**found, **matrices}, title)
            paths.append(save_png(picture, folder / f"factor_matrix{suffix}.png"))
    return paths


def _titled(by_code: dict[str, Any], scores: dict[str, Any]) -> dict[str, Any]:
    return {code_title(name, scores): values for name, values in by_code.items()}


@default_style()
def confusion_figure(
    clusterings: dict[str, dict[str, Any]], title: str, class_names: Sequence[str] = ()
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns the images of each category and class, for each categorical code a panel.

    The categories are in the order of the classes that they are matched to, so that what agrees is on the diagonal;
    those without a match come last. The shade is the share of the class that falls into the category.

    Args:
        clusterings: By the code's name; of each `confusion`, `code_to_digit` and `accuracy`.
        title: Above.
        class_names: Of the classes; numbers without.
    """
    n_rows = max(len(clustering["confusion"]) for clustering in clusterings.values())
    figure, panels = new_figure(7, 0.3 + len(clusterings) * (1.3 + 0.36 * n_rows), n_axes=len(clusterings), title=title)
    for axes, (name, clustering) in zip(panels, clusterings.items(), strict=True):
        matched = clustering["code_to_digit"]
        order = in_order_of_digits(matched)
        counts = np.asarray(clustering["confusion"])[order]
        shares = counts / counts.sum(axis=0).clip(min=1)
        texts = [[str(count) if count else "" for count in row] for row in counts.tolist()]
        columns = class_names or [str(k) for k in range(counts.shape[1])]
        rows = category_labels(matched, order, class_names)
        _draw_matrix(axes, shares, texts, rows, columns, "Blues", (0, 1))
        if max(map(len, columns)) > 2:
            axes.tick_params(axis="x", rotation=30)
        axes.set_title(f"accuracy {clustering['accuracy']:.3f}", fontsize=11)
        axes.set_xlabel("class of the test image")
        axes.set_ylabel(f"category of {name} → class")
    return render(figure)


@default_style()
def factors_figure(
    panels: dict[str, dict[str, list[float | None]]], attributes: Sequence[str], title: str
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns heat maps of the partial correlations of codes (rows) with attributes (columns).

    Args:
        panels: By what was measured, by the code's name; None where there is no correlation.
        attributes: Names of the columns.
        title: Above.
    """
    described = {f"partial correlation, {where}": table for where, table in panels.items()}
    return _heat_maps(described, attributes, "RdBu_r", (-1, 1), title)


@default_style()
def factor_matrix_figure(disentanglement: dict[str, Any], title: str) -> UInt8[np.ndarray, "height width 3"]:
    """Returns heat maps of codes (rows) against known factors (columns): what a code knows, and what it serves for.

    Args:
        disentanglement: Scores of a model; see `known_factors`.
        title: Above.
    """
    panels = {
        "mutual information / entropy of the factor": disentanglement["mutual_information"],
        "importance to forests that predict the factor": disentanglement["importances"],
    }
    if correlations := disentanglement.get("partial_correlations"):
        panels["|partial correlation|, controlled for the other codes"] = {
            code: [None if r is None else abs(r) for r in row] for code, row in correlations.items()
        }
    return _heat_maps(panels, disentanglement["factors"], "Blues", (0, 1), title)


def _heat_maps(
    panels: dict[str, dict[str, list[float | None]]],
    columns: Sequence[str],
    colours: str,
    limits: tuple[float, float],
    title: str,
) -> UInt8[np.ndarray, "height width 3"]:
    n_rows = sum(len(table) for table in panels.values())
    width = max(7, 0.9 * len(columns))
    figure, all_axes = new_figure(width, 0.3 + 1.1 * len(panels) + 0.45 * n_rows, n_axes=len(panels), title=title)
    for axes, (what, table) in zip(all_axes, panels.items(), strict=True):
        values = np.array([[np.nan if r is None else r for r in row] for row in table.values()])
        texts = [["-" if np.isnan(r) else f"{r:.2f}" for r in row] for row in values]
        _draw_matrix(axes, values, texts, list(table), columns, colours, limits)
        axes.set_title(what, fontsize=11)
    return render(figure)


def _draw_matrix(
    axes: Any,
    values: Float[np.ndarray, "rows columns"],
    texts: Sequence[Sequence[str]],
    rows: Sequence[str],
    columns: Sequence[str],
    colours: str,
    limits: tuple[float, float],
) -> None:
    axes.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0, labelsize=9)
    for y, line in enumerate(texts):
        for x, text in enumerate(line):
            dark = abs(values[y, x]) > 0.6 * limits[1]  # False for NaN
            axes.text(x, y, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
