import math

import pytest

from infogan import Categorical, Gaussian, LatentSpec, Uniform, UserError
from infogan.config.spec import Circular


def test_paper_spec_has_the_paper_s_sizes_and_entropies():
    spec = LatentSpec.parse("cat10,uniform,uniform", noise_dim=62)
    assert spec.codes == (Categorical(10), Uniform(), Uniform())
    assert spec.names == ("c1", "c2", "c3")
    assert spec.noise_dim + spec.c_dim == 74  # the paper's total for MNIST
    assert spec.entropies_nats == pytest.approx((math.log(10), math.log(2), math.log(2)))
    assert spec.c_slices == (slice(0, 10), slice(10, 11), slice(11, 12))
    assert spec.q_slices == (slice(0, 10), slice(10, 12), slice(12, 14))


def test_a_fixed_deviation_needs_one_output_per_continuous_code():
    spec = LatentSpec.parse("uniform,cat3,gaussian", q_std=0.5)
    assert spec.q_slices == (slice(0, 1), slice(1, 4), slice(4, 5))
    assert spec.q_dim == 5
    assert spec.categorical == (1,)
    assert spec.continuous == (0, 2)


def test_entropy_of_a_standard_normal():
    assert Gaussian().entropy_nats == pytest.approx(1.4189385, abs=1e-6)


@pytest.mark.parametrize(
    ("code", "q_std", "at_chance", "most"),
    [
        ("cat10", 1.0, 0.0, math.log(10)),
        ("uniform", 1.0, math.log(2) - 0.5 * math.log(2 * math.pi) - 1 / 6, -0.2258),
        ("uniform", None, 0.5 * math.log(6 / (math.pi * math.e)), math.inf),
        ("gaussian", 1.0, 0.0, 0.5),
        ("gaussian", 0.5, math.log(2) + 0.5 - 2, math.log(2) + 0.5),
        ("gaussian", None, 0.0, math.inf),
        ("circular", 1.0, -math.log(1.2660659), 1 - math.log(1.2660659)),  # I_0(1)
        ("circular", 0.001, -1e6 + 7.8267, 7.8267),  # ln(sqrt(2 pi) / 0.001), that of a narrow Gaussian
        ("circular", None, 0.0, math.inf),
    ],
)
def test_what_the_bound_is_at_chance_and_at_most(code, q_std, at_chance, most):
    assert LatentSpec.parse(code, q_std=q_std).mi_ranges_nats == (pytest.approx((at_chance, most), abs=1e-4),)


def test_a_spec_reads_what_it_writes():
    text = "cat3,gaussian,slant,cat12,uniform,gaussian:shift-x,circular,circular:hue,circular:rotation/4"
    assert str(LatentSpec.parse(text)) == text
    assert LatentSpec.parse(text).circular == (6, 7, 8)
    assert str(LatentSpec.parse("circular:rotation/1")) == "circular:rotation"
    assert LatentSpec.parse("circular:rotation/4").codes == (Circular("rotation", 4),)
    assert LatentSpec.parse("uniform:slant") == LatentSpec.parse("slant") == LatentSpec((Uniform("slant"),))


def test_a_named_code_has_its_prior_s_entropy_and_its_name_in_titles():
    spec = LatentSpec.parse("cat10,uniform,slant,gaussian:width,circular:rotation", noise_dim=5)
    assert spec.named == ((2, "slant"), (3, "width"), (4, "rotation"))
    assert spec.names == ("c1", "c2", "c3", "c4", "c5")
    assert spec.titles == ("c1", "c2", "c3 (slant)", "c4 (width)", "c5 (rotation)")
    free = LatentSpec.parse("cat10,uniform,uniform,gaussian,circular", noise_dim=5)
    assert spec.freed() == free and free.freed() == free
    assert (spec.entropies_nats, spec.mi_ranges_nats) == (free.entropies_nats, free.mi_ranges_nats)


@pytest.mark.parametrize(
    "codes",
    [
        "",
        "cat",
        "cat1",
        "cat-3",
        "cat10,,uniform",
        "normal",
        "cat10;uniform",
        "cat3:slant",
        "uniform:",
        "slant:uniform",
        "uniform:lean",
    ],
)
def test_codes_that_are_none_are_refused_by_name(codes):
    with pytest.raises(UserError, match=r"^codes: "):
        LatentSpec.parse(codes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_dim": 0}, "noise-dim: expected 1 to 10,000, got 0"),
        ({"noise": "cauchy"}, "noise: expected normal or uniform, got 'cauchy'"),
        ({"q_std": 0.0}, "q-std: expected 0.001 to 1,000, or learned, got 0.0"),
        ({"q_std": math.nan}, "q-std: expected 0.001 to 1,000"),
    ],
)
def test_other_fields_are_checked(changes, message):
    with pytest.raises(UserError, match=message):
        LatentSpec((Categorical(10),), **changes)


def test_a_code_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="--factor: expected one of c1, c2, got 'c3'"):
        LatentSpec.parse("cat10,uniform").index("c3", "--factor")


@pytest.mark.parametrize("order", [0, 101, 1_000_000])
def test_an_order_of_symmetry_has_a_range(order):
    with pytest.raises(UserError, match=f"codes: expected an order of symmetry from 1 to 100, got {order}"):
        LatentSpec.parse(f"circular:rotation/{order}")


@pytest.mark.parametrize("codes", ["circular:rotation/x", "circular:rotation/04", "circular/4", "uniform:rotation/4"])
def test_what_is_no_order_of_symmetry_is_no_code(codes):
    with pytest.raises(UserError, match="codes: expected a comma-separated list"):
        LatentSpec.parse(codes)


def test_a_free_angle_has_no_order():
    with pytest.raises(UserError, match="expected an order of symmetry of a code that is named"):
        Circular(None, 4)
