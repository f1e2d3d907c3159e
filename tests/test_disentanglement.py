"""The disentanglement metrics on codes of known score: ideal, permuted, rotated, duplicated, constant, random."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import scipy
import torch

import infogan
from infogan import Discriminator, Generator, LatentSpec, UserError
from infogan.data import dsprites
from infogan.data.factors import KnownFactors, sample_of_combinations
from infogan.evaluation import disentanglement as d
from infogan.evaluation import figures, known_factors, subject
from infogan.evaluation.fresh_q import FreshQ
from infogan.evaluation.report import report_tables
from infogan.evaluation.scoring import evaluate_nets
from infogan.evaluation.tables import run_tables

KNOWN = sample_of_combinations(dsprites.SIZES, frozenset({"shape"}))[1]
FACTORS = KNOWN.values.numpy()  # of 15,000 images of dSprites
ORIENTATION = 2


def given(codes, seed=0):
    return d.CodesAndFactors.checked(codes, FACTORS[: len(codes)], KNOWN.names, KNOWN.nominal, seed)


def without(*missing, seed=0, normal=False):
    """The true factors as codes, but for some that are noise."""
    rng, codes = np.random.default_rng(seed), FACTORS.astype(float)
    shape = len(codes), len(missing)
    codes[:, missing] = rng.normal(size=shape) if normal else rng.uniform(-1, 1, shape)
    return given(codes, seed)


FEW = FACTORS[:4000].astype(float)  # enough where scores are compared with each other


# All but boosted trees, which take long.
METRICS = {
    f"{name}, {protocol}": metric
    for protocol, metrics in d.PROTOCOLS.items()
    for name, metric in metrics.items()
    if metric is not d.dci_boosted
}
MIG, FACTOR_VAE = METRICS["MIG, disentanglement_lib"], METRICS["FactorVAE, disentanglement_lib"]
# (ideal, at chance) as measured; SAP predicts 32 or 40 values with one linear SVM, which not even the factor can.
KNOWN_SCORES = {
    "FactorVAE, disentanglement_lib": (1.0, 0.2),
    "BetaVAE, disentanglement_lib": (1.0, 0.2),
    "MIG, disentanglement_lib": (0.896, 0.0),
    "SAP, disentanglement_lib": (0.235, 0.0),
    "FactorVAE, InfoGAN-CR": (1.0, 0.26),
    "BetaVAE, InfoGAN-CR": (1.0, 0.25),
    "MIG, InfoGAN-CR": (0.898, 0.0),
    "DCI, InfoGAN-CR": (1.0, 0.05),
    "SAP, InfoGAN-CR": (0.931, 0.0),
}


def test_ideal_codes_have_the_ceilings_and_random_codes_the_scores_at_chance():
    assert METRICS.keys() == KNOWN_SCORES.keys()
    ideal, random = given(FACTORS), without(*range(5))
    for name, metric in METRICS.items():
        ceiling, chance = KNOWN_SCORES[name]
        assert metric(ideal) == pytest.approx(ceiling, abs=0.01), name
        assert metric(random) == pytest.approx(chance, abs=0.05), name


@pytest.mark.parametrize(("missing", "mig", "factor_vae"), [((ORIENTATION,), 0.74, 0.84), ((0, 2), 0.54, 0.69)])
def test_the_ceilings_with_factors_missing_are_reproduced(missing, mig, factor_vae):
    """Others have computed them by disentanglement_lib. What noise stands in for the code moves FactorVAE by 0.02."""
    codes = [without(*missing, seed=seed, normal=seed % 2 == 1) for seed in range(4)]
    assert np.mean([MIG(of_seed) for of_seed in codes]) == pytest.approx(mig, abs=0.01)
    assert np.mean([FACTOR_VAE(of_seed) for of_seed in codes]) == pytest.approx(factor_vae, abs=0.01)


@pytest.fixture(scope="module")
def ideal_scores():
    """The scores of the true factors of few images."""
    return {name: metric(given(FEW)) for name, metric in METRICS.items()}


def test_order_and_sign_of_codes_do_not_matter(ideal_scores):
    changed = given(-FEW[:, [3, 1, 4, 0, 2]])
    for name, metric in METRICS.items():
        # A linear SVM of many classes is not quite symmetric about 0.
        assert metric(changed) == pytest.approx(ideal_scores[name], abs=0.05 if "SAP" in name else 0.01), name


def test_rotated_codes_score_lower(ideal_scores):
    rotation = scipy.stats.special_ortho_group.rvs(5, random_state=1)
    rotated = given((FEW - FEW.mean(axis=0)) / FEW.std(axis=0) @ rotation)
    for name, metric in METRICS.items():
        assert metric(rotated) < (0.55 if "DCI" in name else 0.85 if "VAE" in name else 0.2) * ideal_scores[name], name


def test_duplicated_codes_leave_no_gap_but_stay_disentangled(ideal_scores):
    twice = given(np.concatenate([FEW, FEW], axis=1))
    for name, metric in METRICS.items():
        has_gap = "MIG" in name or "SAP" in name
        assert metric(twice) == pytest.approx(0.0 if has_gap else ideal_scores[name], abs=0.01), name


def test_constant_codes_say_nothing_and_do_no_harm(ideal_scores):
    constant = given(np.full((len(FEW), 3), 0.7))
    with_constant = given(np.concatenate([FEW, np.full((len(FEW), 1), 0.7)], axis=1))
    for name, metric in METRICS.items():
        guessed = 0.2 if "BetaVAE" in name else 0.0  # a classifier still guesses
        assert metric(constant) == pytest.approx(guessed, abs=0.05 if guessed else 1e-9), name
        assert metric(with_constant) == pytest.approx(ideal_scores[name], abs=0.01), name


def test_a_single_code_has_its_own_information_as_gap():
    assert MIG(given(FACTORS[:, [1]])) == pytest.approx(1 / 5, abs=0.01)


def test_boosted_trees_tell_ideal_codes_from_rotated_ones():
    codes, few = FACTORS[:300].astype(float), FACTORS[:300, :2]  # shape and scale have few values: quick
    rotated = (codes - codes.mean(0)) / codes.std(0) @ scipy.stats.special_ortho_group.rvs(5, random_state=0)
    ideal, turned = (d.dci_boosted(d.CodesAndFactors.checked(x, few), n_train=200) for x in (codes, rotated))
    assert ideal == pytest.approx(1.0, abs=1e-6) and turned < 0.6


def test_dci_is_an_entropy_weighted_by_importance():
    assert np.isnan(d.dci_disentanglement(np.array([[np.inf, 0.0], [0.0, 1.0]])))
    assert d.dci_disentanglement(np.zeros((2, 3))) == 0.0
    assert d.dci_disentanglement(np.array([[1.0, -1e-17], [-1e-18, 1.0]])) == pytest.approx(1.0)
    assert d.dci_disentanglement(np.array([[0.5, 0.5], [0.5, 0.5]])) == pytest.approx(0.0)
    # Half of the importance is of a code that serves one factor, half of one that serves two equally.
    assert d.dci_disentanglement(np.array([[1.0, 0.0], [0.5, 0.5]])) == pytest.approx(0.5)


def test_two_arrays_are_all_that_it_takes():
    names, codes = KNOWN.names, FACTORS + 0.1
    scores = infogan.disentanglement(codes, FACTORS, names, {"shape"}, protocol="InfoGAN-CR")
    assert list(scores) == ["FactorVAE", "BetaVAE", "MIG", "DCI", "SAP"]
    assert scores["SAP"] == pytest.approx(0.932, abs=0.01)
    # A factor of which all images have the same value is none.
    with_colour = np.concatenate([np.zeros((len(FACTORS), 1), int), FACTORS], axis=1)
    assert infogan.disentanglement(codes, with_colour, ("colour", *names), {"shape"}, "InfoGAN-CR") == scores


@pytest.mark.parametrize(
    ("codes", "factors", "options", "message"),
    [
        (FACTORS, FACTORS[:9], {}, r"codes, factors: expected arrays of shape .*, got \(15000, 5\) and \(9, 5\)"),
        (FACTORS[:, :0], FACTORS, {}, r"codes, factors: expected arrays of shape .*, got \(15000, 0\)"),
        (FACTORS * np.nan, FACTORS, {}, "codes: expected finite numbers, got NaN or infinity"),
        (FACTORS, FACTORS / 2, {}, "factors: expected the numbers of each factor's values as integers, got float64"),
        (FACTORS, FACTORS * 0, {}, "factors: expected one that varies, got none"),
        (FACTORS[:99], FACTORS[:99], {}, "factors: expected 3 or more images of each value of factor 2, got 1"),
        (FACTORS, FACTORS, {"names": ["shape"]}, "names: expected one of each of the 5 factors, got"),
        (FACTORS, FACTORS, {"protocol": "mine"}, "protocol: expected one of disentanglement_lib, InfoGAN-CR, got 'mi"),
    ],
)
def test_arrays_that_cannot_be_used_are_named(codes, factors, options, message):
    with pytest.raises(UserError, match=message):
        infogan.disentanglement(codes, factors, **options)


def test_a_category_is_one_code_and_a_continuous_code_its_mean():
    spec = LatentSpec.parse("uniform,cat3,gaussian")
    q_params = torch.randn(20, spec.q_dim, generator=torch.Generator().manual_seed(0))
    codes = known_factors.code_vectors(spec, q_params)
    assert codes.shape == (20, 3)
    assert (codes[:, 1] == infogan.posterior_categories(spec, q_params)[:, 0].numpy()).all()
    assert np.allclose(codes[:, [0, 2]], infogan.posterior_means(spec, q_params).numpy())
    only_categories = LatentSpec.parse("cat3,cat2")
    assert known_factors.code_vectors(only_categories, torch.randn(4, 5)).shape == (4, 2)


def test_a_model_is_scored_beside_ceiling_and_chance_in_tables_reports_and_a_picture(digits, monkeypatch, tmp_path):
    """The digits' factors are their class and which half of the test set they are in, of which no code can know."""
    monkeypatch.setattr(subject, "N_SWEEP_ROWS", 2)
    monkeypatch.setattr(d.beta_vae, "__defaults__", (300, 100, 64))
    values = torch.stack([digits.test_labels, torch.arange(500) // 250], dim=1)
    dataset = infogan.ImageDataset(
        "digits with factors",
        digits.images,
        digits.labels,
        digits.test_images,
        digits.test_labels,
        factors=KnownFactors(("class", "half"), values, frozenset({"class"})),
    )
    spec = LatentSpec.parse("cat3,uniform")
    torch.manual_seed(0)
    nets = Generator(spec, width=4), Discriminator(spec, width=4)
    scores = evaluate_nets(*nets, spec, dataset, None, n_samples=20, fresh_q=FreshQ(width=4, n_images=64, epochs=1))
    scores = json.loads(json.dumps(scores, allow_nan=False))
    found = scores["disentanglement"]
    assert found["factors"] == ["class", "half"] and found["n_images"] == 500
    assert list(found["mutual_information"]) == list(found["importances"]) == ["c1", "c2"]
    for protocol in d.PROTOCOLS:
        for name in d.PROTOCOLS[protocol]:
            assert 0 <= found[protocol][name]["score"] <= found[protocol][name]["ideal"] <= 1
    assert found["InfoGAN-CR"]["MIG"]["ideal"] > 0.95 > 0.05 > found["InfoGAN-CR"]["MIG"]["random"]

    tables = [table for table in run_tables({"InfoGAN": scores}) if table.title.startswith("disentanglement")]
    assert [table.title[len("disentanglement by the protocol of ") :] for table in tables] == list(d.PROTOCOLS)
    assert list(tables[0].header) == ["", "FactorVAE ↑", "BetaVAE ↑", "MIG ↑", "DCI, 1,000 images ↑", "SAP ↑"]
    assert [row[0] for row in tables[0].rows] == ["InfoGAN", "ceiling", "at chance"]
    assert tables[1].rows[1][1:] == [f"{found['InfoGAN-CR'][name]['ideal']:.3f}" for name in d.PROTOCOLS["InfoGAN-CR"]]

    evaluation = {"run": "a", "step": 1, "config": {"seed": 0}, "scored": {}, "infogan": scores}
    report = next(t for t in report_tables([evaluation], bar=0.9) if "InfoGAN-CR" in t.title)
    assert [row[0] for row in report.rows][-2:] == ["ceiling", "at chance"]

    paths = figures.draw_evaluation(evaluation, tmp_path)
    assert tmp_path / "factor_matrix.png" in paths
    assert iio.imread(tmp_path / "factor_matrix.png").shape[2] == 3


def test_data_without_factors_is_not_measured(digits):
    spec = LatentSpec.parse("cat3")
    model = subject.Subject(Generator(spec, width=4), Discriminator(spec, width=4), spec, digits)
    assert subject.FACTORS not in model.available
