# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Readers and members side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np

from medsegdiff_monai.utils import replace_atomically

mpl.use("Agg")
import matplotlib.pyplot as plt

__all__ = ["PictureRow", "save_picture"]

SHOWN = 4


@dataclass(frozen=True)
class PictureRow:
    """One case: image and fused probability ``(H, W)``, the masks of readers and members ``(n, H, W)``, deviation."""

    image: np.ndarray
    readers: np.ndarray
    members: np.ndarray
    probability: np.ndarray
    deviation: np.ndarray


def save_picture(path: Path, rows: list[PictureRow]) -> None:
    """Image, readers, members, fused mask and the members' standard deviation of each case, a row each."""
    columns = 3 + 2 * SHOWN
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(1.2 * columns + 0.6, 1.25 * len(rows) + 0.3), layout="constrained", squeeze=False
    )
    for line, row in zip(axes, rows):
        _show(line[0], row.image, "image")
        for i in range(SHOWN):
            _show(line[1 + i], row.image, f"reader {i + 1}", row.readers[i])
            _show(line[1 + SHOWN + i], row.image, f"member {i + 1}", row.members[i])
        _show(line[-2], row.image, "fused", row.probability >= 0.5)
        drawn = line[-1].imshow(row.deviation, cmap="viridis", vmin=0.0, vmax=0.5)
        line[-1].set_title("std. deviation", fontsize=8)
        line[-1].axis("off")
    figure.colorbar(drawn, ax=axes[:, -1].tolist(), fraction=0.08)
    replace_atomically(path, lambda p: figure.savefig(p, dpi=110))
    plt.close(figure)


def _show(axes: plt.Axes, image: np.ndarray, title: str, mask: np.ndarray | None = None) -> None:
    axes.imshow(image, cmap="gray")
    if mask is not None and mask.any():
        axes.contour(mask, [0.5], colors=["#ffb000"], linewidths=1.0)
    axes.set_title(title, fontsize=8)
    axes.axis("off")
