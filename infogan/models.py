"""The nets: a generator, and a discriminator whose trunk feeds two heads, D(x) and Q(c|x).

They are the paper's nets for MNIST (appendix C.1, table 1) at `width` 64. Every width scales with `width`,
and the two outer layers with the image, so that images of any size and number of channels fit.

    G: [z, c] -> FC 16w -> FC (h/4·w/4·2w) -> 4×4 upconv w -> 4×4 upconv channels -> tanh     (ReLU, BatchNorm)
    D: x -> 4×4 conv w -> 4×4 conv 2w -> FC 16w = features -> d_head: FC 1                (lReLU, BatchNorm)
                                                           -> q_head: FC 2w -> FC q

`CandidateQ` is another q_head, for categories that are also learned from real images.

Axes: n batch, c h w image, z noise, q columns of Q's output. Images are NCHW in [-1, 1].
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from infogan.errors import UserError
from infogan.spec import LatentSpec

ImageShape = tuple[int, int, int]  # channels, height, width in pixels
MIN_SIDE_PX = 8
LEAK = 0.1  # "lReLU rate 0.1" (appendix C); the authors' code has 0.01.


class Generator(nn.Module):
    """G(z, c): an image from noise and codes."""

    def __init__(self, spec: LatentSpec, image_shape: ImageShape = (1, 28, 28), width: int = 64) -> None:
        super().__init__()
        _check_image_shape(image_shape)
        channels, self.height, self.width_px = image_shape
        # Two doublings make the next multiple of 4; a side that is none is cropped at the end.
        self.seed_height, self.seed_width = -(-self.height // 4), -(-self.width_px // 4)
        seed = self.seed_height * self.seed_width * 2 * width
        self.project = nn.Sequential(
            nn.Linear(spec.noise_dim + spec.c_dim, 16 * width, bias=False),
            nn.BatchNorm1d(16 * width),
            nn.ReLU(inplace=True),
            nn.Linear(16 * width, seed, bias=False),
            nn.BatchNorm1d(seed),
            nn.ReLU(inplace=True),
        )
        self.draw = nn.Sequential(
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(width, channels, 4, stride=2, padding=1),
            nn.Tanh(),
        )
        self.apply(_initialise)

    def forward(self, z: Float[Tensor, "n z"], c: Float[Tensor, "n c"]) -> Float[Tensor, "n ch h w"]:
        """Returns images, NCHW in [-1, 1]."""
        seed = self.project(torch.cat([z, c], dim=1))
        # Channels last, so that the convolutions need no copy.
        seed = seed.view(len(seed), self.seed_height, self.seed_width, -1).permute(0, 3, 1, 2)
        return self.draw(seed)[:, :, : self.height, : self.width_px]


class Discriminator(nn.Module):
    """D and Q on one trunk: `d_head(trunk(x))` is D's logit, `q_head(trunk(x))` the parameters of Q(c|x).

    Args:
        spec: the latents.
        image_shape: of x.
        width: w.
        n_candidates: if not 0, q_head is a `CandidateQ` with so many candidates.
        n_overclusters: classes of its over-clustering head.
    """

    def __init__(
        self,
        spec: LatentSpec,
        image_shape: ImageShape = (1, 28, 28),
        width: int = 64,
        n_candidates: int = 0,
        n_overclusters: int = 0,
    ) -> None:
        super().__init__()
        _check_image_shape(image_shape)
        channels, height, width_px = image_shape
        n_features = 16 * width
        self.trunk = nn.Sequential(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            nn.LeakyReLU(LEAK, inplace=True),
            _FlattenChannelsLast(),
            nn.Linear((height // 4) * (width_px // 4) * 2 * width, n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        self.d_head = nn.Sequential(nn.Linear(n_features, 1), nn.Flatten(0))
        if n_candidates:
            self.q_head = CandidateQ(spec, n_features, 2 * width, n_candidates, n_overclusters)
        else:
            self.q_head = _hidden_layer_head(n_features, 2 * width, spec.q_dim)
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n q"]]:
        """Returns D's logits and the parameters of Q(c|x) of images in [-1, 1]."""
        features = self.trunk(x)
        return self.d_head(features), self.q_head(features)


