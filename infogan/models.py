"""The nets: a generator, and a discriminator whose trunk feeds two heads, D(x) and Q(c|x).

They are the paper's nets for MNIST (appendix C.1, table 1) at `width` 64. Every width scales with `width`,
and the two outer layers with the image, so that images of any size and number of channels fit.

    G: [z, c] -> FC 16w -> FC (h/4·w/4·2w) -> 4×4 upconv w -> 4×4 upconv channels -> tanh     (ReLU, BatchNorm)
    D: x -> 4×4 conv w -> 4×4 conv 2w -> FC 16w = features -> d_head: FC 1                (lReLU, BatchNorm)
                                                           -> q_head: FC 2w -> FC q

`OverclusteredQ` is another q_head, for categories that are also learned from real images, and `ProjectionHead` another
d_head, which makes use of them.

Axes: n batch, c h w image, z noise, q columns of Q's output. Images are NCHW in [-1, 1].
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import one_hot

from infogan.config.spec import LatentSpec
from infogan.extensions.overclusters import best_grouping
from infogan.system.errors import UserError

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
    """D and Q on one trunk: `d_logits(trunk(x))` are D's logits, `q_head(trunk(x))` the parameters of Q(c|x).

    Args:
        spec: the latents.
        image_shape: of x.
        width: w.
        n_overclusters: if not 0, q_head is an `OverclusteredQ` with so many classes in a head.
        n_overcluster_heads: its heads for each categorical code.
        d_by_category: whether d_head is a `ProjectionHead`; needs an `OverclusteredQ`.
    """

    def __init__(
        self,
        spec: LatentSpec,
        image_shape: ImageShape = (1, 28, 28),
        width: int = 64,
        n_overclusters: int = 0,
        n_overcluster_heads: int = 1,
        d_by_category: bool = False,
    ) -> None:
        super().__init__()
        _check_image_shape(image_shape)
        channels, height, width_px = image_shape
        n_features = 16 * width
        self.trunk = Trunk(
            nn.Conv2d(channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(2 * width),
            _FlattenChannelsLast(),  # before the leak, whose gradient is slow where two memory layouts meet
            nn.LeakyReLU(LEAK, inplace=True),
            nn.Linear((height // 4) * (width_px // 4) * 2 * width, n_features, bias=False),
            nn.BatchNorm1d(n_features),
            nn.LeakyReLU(LEAK, inplace=True),
        )
        if d_by_category:
            self.d_head = ProjectionHead(n_features, sum(spec.codes[i].dim for i in spec.categorical))
        else:
            self.d_head = nn.Sequential(nn.Linear(n_features, 1), nn.Flatten(0))
        if n_overclusters:
            self.q_head = OverclusteredQ(spec, n_features, 2 * width, n_overclusters, n_overcluster_heads)
        else:
            self.q_head = _hidden_layer_head(n_features, 2 * width, spec.q_dim)
        self.apply(_initialise)

    def forward(self, x: Float[Tensor, "n ch h w"]) -> tuple[Float[Tensor, " n"], Float[Tensor, "n q"]]:
        """Returns D's logits and the parameters of Q(c|x) of images in [-1, 1]."""
        features = self.trunk(x)
        return self.d_logits(features), self.q_head(features)

    def d_logits(self, features: Float[Tensor, "n features"], by_category: bool = True) -> Float[Tensor, " n"]:
        """Returns D's logits.

        Args:
            features: of the trunk.
            by_category: whether what D has learned of each category takes part, where it has learned such.
        """
        if isinstance(self.d_head, ProjectionHead) and by_category:
            assert isinstance(self.q_head, OverclusteredQ)
            with torch.no_grad():  # Q's answer is taken as it is: no image shall change its category to please D
                categories = [logits.softmax(dim=1) for logits in self.q_head.category_logits(features)]
            return self.d_head(features, torch.cat(categories, dim=1))
        return self.d_head(features)


class Trunk(nn.Sequential):
    """The layers that D and Q share, in order."""

    def forward(self, x: Float[Tensor, "n ch h w"]) -> Float[Tensor, "n features"]:
        """Returns the features of images in [-1, 1]."""
        return self.each(x)[0]

    def each(self, *batches: Float[Tensor, "_ ch h w"]) -> list[Float[Tensor, "_ features"]]:
        """Returns the features of each batch, as if it had passed alone: BatchNorm mixes no two of them.

        The linear layers take all batches at once. The gradient of their weights, a product over so few images, takes
        as long to write as to compute: once costs little more for three batches than for one.
        """
        sizes = [len(batch) for batch in batches]
        # As the last layers of G and the flattening here have it: convolutions are slower where two layouts meet.
        parts = [batch.to(memory_format=torch.channels_last) for batch in batches]
        for layer in self:
            if isinstance(layer, nn.Linear):
                parts = [*layer(torch.cat(parts)).split(sizes)]
            else:
                parts = [layer(part) for part in parts]
        return parts


