"""What an extension is: a part that the paper does not have, and the places where it may take part."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any

from jaxtyping import UInt8
from torch import Tensor, nn

from infogan.config.train_config import TrainConfig
from infogan.data.augment import Augmentation
from infogan.data.batches import UpdateBatch
from infogan.losses import Terms
from infogan.models import Discriminator, MakeHead


class Extension:
    """Does nothing: each method is a place where a subclass may take part.

    Args:
        config: The run.

    Attributes:
        needs_views: Whether it learns from augmented views of the real images.
    """

    needs_views = False

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.spec = config, config.spec

    @classmethod
    def applies(cls, config: TrainConfig) -> bool:
        """Returns whether the configuration asks for it, and has what it works on."""
        raise NotImplementedError

    def heads(self) -> dict[str, MakeHead]:
        """Returns other heads than the paper's: `d_head`, `q_head`, as `models.build` takes them."""
        return {}

    def attach(self, discriminator: Discriminator) -> None:
        """Takes hold of the net that it works on, which has the heads of all extensions."""
        self.discriminator = discriminator

    def leave(self, discriminator: Discriminator) -> None:
        """Takes no part in this net, which has the same weights: the vanilla GAN's."""

    def start_run(self, images: UInt8[Tensor, "n ch h w"], augmentation: Augmentation) -> None:
        """Looks at the training images, and at how their views will differ from them, before the first step."""

    def state_dict(self) -> dict[str, Any]:
        """Returns what it knows from `start_run`, as tensors: a resumed run goes on with that."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what the extension knew whose `state_dict` this is.

        Raises:
            ValueError: It does not fit.
        """

    def start_step(self, step: int) -> Iterable[nn.Parameter]:
        """Follows its schedule to a step, counted from 0; returns weights that it set anew, for Adam to start over."""
        return ()

    def phase(self) -> Hashable | None:
        """Returns where its schedule is, as far as the operations of a step depend on that; see `training.capture`.

        None says that its operations cannot be captured.
        """
        return ()

    def mi_scale(self, position: int) -> float:
        """Returns the share of λ_i that is in force for the code at this position."""
        return 1.0

    def d_terms(self, batch: UpdateBatch) -> Terms:
        """Returns what the update of D minimises besides."""
        return {}

    def g_terms(self, batch: UpdateBatch) -> Terms:
        """Returns what the update of G minimises besides."""
        return {}

    def events(self) -> dict[int, str]:
        """Returns what its schedule does at which step, for the curves."""
        return {}

    def warning(self) -> str | None:
        """Returns what a user should know before such a run is trained; None for nothing."""
        return None
