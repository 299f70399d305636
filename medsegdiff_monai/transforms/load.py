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

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from monai.config import KeysCollection
from monai.data import PILReader
from monai.transforms import LoadImage, MapTransform
from monai.utils import ensure_tuple
from PIL import Image

from medsegdiff_monai.utils import InputError

__all__ = ["LoadCased", "standard_mode"]


def standard_mode(image: Image.Image) -> Image.Image:
    """An image in a mode whose numbers are intensities.

    The numbers of a palette image are places in its palette and those of a black-and-white image are bits: they become
    RGB or grey. Images without colour information in their alpha channel lose it.

    Args:
        image: as PIL opened it, of any mode.
    """
    if image.mode in ("P", "PA"):
        return image.convert("RGB")
    if image.mode in ("1", "LA"):
        return image.convert("L")
    if image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255):
        return image.convert("RGB")
    return image


def _channel_first(reader: PILReader | None = None) -> LoadImage:
    return LoadImage(reader=reader, image_only=True, ensure_channel_first=True)


def _loads(load: LoadImage, file: Path) -> bool:
    """Whether a file can be read by itself."""
    try:
        load(file)
    except Exception:  # as above
        return False
    return True


class LoadCased(MapTransform):
    """Load the files of a case, channel first, with errors that name the file and say what to do.

    PNG, JPEG, BMP and TIFF are read by PIL (the image as intensities, see :func:`standard_mode`; a label's numbers
    as they are), anything else by MONAI's readers.

    Args:
        keys: keys of the paths; a list of paths is loaded as channels.
        label_keys: those of the keys that hold label maps.
        allow_missing_keys: whether keys may be absent.
    """

    RASTER = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")

    def __init__(
        self, keys: KeysCollection, label_keys: KeysCollection = ("label",), allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.label_keys = ensure_tuple(label_keys)
        self.load_volume = _channel_first()
        self.load_picture = _channel_first(PILReader(converter=standard_mode))
        self.load_label_picture = _channel_first(PILReader())

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """
        Args:
            data: case with paths under the keys.

        Returns:
            The case with a ``MetaTensor`` of shape ``(C, *spatial)`` under each key.

        Raises:
            InputError: when a file is missing, cannot be read, or has no extent.
        """
        d = dict(data)
        for key in self.key_iterator(d):
            d[key] = self._load(key, d[key])
        return d

    def _load(self, key: Hashable, value: Any) -> Any:
        files = [Path(f) for f in (value if isinstance(value, (list, tuple)) else [value])]
        for file in files:
            if not file.is_file():
                raise InputError(f"The {key} file {file} does not exist: restore it or mend the datalist.")
        load = self.load_volume
        if files[0].suffix.lower() in self.RASTER:
            load = self.load_label_picture if key in self.label_keys else self.load_picture
        try:
            image = load(value)
        except Exception as e:  # the readers raise whatever their decoders raise
            names = ", ".join(str(f) for f in files)
            if len(files) > 1 and all(_loads(load, f) for f in files):
                raise InputError(
                    f"The {key} files {names} have different sizes or affines: resample them onto one grid."
                ) from e
            raise InputError(
                f"The {key} file {names} cannot be read: it is damaged, truncated or not an image; replace it."
            ) from e
        if image.numel() == 0:
            raise InputError(f"The {key} file {files[0]} has no pixels: replace it.")
        return image
