"""Adam, as a step that may be captured in a CUDA graph needs it; see `capture`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from infogan.system.runtime import is_capturing


class Adam(torch.optim.Adam):
    """torch's fused Adam, with rates that are set as shares of the full ones.

    Rates of parameters on CUDA lie there, where captured steps read them. In `state_dict` they are plain numbers, so
    that a checkpoint is the same from either device.

    Args:
        params: As torch's takes them.
        lr: The full rate of groups without one of their own.
        betas: β1 and β2.
    """

    def __init__(self, params: Iterable[Any], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, lr, betas, fused=True)
        for group in self.param_groups:
            group["full_lr"] = group["lr"]
        self._place_rates()

    def scale_rates(self, share: float) -> None:
        """Sets all learning rates to a share of the full ones."""
        for group in self.param_groups:
            rate = share * group["full_lr"]
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate

    def step_if_finite(self, totals: Iterable[Float[Tensor, ""]]) -> None:
        """Takes a step; where it is being captured, and the host cannot look, none if a total is no number."""
        totals = [*totals]
        is_captured = is_capturing(totals[0].device)
        # As where gradients are scaled: the kernels leave weights and averages alone where it is 1.
        self.found_inf = (~torch.stack(totals).isfinite()).any().float() if is_captured else None
        for group in self.param_groups:
            group["capturable"] = is_captured
        self.step()

    def state_dict(self) -> dict[str, Any]:
        """Returns averages and rates."""
        state = super().state_dict()
        for group in state["param_groups"]:
            group |= {"lr": float(group["lr"]), "capturable": False}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues as the optimizer did whose `state_dict` this is."""
        super().load_state_dict(state_dict)
        self._place_rates()

    def _place_rates(self) -> None:
        for group in self.param_groups:
            if group["params"] and (device := group["params"][0].device).type == "cuda":
                group["lr"] = torch.tensor(float(group["lr"]), device=device)