def _hidden_layer_head(n_features: int, n_hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_features, n_hidden, bias=False),
        nn.BatchNorm1d(n_hidden),
        nn.LeakyReLU(LEAK, inplace=True),
        nn.Linear(n_hidden, n_outputs),
    )


class CandidateQ(nn.Module):
    """A q_head with several candidates for each categorical code, of which the best so far speaks for Q.

    Candidates are linear on the trunk's features: where they learn from real images too (`losses.information`), that
    is several times faster than through a hidden layer. They differ by their random start alone, and a few of them
    put two kinds of images into one category for good. Continuous codes have the paper's hidden layer.

    Args:
        spec: the latents.
        n_features: of the trunk.
        n_hidden: of the hidden layer.
        n_candidates: for each categorical code.
        n_overclusters: classes of one more linear head, which is no part of Q's output; 0 for none.

    Attributes:
        candidates: for each categorical code a linear map to the logits of all its candidates.
        overclusters: the logits of the finer classes.
        scores: for each categorical code and candidate, how good it has been; the first of the best is Q's.
        overclusters_joint: as `joints`, of the finer classes.
    """

    scores: Float[Tensor, "categorical candidates"]
    overclusters_joint: Float[Tensor, "1 k k"]

    def __init__(
        self, spec: LatentSpec, n_features: int, n_hidden: int, n_candidates: int, n_overclusters: int
    ) -> None:
        super().__init__()
        self.spec, self.n_candidates = spec, n_candidates
        sizes = [spec.codes[i].dim for i in spec.categorical]
        self.candidates = nn.ModuleList([nn.Linear(n_features, n_candidates * size) for size in sizes])
        self.overclusters = nn.Linear(n_features, n_overclusters) if n_overclusters else None
        n_continuous = spec.q_dim - sum(sizes)
        self.continuous = _hidden_layer_head(n_features, n_hidden, n_continuous) if n_continuous else None
        self.register_buffer("scores", torch.zeros(len(sizes), n_candidates))
        for i, size in enumerate(sizes):
            self.register_buffer(f"joint_{i}", torch.full((n_candidates, size, size), size**-2.0))
        if n_overclusters:
            uniform = torch.full((1, n_overclusters, n_overclusters), n_overclusters**-2.0)
            self.register_buffer("overclusters_joint", uniform)

    @property
    def joints(self) -> list[Float[Tensor, "m k k"]]:
        """For each categorical code, the joint distributions of its candidates' categories of images and copies."""
        return [self.get_buffer(f"joint_{i}") for i in range(len(self.candidates))]

    def candidate_logits(self, features: Float[Tensor, "n features"]) -> list[Float[Tensor, "n m _"]]:
        """Returns the logits of all m candidates of each categorical code."""
        return [head(features).unflatten(1, (self.n_candidates, -1)) for head in self.candidates]

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n q"]:
        """Returns the parameters of Q(c|x), by the best candidate of each categorical code."""
        best = self.scores.argmax(dim=1, keepdim=True)
        candidates = zip(self.candidate_logits(features), best, strict=True)
        params = {
            i: logits.index_select(1, chosen).squeeze(1)
            for i, (logits, chosen) in zip(self.spec.categorical, candidates, strict=True)
        }
        if self.continuous is not None:
            params |= zip(
                self.spec.continuous, self.continuous(features).chunk(len(self.spec.continuous), dim=1), strict=True
            )
        return torch.cat([params[i] for i in range(len(self.spec.codes))], dim=1)


class _FlattenChannelsLast(nn.Module):
    """Flattens to (n, h·w·c): for a tensor that lies channels-last in memory this is free."""

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        return x.permute(0, 2, 3, 1).flatten(1)


def _initialise(module: nn.Module) -> None:
    """N(0, 0.02) weights, N(1, 0.02) BatchNorm gains and zero biases, as in the authors' code."""
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)


def _check_image_shape(image_shape: ImageShape) -> None:
    channels, height, width_px = image_shape
    if channels < 1 or height < MIN_SIDE_PX or width_px < MIN_SIDE_PX:
        raise UserError(
            f"image_shape: expected (channels >= 1, height >= {MIN_SIDE_PX}, width >= {MIN_SIDE_PX}), "
            f"got {tuple(image_shape)}"
        )
