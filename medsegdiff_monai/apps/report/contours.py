# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import numpy as np

__all__ = ["outline"]

_Step = tuple[int, int]


def outline(mask: np.ndarray) -> str:
    """The outline of a mask along the edges of its pixels, as an SVG path.

    The pixel of row r and column c covers the square from (c, r) to (c + 1, r + 1); x runs to the right and y down.
    Every connected part is one closed line, clockwise on the screen, and every hole another, counter-clockwise. Pixels
    that touch at a corner only are parts of their own, pixels of a hole that do so are one hole.

    Args:
        mask: bool, of shape ``(rows, columns)``.

    Returns:
        The path data, such as ``M2 2h4v4h-4z``; empty where the mask is.
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
