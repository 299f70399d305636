# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

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
