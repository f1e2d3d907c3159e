"""How far each known factor of images has a code of its own: FactorVAE, BetaVAE, MIG, DCI and SAP, by two protocols.

All are functions of two arrays: the codes of n images, and the factors that these were drawn from. Where a protocol
draws new images that share a factor, those of the n images that share it are drawn with replacement. All scores are in
[0, 1] and better if higher. `PROTOCOLS` has them by name; docs/metrics.md has their definitions, ceilings and traps.

Axes: n images, j codes, f factors, g groups, s images or pairs of a group.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import scipy  # its parts load when they are used: that takes a second
from jaxtyping import Float, Int, Integer

from infogan.system.errors import UserError

N_MIG_BINS = 20
TRAIN_SHARE = 2 / 3  # 10,000 images to train on and 5,000 to test on, of 15,000
MIN_STD = 0.05  # of a code that FactorVAE counts: others have collapsed
# Of the trees that predict each factor of dSprites, as IB-GAN has them; InfoGAN-CR took them over.
FOREST_DEPTHS = {"shape": 4, "scale": 2, "orientation": 4, "x": 2, "y": 2}
OTHER_FOREST_DEPTH = 4


@dataclass(frozen=True, eq=False)
class CodesAndFactors:
    """The codes of images and the factors that these were drawn from, which every metric here is a function of.

    Attributes:
        codes: Real numbers; a category is one code whose values are the category's numbers.
        factors: Numbers of each factor's values; of no factor all are equal.
        names: Of the factors.
        nominal: Names of the factors whose values have no order.
        seed: Of all that is drawn.
    """

    codes: Float[np.ndarray, "n j"]
    factors: Int[np.ndarray, "n f"]
    names: tuple[str, ...]
    nominal: frozenset[str] = frozenset()
    seed: int = 0

    @classmethod
    def checked(
        cls,
        codes: np.ndarray,
        factors: np.ndarray,
        names: Sequence[str] = (),
        nominal: Collection[str] = (),
        seed: int = 0,
    ) -> CodesAndFactors:
        """Returns them as the metrics need them, without the factors of which all values are equal.

        Raises:
            UserError: Two arrays of other shapes, or with values that are not finite or not whole; too few images.
        """
        codes, factors = np.asarray(codes), np.asarray(factors)
        if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or not codes.shape[1]:
            raise UserError(
                f"codes, factors: expected arrays of shape (n, codes) and (n, factors), got {codes.shape} and "
                f"{factors.shape}"
            )
        if not np.isfinite(codes).all():
            raise UserError("codes: expected finite numbers, got NaN or infinity")
        if not np.issubdtype(factors.dtype, np.integer):
            raise UserError(f"factors: expected the numbers of each factor's values as integers, got {factors.dtype}")
        names = tuple(names) or tuple(f"factor {i}" for i in range(factors.shape[1]))
        if len(names) != factors.shape[1]:
            raise UserError(f"names: expected one of each of the {factors.shape[1]} factors, got {names}")
        varies = [i for i in range(factors.shape[1]) if len(factors) and np.ptp(factors[:, i])]
        if not varies:
            raise UserError("factors: expected one that varies, got none")
        for i in varies:
            least = np.unique(factors[:, i], return_counts=True)[1].min()
            if least < 3:
                raise UserError(f"factors: expected 3 or more images of each value of {names[i]}, got {least}")
        return cls(
            codes.astype(float),
            factors[:, varies].astype(np.int64),
            tuple(names[i] for i in varies),
            frozenset(nominal),
            seed,
        )

    @property
    def n_factors(self) -> int:
        """How many factors there are."""
        return self.factors.shape[1]

    @cached_property
    def n_train(self) -> int:
        """Images that a predictor learns from; it is tested on the others."""
        return round(TRAIN_SHARE * len(self.codes))

    def first(self, n: int) -> CodesAndFactors:
        """Returns those of the first n images."""
        return CodesAndFactors(self.codes[:n], self.factors[:n], self.names, self.nominal, self.seed)

    @cached_property
    def _sharing(self) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Of each factor the images in the order of its values, and of each image where its value starts, how often."""
        found = []
        for column in self.factors.T:
            _, value, counts = np.unique(column, return_inverse=True, return_counts=True)
            found.append((np.argsort(value, kind="stable"), (counts.cumsum() - counts)[value], counts[value]))
        return found

    def draw_sharing(self, factor: int, images: Integer[np.ndarray, "*shape"], rng: np.random.Generator) -> np.ndarray:
        """Returns for each image one that is drawn from those that have the same value of a factor."""
        order, start, count = self._sharing[factor]
        return order[start[images] + (rng.random(images.shape) * count[images]).astype(np.int64)]