class ProjectionHead(nn.Module):
    """A d_head whose logit has a part for each category: w·f + b + Σ_k p_k v_k·f, of features f and categories p.

    One linear function of the features sees what is wrong with all images, but hardly what is wrong with one kind.
    This is the projection discriminator (Miyato & Koyama 2018, arXiv 1802.05637), with Q's categories for labels.

    Args:
        n_features: of the trunk.
        n_categories: of all codes together.
    """

    def __init__(self, n_features: int, n_categories: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, 1)
        self.by_category = nn.Parameter(torch.zeros(n_categories, n_features))

    def forward(
        self, features: Float[Tensor, "n features"], categories: Float[Tensor, "n k"] | None = None
    ) -> Float[Tensor, " n"]:
        logits = self.linear(features)[:, 0]
        if categories is not None:
            logits = logits + (categories * (features @ self.by_category.T)).sum(dim=1)
        return logits


def _hidden_layer_head(n_features: int, n_hidden: int, n_outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_features, n_hidden, bias=False),
        nn.BatchNorm1d(n_hidden),
        nn.LeakyReLU(LEAK, inplace=True),
        nn.Linear(n_hidden, n_outputs),
    )


class OverclusteredQ(nn.Module):
    """A q_head whose categories start as groups of finer classes.

    Categories and classes are linear on the trunk's features: where they learn from real images too
    (`losses.information`), that is several times faster than through a hidden layer. Ten categories that start at
    random put two kinds of images into one for good more often than not; 50 classes seldom do. So classes learn
    first, in several heads that differ by their random start, and each category then starts as the mean of the classes
    of one group. Continuous codes have the paper's hidden layer.

    Args:
        spec: the latents, a categorical code among them.
        n_features: of the trunk.
        n_hidden: of the hidden layer.
        n_classes: of each head; at least as many as any code has categories.
        n_heads: for each categorical code.

    Attributes:
        categories: the logits of all codes' categories.
        classes: the logits of all heads' classes; they have no use after `settle`.
        class_joints: running averages of the joint distributions of the classes of images and copies.
    """

    class_joints: Float[Tensor, "categorical heads k k"]

    def __init__(self, spec: LatentSpec, n_features: int, n_hidden: int, n_classes: int, n_heads: int) -> None:
        super().__init__()
        self.spec, self.n_classes, self.n_heads = spec, n_classes, n_heads
        self.sizes = [spec.codes[i].dim for i in spec.categorical]
        n_codes = len(self.sizes)
        self.categories = nn.Linear(n_features, sum(self.sizes))
        self.classes = nn.Linear(n_features, n_codes * n_heads * n_classes)
        n_continuous = spec.q_dim - sum(self.sizes)
        self.continuous = _hidden_layer_head(n_features, n_hidden, n_continuous) if n_continuous else None
        self.register_buffer("class_joints", torch.full((n_codes, n_heads, n_classes, n_classes), n_classes**-2.0))
        for i, size in enumerate(self.sizes):
            self.register_buffer(f"category_joint_{i}", torch.full((size, size), size**-2.0))

    @property
    def category_joints(self) -> list[Float[Tensor, "g g"]]:
        """For each categorical code, a running average of the joint distribution of its categories."""
        return [self.get_buffer(f"category_joint_{i}") for i in range(len(self.sizes))]

    def class_logits(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n categorical heads k"]:
        """Returns the logits of all heads' classes."""
        return self.classes(features).unflatten(1, (-1, self.n_heads, self.n_classes))

    def category_logits(self, features: Float[Tensor, "n features"]) -> list[Float[Tensor, "n g"]]:
        """Returns the logits of each code's categories."""
        return [*self.categories(features).split(self.sizes, dim=1)]

    def forward(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n q"]:
        """Returns the parameters of Q(c|x)."""
        params = dict(zip(self.spec.categorical, self.category_logits(features), strict=True))
        if self.continuous is not None:
            params |= zip(
                self.spec.continuous, self.continuous(features).chunk(len(self.spec.continuous), dim=1), strict=True
            )
        return torch.cat([params[i] for i in range(len(self.spec.codes))], dim=1)

    @torch.no_grad()
    def settle(self) -> None:
        """Groups the classes of each head, and starts the categories as the groups of the head that tells most."""
        parts = zip(
            self.class_joints,
            self.classes.weight.unflatten(0, (-1, self.n_heads, self.n_classes)),
            self.classes.bias.unflatten(0, (-1, self.n_heads, self.n_classes)),
            self.categories.weight.split(self.sizes),
            self.categories.bias.split(self.sizes),
            strict=True,
        )
        for joints, class_weights, class_biases, weight, bias in parts:
            n_groups = len(weight)
            head, groups = best_grouping(joints, n_groups)
            shares = one_hot(groups, n_groups) * joints[head].sum(dim=1, keepdim=True)
            shares = (shares / shares.sum(dim=0)).T
            weight.copy_(shares @ class_weights[head])
            bias.copy_(shares @ class_biases[head])


@contextlib.contextmanager
def statistics_kept(net: nn.Module) -> Iterator[None]:
    """Within it, BatchNorm normalises by the batch as in training, but its running statistics stay."""
    layers = [layer for layer in net.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


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
