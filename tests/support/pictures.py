# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""What the tests of pictures share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image


def pixels_of(path: Path, colour: str) -> int:
    """Number of pixels of a colour in a picture."""
    with Image.open(path) as picture:
        picture.load()
        pixels = np.asarray(picture.convert("RGB")).astype(float) / 255.0
    return int((np.abs(pixels - to_rgb(colour)).max(axis=-1) < 0.03).sum())


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a sound PNG file."""
    with Image.open(path) as picture:
        picture.verify()
        assert picture.format == "PNG"
        return picture.size
