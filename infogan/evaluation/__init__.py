"""What a run learned, in numbers: metrics by name, what each needs, and reports over seeds.

A metric is one function, registered with its label, range, value at chance and direction:

    from infogan.evaluation import register_metric

    @register_metric(label="mean brightness", range=(0, 1), at_chance=None, higher_is_better=True)
    def brightness(subject):
        return subject.samples.images.float().mean() / 255

It is then in every evaluation.json, in the tables of a run, and in the report over seeds.
"""

from infogan.evaluation.registry import register_metric
from infogan.evaluation.subject import Subject

# isort: split
# Each registers its metrics, in the order in which tables show them.
from infogan.evaluation import (  # isort: skip
    clustering,  # noqa: F401
    information,  # noqa: F401
    noise,  # noqa: F401
    factors,  # noqa: F401
    sweeps,  # noqa: F401
    image_factors,  # noqa: F401
    quality,  # noqa: F401
    image_features,  # noqa: F401
    mode_coverage,  # noqa: F401
    known_factors,  # noqa: F401
    inception,  # noqa: F401
)

__all__ = ["Subject", "register_metric"]