Metric = Callable[[CodesAndFactors], float]


def disentanglement(
    codes: np.ndarray,
    factors: np.ndarray,
    names: Sequence[str] = (),
    nominal: Collection[str] = (),
    protocol: str = "disentanglement_lib",
    seed: int = 0,
) -> dict[str, float]:
    """Returns FactorVAE, BetaVAE, MIG, DCI and SAP of codes: each in [0, 1], better if higher.

    Args:
        codes: Of shape (n, codes), such as the means of Q. A category is one column, of the categories' numbers.
        factors: Of shape (n, factors): integers, the number of each factor's value. Of the images of `codes`, in random
            order. The protocols have 15,000.
        names: Of the factors.
        nominal: Names of those whose values have no order, such as a shape; InfoGAN-CR's SAP makes a difference.
        protocol: One of `PROTOCOLS`: `disentanglement_lib` or `InfoGAN-CR`.
        seed: Of all that is drawn.

    Raises:
        UserError: No such protocol, or arrays that cannot be used.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    given = CodesAndFactors.checked(codes, factors, names, nominal, seed)
    return {name: metric(given) for name, metric in PROTOCOLS[protocol].items()}


# FactorVAE and BetaVAE: which factor do the images of a group share?


def factor_vae(given: CodesAndFactors, n_train: int = 10_000, n_test: int = 5000, group: int = 64) -> float:
    """Returns how often the code that varies least in a group of images tells the factor that they share.

    Each group votes for a code: that with the least variance, compared with its variance over all images. Which
    factor a code stands for is the majority of the training votes. At chance somewhat more than 1 of f.

    Args:
        given: Codes and factors.
        n_train: Groups that the majority is of.
        n_test: Groups that are scored; 0 scores the training groups.
        group: Images of a group.

    Source: Kim & Mnih 2018, section 4, by the settings of disentanglement_lib: codes with a deviation under 0.05 do not
        take part.
    """
    std = given.codes.std(axis=0, ddof=1)
    # Without test groups, as InfoGAN-CR has it, all codes take part that are not constant, up to rounding errors.
    active = std >= MIN_STD if n_test else std > 1e-12 * np.abs(given.codes).max(axis=0)
    if not active.any():
        return 0.0
    codes = given.codes[:, active] / std[active]
    rng = np.random.default_rng(given.seed)

    def votes(n: int) -> Int[np.ndarray, "j f"]:
        counts = np.zeros((codes.shape[1], given.n_factors), dtype=np.int64)
        for factor, images in enumerate(_groups_sharing(given, n, group, rng)):
            voted = codes[images].var(axis=1, ddof=1).argmin(axis=1)
            counts[:, factor] = np.bincount(voted, minlength=len(counts))
        return counts

    train = votes(n_train)
    scored = votes(n_test) if n_test else train
    majority = train.argmax(axis=1)
    return float(scored[np.arange(len(scored)), majority].sum() / scored.sum())


def beta_vae(given: CodesAndFactors, n_train: int = 10_000, n_test: int = 5000, group: int = 64) -> float:
    """Returns how often a linear classifier tells the factor that pairs of images share from their codes' difference.

    Its input is the mean absolute difference of the codes over the pairs of a group. At chance 1 of f.

    Args:
        given: Codes and factors.
        n_train: Groups that the classifier, a logistic regression, learns from.
        n_test: Groups that it is tested on.
        group: Pairs of a group. Each pair shares a value of its own.

    Source: Higgins et al. 2017, appendix A.4, by the settings of disentanglement_lib.
    """
    rng = np.random.default_rng(given.seed)

    def differences(n: int) -> tuple[Float[np.ndarray, "g j"], Int[np.ndarray, " g"]]:
        inputs, targets = [], []
        for factor, n_groups in enumerate(_shared_out(n, given.n_factors, rng)):
            left = rng.integers(len(given.codes), size=(n_groups, group))
            right = given.draw_sharing(factor, left, rng)
            inputs.append(np.abs(given.codes[left] - given.codes[right]).mean(axis=1))
            targets.append(np.full(n_groups, factor))
        return np.concatenate(inputs), np.concatenate(targets)

    train, test = differences(n_train), differences(n_test)
    return _classifier_accuracy(train, test)


def beta_vae_of_groups(given: CodesAndFactors, n_groups: int = 500, group: int = 100) -> float:
    """Returns `beta_vae` as InfoGAN-CR has it: all pairs of a group share one value, and the score is of training.

    Args:
        given: Codes and factors.
        n_groups: Groups that the classifier learns from and is scored on.
        group: Images of a group; each is in one pair.

    Source: Lin et al. 2020 (InfoGAN-CR), the authors' code.
    """
    rng = np.random.default_rng(given.seed)
    inputs, targets = [], []
    for factor, images in enumerate(_groups_sharing(given, n_groups, group, rng)):
        codes = given.codes[images]
        inputs.append(np.abs(codes[:, 0::2] - codes[:, 1::2]).mean(axis=1))
        targets.append(np.full(len(images), factor))
    train = np.concatenate(inputs), np.concatenate(targets)
    return _classifier_accuracy(train, train)


def _groups_sharing(
    given: CodesAndFactors, n_groups: int, group: int, rng: np.random.Generator
) -> list[Int[np.ndarray, "g s"]]:
    """Returns for each factor groups of images that share a value of it."""
    found = []
    for factor, n in enumerate(_shared_out(n_groups, given.n_factors, rng)):
        one_each = rng.integers(len(given.codes), size=(n, 1))
        found.append(given.draw_sharing(factor, np.broadcast_to(one_each, (n, group)), rng))
    return found


def _shared_out(n: int, n_factors: int, rng: np.random.Generator) -> Int[np.ndarray, " f"]:
    """Returns how many of n groups share each factor, if each draws its factor."""
    return np.bincount(rng.integers(n_factors, size=n), minlength=n_factors)


def _classifier_accuracy(train: tuple[np.ndarray, np.ndarray], test: tuple[np.ndarray, np.ndarray]) -> float:
    if len(np.unique(train[1])) == 1:  # a single factor is told without a classifier
        return 1.0
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the protocols stop it after 100 iterations
        classifier = LogisticRegression(random_state=0).fit(*train)
    return float(classifier.score(*test))


# MIG: is there one code that knows the factor?


def normalised_mutual_information(
    codes: Float[np.ndarray, "n j"], factors: Int[np.ndarray, "n f"]
) -> Float[np.ndarray, "j f"]:
    """Returns the mutual information of each code and factor, divided by the entropy of the factor: in [0, 1].

    The range of a code is cut into 20 equally wide bins, so that a factor with more values has less than 1 with itself.
    """
    from sklearn.metrics import mutual_info_score

    binned = np.stack([np.digitize(code, np.histogram_bin_edges(code, N_MIG_BINS)[:-1]) for code in codes.T])
    information = [[mutual_info_score(factor, code) for factor in factors.T] for code in binned]
    entropies = [mutual_info_score(factor, factor) for factor in factors.T]
    return np.array(information) / np.array(entropies)


def mutual_information_gap(given: CodesAndFactors, n_images: int | None = None) -> float:
    """Returns the mean over factors of the gap between the two codes with the most information on the factor.

    0 at chance, and where two codes know the factor equally well.

    Args:
        given: Codes and factors.
        n_images: The first of the images, that are counted; all if None.

    Source: Chen et al. 2018 (β-TCVAE), section 4, by the settings of disentanglement_lib.
    """
    counted = given.first(n_images or len(given.codes))
    return _mean_gap(normalised_mutual_information(counted.codes, counted.factors))


def _mean_gap(scores: Float[np.ndarray, "j f"]) -> float:
    """Returns the mean over factors of the best code's score less that of the second; of one code its own."""
    descending = -np.sort(-np.concatenate([scores, np.zeros((1, scores.shape[1]))]), axis=0)
    return float((descending[0] - descending[1]).mean())


