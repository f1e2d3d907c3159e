"""Stratified codes are drawn from the prior, each by itself, and cover it evenly together."""

import pytest
import torch

from infogan import LatentSpec
from infogan.extensions.stratified import sample_stratified_codes


@pytest.mark.parametrize("n", [1, 10, 64])
def test_stratified_codes_cover_their_prior_evenly(n):
    spec = LatentSpec.parse("cat4,uniform,gaussian,circular")
    c = sample_stratified_codes(spec, n, torch.Generator().manual_seed(0))
    counts = c[:, :4].sum(0)
    assert counts.sum() == n and counts.max() - counts.min() <= 1
    shares = torch.stack([(c[:, 4] + 1) / 2, torch.special.ndtr(c[:, 5]), (c[:, 6] + 1) / 2])
    strata = (shares * n).floor().clamp(0, n - 1).sort(dim=1)
    assert torch.equal(strata.values, torch.arange(n).float().expand(3, n))
    assert n == 1 or not torch.equal(*strata.indices[:2])


def test_each_stratified_draw_is_from_the_prior_and_codes_are_independent():
    spec = LatentSpec.parse("cat4,uniform,gaussian", noise_dim=1)
    generator = torch.Generator().manual_seed(0)
    c = torch.stack([sample_stratified_codes(spec, 6, generator) for _ in range(20_000)])
    one = c[:, 0]  # six draws of four categories: two of these are drawn once more
    assert one[:, :4].mean(0) == pytest.approx(torch.full((4,), 0.25), abs=0.015)
    assert one[:, 4].var().item() == pytest.approx(1 / 3, abs=0.01)
    assert one[:, 4].quantile(torch.tensor([0.1, 0.5, 0.9])) == pytest.approx(torch.tensor([-0.8, 0, 0.8]), abs=0.03)
    assert one[:, 5].quantile(torch.tensor([0.1, 0.5, 0.9])) == pytest.approx(torch.tensor([-1.28, 0, 1.28]), abs=0.04)
    correlations = torch.corrcoef(c.flatten(0, 1).T)
    assert correlations[:4, 4:].abs().max() < 0.02 and correlations[4, 5].abs() < 0.02
    means = c.mean(dim=1)
    assert means[:, 4].var() < 0.1 / 3 / 6  # of independent draws, 1/3/6
