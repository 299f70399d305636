# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image

from medsegdiff_monai.apps.report.case import ReportReliability
from medsegdiff_monai.visualize import reliability_figure

__all__ = ["colour_bar", "grey_levels", "map_levels", "map_picture", "outline", "picture", "reliability_picture"]

_Step = tuple[int, int]
_FADED = 0.1  # values under this share of the scale let more and more of the image through


def grey_levels(image: np.ndarray, window: tuple[float, float]) -> np.ndarray:
    """An image of any shape as bytes: 0 at the lower end of the window and below, or if not finite, to 255."""
    if image.dtype == np.uint8:
        return image
    low, high = window
    scaled = (np.nan_to_num(image.astype(np.float32), nan=low, posinf=low, neginf=low) - low) / (high - low)
    return np.rint(255.0 * np.clip(scaled, 0.0, 1.0)).astype(np.uint8)


def map_levels(values: np.ndarray, top: float) -> np.ndarray:
    """A map of any shape as bytes: 0 for 0 and 255 for the top of its scale."""
    return np.rint(values * (255.0 / top)).astype(np.uint8)


def picture(levels: np.ndarray) -> str:
    """A grey or RGB picture, ``(rows, columns)`` or ``(rows, columns, 3)`` of uint8, as PNG in base64."""
    return _png(Image.fromarray(np.ascontiguousarray(levels)).save)


def map_picture(levels: np.ndarray, colours: str) -> str:
    """A map as a palette picture whose pixels are its levels, PNG in base64, or nothing where the map is 0 throughout.

    Level 0 is transparent, and the levels of the lowest tenth of the scale let the image through the more, the lower.
    """
    if not levels.any():
        return ""
    coloured = Image.fromarray(np.ascontiguousarray(levels)).convert("L")
    coloured.putpalette(colormaps[colours](np.arange(256), bytes=True)[:, :3].tobytes())
    alpha = np.rint(255.0 * np.clip(np.arange(256) / (255.0 * _FADED), 0.0, 1.0)).astype(np.uint8)
    return _png(coloured.save, transparency=alpha.tobytes())


def colour_bar(colours: str) -> str:
    """The colours of a map from 0 on the left to the top of its scale, PNG in base64."""
    row = colormaps[colours](np.arange(256), bytes=True)[:, :3]
    return picture(np.broadcast_to(row, (8, 256, 3)))


def reliability_picture(reliability: ReportReliability) -> str:
    """The reliability diagram on a transparent ground, PNG in base64."""
    figure = reliability_figure({f"{reliability.section} cases": reliability.bins})
    return _png(figure.savefig, transparent=True)


def _png(save: Callable[..., None], **options: Any) -> str:
    """The file that a picture's own way of saving gives, in base64."""
    file = io.BytesIO()
    save(file, format="png", **options)
    return base64.b64encode(file.getvalue()).decode("ascii")


def outline(mask: np.ndarray) -> str:
    """The outline of a mask along the edges of its pixels, as an SVG path such as ``M2 2h4v4h-4z``.

    The pixel of row r and column c covers the square from (c, r) to (c + 1, r + 1); x runs to the right and y down.
    Every connected part is one closed line, clockwise on the screen, and every hole another, counter-clockwise. Pixels
    that touch at a corner only are parts of their own, pixels of a hole that do so are one hole.
    """
    edges = _edges(mask)
    starts = sorted((vertex for vertex, steps in edges.items() if (1, 0) in steps), key=lambda v: (v[1], v[0]))
    return "".join(_trace(edges, start) for start in starts if (1, 0) in edges[start])


def _edges(mask: np.ndarray) -> dict[_Step, list[_Step]]:
    """Unit steps along the pixels' edges, with the mask on their right, by the vertex (x, y) that they leave from."""
    inside = np.pad(mask, 1)
    centre = inside[1:-1, 1:-1]
    beyond = {
        (1, 0): (inside[:-2, 1:-1], 0, 0),  # along the upper edge, from the upper left corner
        (0, 1): (inside[1:-1, 2:], 1, 0),  # down the right edge
        (-1, 0): (inside[2:, 1:-1], 1, 1),  # back along the lower edge
        (0, -1): (inside[1:-1, :-2], 0, 1),  # up the left edge
    }
    edges: dict[_Step, list[_Step]] = {}
    for step, (neighbour, x, y) in beyond.items():
        rows, columns = np.nonzero(centre & ~neighbour)
        for vertex in zip((columns + x).tolist(), (rows + y).tolist()):
            edges.setdefault(vertex, []).append(step)
    return edges


def _trace(edges: dict[_Step, list[_Step]], start: _Step) -> str:
    """One closed line from an upper left corner, whose edges are taken out."""
    path, vertex, step, run = f"M{start[0]} {start[1]}", start, (1, 0), 0
    while True:
        edges[vertex].remove(step)
        vertex, run = (vertex[0] + step[0], vertex[1] + step[1]), run + 1
        if vertex == start and (step == (0, -1) or not edges[vertex]):  # a corner that is passed twice closes once
            return path + "z"
        right_turn = (-step[1], step[0])
        following = right_turn if right_turn in edges[vertex] else edges[vertex][0]
        if following != step:
            path += f"h{run * step[0]}" if step[0] else f"v{run * step[1]}"
            step, run = following, 0