# SAP: is there one code that predicts the factor?


def sap(given: CodesAndFactors) -> float:
    """Returns the mean over factors of the gap between the two codes that predict the factor best, each alone.

    The predictor is a linear SVM, its score the accuracy on images that it has not seen. 0 at chance.

    Source: Kumar et al. 2018 (DIP-VAE), section 3, by the settings of disentanglement_lib, for which all factors are
        classes.
    """
    n = given.n_train
    scores = [
        [_svm_accuracy(code[:n], factor[:n], code[n:], factor[n:]) for factor in given.factors.T]
        for code in given.codes.T
    ]
    return _mean_gap(np.array(scores))


def sap_of_ordered(given: CodesAndFactors) -> float:
    """Returns `sap` as InfoGAN-CR has it: the squared correlation with a factor whose values have an order.

    Nominal factors are predicted by the SVM, which is scored on the images that it has learned from.

    Source: Kumar et al. 2018, section 3; Lin et al. 2020 (InfoGAN-CR), the authors' code.
    """
    scores = np.zeros((given.codes.shape[1], given.n_factors))
    for j, code in enumerate(given.codes.T):
        for f, (name, factor) in enumerate(zip(given.names, given.factors.T, strict=True)):
            if name in given.nominal:
                scores[j, f] = _svm_accuracy(code, factor, code, factor)
            elif np.ptp(code) > 0:
                scores[j, f] = np.corrcoef(code, factor)[0, 1] ** 2
    return _mean_gap(scores)


