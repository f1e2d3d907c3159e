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
from infogan.evaluation import clustering, information, noise, factors, sweeps, image_factors, quality, inception  # noqa: F401, I001

__all__ = ["Subject", "register_metric"]
