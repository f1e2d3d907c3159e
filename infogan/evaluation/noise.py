"""Whether G uses its noise: how much an image changes with z, and with c, while the other is held."""

from __future__ import annotations

from infogan.evaluation.registry import register_metric
from infogan.evaluation.sampling import generate_images
from infogan.evaluation.subject import Subject


@register_metric(
    label="share of the noise",
    name="noise_share",
    table="noise and codes",
    place=("noise", "share"),
    range=(0, 1),
    at_chance=None,
    higher_is_better=None,
)
def noise_share(subject: Subject) -> float | None:
    """Returns the squared change of pixels with z at a held c, as a share of it and of that with c at a held z.

    0: the noise is ignored, and c alone decides what is drawn; 1: the codes are. None if nothing changes.
    """
    (z, c), (other_z, other_c) = subject.noise_latents
    images = generate_images(subject.generator, z, c, "use of noise").float()
    with_z, with_c = (
        float((generate_images(subject.generator, *latents, "use of noise").float() - images).square().mean())
        for latents in ((other_z, c), (z, other_c))
    )
    return with_z / (with_z + with_c) if with_z + with_c > 0 else None