def _svm_accuracy(code: np.ndarray, factor: np.ndarray, test_code: np.ndarray, test_factor: np.ndarray) -> float:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        svm = LinearSVC(C=0.01, class_weight="balanced", random_state=0).fit(code[:, None], factor)
    return float(np.mean(svm.predict(test_code[:, None]) == test_factor))


# DCI: does each code serve to predict one factor alone?


def boosted_importances(given: CodesAndFactors, n_train: int = 10_000) -> Float[np.ndarray, "j f"]:
    """Returns the importance of each code to gradient-boosted trees that predict each factor; of a factor the sum is 1.

    Args:
        given: Codes and factors.
        n_train: Images that they learn from. 10,000 of dSprites take some minutes.

    Source: the settings of disentanglement_lib.
    """
    from sklearn.ensemble import GradientBoostingClassifier

    train = given.first(n_train)
    trees = [GradientBoostingClassifier(random_state=0).fit(train.codes, factor) for factor in train.factors.T]
    return np.stack([of_factor.feature_importances_ for of_factor in trees], axis=1)


def forest_importances(given: CodesAndFactors) -> Float[np.ndarray, "j f"]:
    """Returns the importance of each code to a random forest that predicts each factor as a number.

    Ten trees whose depth is `FOREST_DEPTHS`, which are of dSprites; 4 for any other factor.

    Source: Jeon et al. 2021 (IB-GAN) and Lin et al. 2020 (InfoGAN-CR), the authors' code.
    """
    from sklearn.ensemble import RandomForestRegressor

    depths = [FOREST_DEPTHS.get(name, OTHER_FOREST_DEPTH) for name in given.names]
    forests = [
        RandomForestRegressor(10, max_depth=depth, random_state=0).fit(given.codes, factor)
        for depth, factor in zip(depths, given.factors.T, strict=True)
    ]
    return np.stack([forest.feature_importances_ for forest in forests], axis=1)


def dci_disentanglement(importances: Float[np.ndarray, "j f"]) -> float:
    """Returns DCI's disentanglement: 1 less the entropy of each code's importances, base f, weighted by their sum.

    1 if each code serves to predict one factor; 0 at chance, and if no code serves to predict any. NaN if trees have
    diverged, as boosted ones may on a few hundred images.

    Source: Eastwood & Williams 2018, section 2.
    """
    importances = np.maximum(importances, 0)  # boosted trees have some that are below it by a rounding error
    total = importances.sum()
    if not np.isfinite(total):
        return float("nan")
    if total == 0:
        return 0.0
    if importances.shape[1] == 1:  # with a single factor no code can serve another
        return 1.0
    of_code = importances.sum(axis=1)
    used = of_code > 1e-12 * total  # less is rounding error, whose shares overflow
    entropies = scipy.stats.entropy(importances[used], axis=1, base=importances.shape[1])
    return float(((1 - entropies) * of_code[used] / total).sum())


def dci_boosted(given: CodesAndFactors, n_train: int = 10_000) -> float:
    """Returns `dci_disentanglement` by `boosted_importances`."""
    return dci_disentanglement(boosted_importances(given, n_train))


def dci_forest(given: CodesAndFactors) -> float:
    """Returns `dci_disentanglement` by `forest_importances`."""
    return dci_disentanglement(forest_importances(given))


PROTOCOLS: dict[str, dict[str, Metric]] = {
    "disentanglement_lib": {
        "FactorVAE": factor_vae,
        "BetaVAE": beta_vae,
        "MIG": partial(mutual_information_gap, n_images=10_000),
        "DCI": dci_boosted,
        "SAP": sap,
    },
    "InfoGAN-CR": {
        "FactorVAE": partial(factor_vae, n_train=500, n_test=0, group=100),
        "BetaVAE": beta_vae_of_groups,
        "MIG": mutual_information_gap,
        "DCI": dci_forest,
        "SAP": sap_of_ordered,
    },
}
