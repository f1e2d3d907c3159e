"""How the shipped feature net learns: to tell characters of many fonts apart, and photographs.

Characters are drawn large, once for each font, and every batch sees them warped, thickened or thinned, and in other
colours; photographs are mirrored, cropped and recoloured. Both are 32 px large.

Shapes: n images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from infogan.data.augment import AffineRange, random_affines, warp
from infogan.data.batches import to_unit_range
from infogan.evaluation.feature_net import CHARACTERS, SIDE_PX, FeatureNet
from infogan.system.errors import NonFiniteLossError, UserError, one_line
from infogan.system.readers import read_bytes

FONT_SUFFIXES = (".ttf", ".otf", ".woff")
MOST_FONTS, MAX_FONT_BYTES = 2_000, 2**26
NO_CHARACTER = "\uffff"  # drawn as a font draws what it has not
DRAWN_PX, CONTENT_PX = 56, 40  # of a drawn character: its image, and its longer side
LABEL_SMOOTHING = 0.05

OF_CHARACTERS = AffineRange(rotation_degrees=20, scale=0.2, shear=0.35, translation=0.08)
OF_PHOTOGRAPHS = AffineRange(rotation_degrees=0, scale=0.2, shear=0.0, translation=0.06)
ELASTIC_POINTS, ELASTIC_DEVIATION = 5, 0.09  # points along a side that are moved, and how far, in half sides


def find_fonts(folder: Path) -> list[Path]:
    """Returns the fonts in a folder and below it, in the order of their paths.

    Raises:
        UserError: There is none, or there are more than `MOST_FONTS`.
    """
    fonts = sorted(path for path in folder.rglob("*") if path.suffix.lower() in FONT_SUFFIXES and path.is_file())
    if not 1 <= len(fonts) <= MOST_FONTS:
        suffixes = ", ".join(FONT_SUFFIXES)
        raise UserError(f"--fonts: expected 1 to {MOST_FONTS:,} {suffixes} files in the folder, got {len(fonts):,}")
    return fonts


def draw_characters(fonts: list[Path]) -> tuple[UInt8[Tensor, "n 1 56 56"], Int[Tensor, " n"]]:
    """Returns every digit and letter in every font, 255 on 0, and which of `CHARACTERS` it is.

    All are equally large, whatever the font has: the longer side is `CONTENT_PX`.

    Raises:
        UserError: A font cannot be read, or they have no such character.
    """
    images, labels = [], []
    for path in fonts:
        content = io.BytesIO(read_bytes(path, "--fonts", MAX_FONT_BYTES))
        try:
            font = ImageFont.truetype(content, 2 * CONTENT_PX)
            missing = _drawn(font, NO_CHARACTER)
            drawn = [_drawn(font, character) for character in CHARACTERS]
        except (OSError, ValueError) as error:
            raise UserError(f"--fonts: {path} cannot be read: {one_line(error)}") from error
        for label, image in enumerate(drawn):
            if image is not None and (missing is None or not np.array_equal(image, missing)):
                images.append(image)
                labels.append(label)
    if not images:
        raise UserError(f"--fonts: expected fonts with digits or letters, got {len(fonts)} without any")
    return torch.from_numpy(np.stack(images)[:, None]), torch.tensor(labels)


def _drawn(font: ImageFont.FreeTypeFont, character: str) -> UInt8[np.ndarray, "h w"] | None:
    """Returns a character in the middle of an image; None if it has no ink.

    A font whose strokes reach far beyond the em is cut off, as 10 of the 6,014 characters of the shipped net are.
    """
    canvas = Image.new("L", (5 * CONTENT_PX, 5 * CONTENT_PX))
    ImageDraw.Draw(canvas).text((CONTENT_PX, CONTENT_PX), character, fill=255, font=font)
    if (box := canvas.getbbox()) is None:
        return None
    content = canvas.crop(box)
    scale = CONTENT_PX / max(content.size)
    content = content.resize((max(1, round(content.width * scale)), max(1, round(content.height * scale))))
    image = Image.new("L", (DRAWN_PX, DRAWN_PX))
    image.paste(content, ((DRAWN_PX - content.width) // 2, (DRAWN_PX - content.height) // 2))
    return np.asarray(image)


def character_views(drawn: UInt8[Tensor, "n 1 56 56"], rng: torch.Generator) -> Float[Tensor, "n 3 32 32"]:
    """Returns characters warped, thinner or bolder, fainter or not, half of them white on black, in [-1, 1]."""
    n = len(drawn)
    ink = _with_other_strokes(drawn.float() / 255, _uniform(n, -1, 1, rng))
    # Drawn at twice the size and averaged, so that edges are grey.
    grid = F.affine_grid(random_affines(n, OF_CHARACTERS, rng), [n, 1, 2 * SIDE_PX, 2 * SIDE_PX], align_corners=False)
    moved = ELASTIC_DEVIATION * torch.randn(n, 2, ELASTIC_POINTS, ELASTIC_POINTS, generator=rng)
    moved = F.interpolate(moved, grid.shape[1:3], mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    ink = F.grid_sample(ink, (grid + moved) * _uniform(n, 0.85, 1.25, rng), align_corners=False)
    ink = (F.avg_pool2d(ink, 2) * _uniform(n, 1, 2.5, rng)).clamp(max=1)
    on, background = _colours(n, rng)
    return background + ink * (on - background)


def _with_other_strokes(ink: Float[Tensor, "n 1 h w"], t: Float[Tensor, "n 1 1 1"]) -> Float[Tensor, "n 1 h w"]:
    """Returns characters towards their dilation by two pixels, for t > 0, or their erosion by one, for t < 0."""
    bolder, thinner = F.max_pool2d(ink, 5, stride=1, padding=2), -F.max_pool2d(-ink, 3, stride=1, padding=1)
    return torch.where(t > 0, ink + t * (bolder - ink), ink - 0.6 * t * (thinner - ink))


def _colours(n: int, rng: torch.Generator) -> tuple[Float[Tensor, "n 3 1 1"], Float[Tensor, "n 3 1 1"]]:
    """Returns colours of ink and background that differ: white and black for 50%, black and white for 15%."""
    on, background = (2 * torch.rand(n, 3, 1, 1, generator=rng) - 1 for _ in range(2))
    is_faint = (on - background).abs().mean(dim=1, keepdim=True) < 0.5
    on = torch.where(is_faint, -background.sign(), on)
    kind = _uniform(n, 0, 1, rng)
    for least, most, grey in ((0.0, 0.5, 1.0), (0.5, 0.65, -1.0)):
        chosen = (kind >= least) & (kind < most)
        on, background = torch.where(chosen, grey, on), torch.where(chosen, -grey, background)
    return on, background


def photograph_views(images: UInt8[Tensor, "n 3 32 32"], rng: torch.Generator) -> Float[Tensor, "n 3 32 32"]:
    """Returns photographs mirrored, cropped, lighter or darker, tinted, and a quarter of them grey, in [-1, 1]."""
    n = len(images)
    affines = random_affines(n, OF_PHOTOGRAPHS, rng)
    affines[:, 0, 0] *= _uniform(n, -1, 1, rng).sign().flatten()
    x = warp(to_unit_range(images), affines)
    x = x * _uniform(n, 0.8, 1.2, rng) + 0.15 * (2 * torch.rand(n, 3, 1, 1, generator=rng) - 1)
    grey = x.mean(dim=1, keepdim=True).expand_as(x)
    return torch.where(_uniform(n, 0, 1, rng) < 0.25, grey, x).clamp(-1, 1)


def _uniform(n: int, least: float, most: float, rng: torch.Generator) -> Float[Tensor, "n 1 1 1"]:
    return least + (most - least) * torch.rand(n, 1, 1, 1, generator=rng)


@dataclass(frozen=True)
class Progress:
    """Where training is.

    Attributes:
        step: From 1.
        characters_nats: Cross-entropy of the step's characters (ln 62 = 4.13 at chance).
        photographs_nats: Of its photographs (ln 10 = 2.30).
    """

    step: int
    characters_nats: float
    photographs_nats: float


def train_feature_net(
    net: FeatureNet,
    characters: tuple[UInt8[Tensor, "n 1 56 56"], Int[Tensor, " n"]],
    photographs: tuple[UInt8[Tensor, "m 3 32 32"], Int[Tensor, " m"]],
    *,
    steps: int,
    seed: int,
    n_characters: int = 192,
    n_photographs: int = 64,
    learning_rate: float = 3e-3,
    on_step: Callable[[Progress], None] | None = None,
) -> None:
    """Trains `net` in place and leaves it in evaluation mode.

    AdamW, cross-entropy of both; the rate falls linearly, and in the first 100 steps is also raised from 0. The last
    step is the result. Deterministic on a CPU by `seed`, the initial weights and the number of threads.

    Args:
        net: On the CPU.
        characters: As `draw_characters` returns them.
        photographs: uint8, with their classes.
        steps: How many updates.
        seed: Of which images a batch has, and their views.
        n_characters: In a batch.
        n_photographs: In a batch.
        learning_rate: From which it falls.
        on_step: Called after each step, to show it.

    Raises:
        NonFiniteLossError: If a loss is not finite.
    """
    assert steps > 0, f"steps must be 1 or more, got {steps}"
    rng = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    net.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * min(1, (step + 1) / 100) * (1 - step / steps)
        read = torch.randint(len(characters[0]), (n_characters,), generator=rng)
        seen = torch.randint(len(photographs[0]), (n_photographs,), generator=rng)
        views = torch.cat([character_views(characters[0][read], rng), photograph_views(photographs[0][seen], rng)])
        features = net(views.contiguous(memory_format=torch.channels_last))
        of_characters, of_photographs = net.logits(features)
        losses = [
            F.cross_entropy(logits, labels.long(), label_smoothing=LABEL_SMOOTHING)
            for logits, labels in (
                (of_characters[:n_characters], characters[1][read]),
                (of_photographs[n_characters:], photographs[1][seen]),
            )
        ]
        optimizer.zero_grad()
        (losses[0] + losses[1]).backward()
        progress = Progress(step + 1, *(loss.item() for loss in losses))
        if not math.isfinite(progress.characters_nats + progress.photographs_nats):
            raise NonFiniteLossError(f"the losses of step {progress.step} are {[loss.item() for loss in losses]}")
        optimizer.step()
        if on_step is not None:
            on_step(progress)
    net.eval()
