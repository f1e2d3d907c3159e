"""Curves of a run, from the rows of its metrics."""

import numpy as np
import pytest

from infogan import LatentSpec
from infogan.training.curves import loss_figures


def colour_in(picture, rgb):
    return (np.abs(picture.astype(int) - rgb).sum(-1) < 90).any()


BLUE, ORANGE = (31, 119, 180), (255, 127, 14)


def test_curves_show_both_gans_where_there_are_two():
    spec = LatentSpec.parse("cat10,uniform,uniform")
    row = {"loss_d": 1.0, "loss_g": 0.8, "mi_c1": 2.0, "mi_c2": 0.5, "mi_c3": 0.4}
    rows = [{"step": step, **row} for step in (25, 50)]
    with_vanilla = [r | {f"vanilla_{name}": value / 2 for name, value in row.items()} for r in rows]
    alone = loss_figures(rows, spec, "t")
    both = loss_figures(with_vanilla, spec, "t")
    assert set(alone) == {"Generator_Loss", "Discriminator_Loss", "L1_Loss"}
    for name in alone:
        assert colour_in(alone[name], BLUE)
        assert not colour_in(alone[name], ORANGE)
        assert colour_in(both[name], ORANGE)


@pytest.mark.parametrize(
    "codes", ["cat10,uniform,uniform", "uniform", "gaussian,uniform", "cat2,cat5,cat3", "uniform,cat30"]
)
def test_curves_of_any_codes_and_of_a_run_without_rows(codes):
    figures = loss_figures([], LatentSpec.parse(codes), "t")
    assert all(not colour_in(picture, BLUE) for picture in figures.values())
