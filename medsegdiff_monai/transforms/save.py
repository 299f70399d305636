# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
import os
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import Invertd, InvertibleTransform, MapTransform
from monai.utils import convert_to_dst_type, ensure_tuple
from PIL import Image

from medsegdiff_monai.data.cases import name_in_metadata
from medsegdiff_monai.data.reading import NIFTI, as_shown, read_header, stated_header
from medsegdiff_monai.data.regions import Regions
from medsegdiff_monai.utils import check_writable, replace_atomically
from medsegdiff_monai.visualize import region_colour, rgb

__all__ = ["SaveInvertedd", "SaveSegmentationd", "groups_on_image_grid", "on_image_grid"]

_BLACK = (0, 0, 0)
_LARGEST_GROUP = 2**22  # elements that are resampled at a time: more save no time and cost memory
# Fields of a NIfTI header that say where its voxels lie.
_FRAME = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "srow_x", "srow_y", "srow_z"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
)


class SaveSegmentationd(MapTransform):
    """Write the results of a case in the kind of file that its image came in, on that image's own grid.

    An image from NIfTI, and any volume, gives NIfTI with its affine: label maps as uint8, maps in [0, 1] as float32.
    Any other gives PNG: label maps as palette images, whose pixels are the label values and which a viewer shows in
    colour (background black), maps in [0, 1] as 16-bit grey, with 65535 for 1. They lie on the picture as it is shown:
    where its EXIF orientation turns it, they state that they are not to be turned. Files are ``<case>_<postfix>``, and
    ``<case>_<postfix>_<region>`` for the maps of several regions; those of a region that the data set does not label
    are not written.

    Args:
        keys: keys of results: label maps of shape ``(1, *spatial)``, maps of shape ``(1 or len(regions), *spatial)``.
        postfixes: postfix of the file name for each key.
        output_dir: folder of the results, made where it is missing; None where a host writes them, and nothing is
            written here.
        label_keys: those of the keys that hold label maps.
        regions: the regions that the channels of maps stand for.
        allow_missing_keys: whether keys may be absent.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(
        self,
        keys: KeysCollection,
        postfixes: Sequence[str],
        output_dir: str | os.PathLike[str] | None,
        label_keys: KeysCollection = ("segmentation",),
        regions: Mapping[str, Sequence[int]] | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        if len(postfixes) != len(self.keys):
            raise ValueError(f"postfixes must have one entry for each key, got {postfixes} for {self.keys}.")
        self.postfixes = tuple(postfixes)
        self.label_keys = ensure_tuple(label_keys)
        self.regions = None if regions is None else Regions.from_values(regions)
        self.colours = _colours(self.regions)
        self.output_dir = None if output_dir is None else check_writable(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case unchanged."""
        d = dict(data)
        if self.output_dir is None:
            return d
        for key, postfix in self.key_iterator(d, self.postfixes):
            for channel, name in self._parts(d[key], postfix, key in self.label_keys):
                result = self._result(d, key, channel)
                stem = self.output_dir / f"{name_in_metadata(result.meta)}_{name}"
                self._save(result, stem, key in self.label_keys)
        return d

    def _result(self, case: Mapping[Hashable, Any], key: Hashable, channel: Any) -> Any:
        """A channel of a result as it is written."""
        return channel

    def _parts(self, result: Any, postfix: str, is_label: bool) -> list[tuple[Any, str]]:
        """One-channel results and the postfixes of their files."""
        if result.shape[0] == 1:
            return [(result, postfix)]
        if is_label or self.regions is None or result.shape[0] != len(self.regions):
            expected = "one channel" if is_label or self.regions is None else f"{len(self.regions)} channels"
            raise ValueError(f"A result must have {expected} to be saved, got {result.shape[0]}.")
        labelled = [(c, name) for c, (name, values) in enumerate(self.regions.items()) if values]
        return [(result[c : c + 1], f"{postfix}_{name}") for c, name in labelled]

    def _save(self, result: Any, stem: Path, is_label: bool) -> None:
        source = str(result.meta["filename_or_obj"])
        array = result.detach().cpu().as_tensor()[0].to(torch.uint8 if is_label else torch.float32).numpy()
        kind = result.meta.get("kind")  # of an image that was not read from a file, its name tells
        if array.ndim == 3 or (kind == NIFTI if kind else source.lower().endswith((".nii", ".nii.gz"))):
            image = _like(source, array, np.asarray(result.affine, dtype=np.float64))
            replace_atomically(stem.with_name(stem.name + ".nii.gz"), lambda path: nib.save(image, path))
        else:
            picture = _picture(array, self.colours if is_label else None)
            was_turned = result.meta.get("orientation", 1) != 1
            write = partial(picture.save, exif=as_shown()) if was_turned else picture.save
            replace_atomically(stem.with_name(stem.name + ".png"), write)


def _like(source: str, array: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """An image with the shape and the frame that its source states, to the last bit, where it is on the source's grid.

    Rounding on the way through the transforms leaves the affine a little beside the one that the file states. The rest
    of the source's header, which may tell who the patient is, is not copied.
    """
    read = read_header(source) if Path(source).is_file() else None
    same_shape = read is not None and read.kind == NIFTI and (*read.shape, 1)[:3] == (*array.shape, 1)[:3]
    if read is None or not same_shape or not np.allclose(affine, read.affine, atol=1e-5):
        image = nib.Nifti1Image(array, affine)
        image.header.set_xyzt_units("mm")
        return image
    stated, header = stated_header(Path(source)), nib.Nifti1Header()
    header.set_data_dtype(array.dtype)
    shape = stated.get_data_shape()
    header.set_data_shape(shape if math.prod(shape) == array.size else read.shape)
    for name in _FRAME:
        header[name] = stated[name]
    return nib.Nifti1Image(array.reshape(header.get_data_shape()), header.get_best_affine(), header)


def _colours(regions: Regions | None) -> list[tuple[int, int, int]]:
    """Colours of the label values 0 to 255: background black, the regions' own parts in the regions' colours."""
    colours = [_BLACK, *(rgb(region_colour(i)) for i in range(255))]
    if regions is not None:
        for value in (v for v in regions.background if v < len(colours)):
            colours[value] = _BLACK
        labelled = [name for name, values in regions.items() if values]
        for name, value in regions.own_values.items():
            colours[value] = rgb(region_colour(labelled.index(name)))
    return colours


def _picture(array: np.ndarray, colours: list[tuple[int, int, int]] | None) -> Image.Image:
    """Label values ``(X, Y)`` as a palette image of width X and height Y, or a map in [0, 1] as a 16-bit grey one."""
    if colours is None:
        array = np.rint(np.clip(array, 0.0, 1.0) * 65535).astype(np.uint16)
    picture = Image.fromarray(np.ascontiguousarray(array.T))
    if colours is not None:
        picture.putpalette([v for colour in colours for v in colour])
    return picture


def groups_on_image_grid(
    case: Mapping[Hashable, Any], key: Hashable, preprocessing: Any, unit: int = 1
) -> Iterator[Any]:
    """Maps of a case, put from the network's grid onto that of the image's file, some channels at a time.

    Resampling takes several times the memory of what it makes, and the image may be far larger than what the network
    has seen. The case is not changed.

    Args:
        case: case with the preprocessed ``image`` and the maps.
        key: key of the maps, of shape ``(C, *spatial)``.
        preprocessing: the invertible transform that the image has gone through; None where they are on its grid.
        unit: number of channels that must stay together.
    """
    maps, image = case[key], case["image"]
    sizes = [o["orig_size"] for o in getattr(image, "applied_operations", ()) if "orig_size" in o]
    elements = max(math.prod(int(s) for s in size) for size in [*sizes, maps.shape[1:]])
    invert = None
    if preprocessing is not None:
        invert = Invertd(key, preprocessing, "image", nearest_interp=False, to_tensor=True)
    for group in maps.split(unit * max(1, _LARGEST_GROUP // (elements * unit))):
        yield group if invert is None else invert({"image": image, key: group})[key]


def on_image_grid(case: Mapping[Hashable, Any], key: Hashable, preprocessing: Any) -> Any:
    """Maps of a case on the grid of the image's file, of shape ``(C, *spatial)``, see :func:`groups_on_image_grid`."""
    whole, first = None, 0
    for group in groups_on_image_grid(case, key, preprocessing):
        if whole is None:
            if len(group) == len(case[key]):
                return group
            empty = group.as_tensor().new_empty((len(case[key]), *group.shape[1:]))
            whole = convert_to_dst_type(empty, group)[0]
        whole[first : first + len(group)] = group
        first += len(group)
    return whole


class SaveInvertedd(SaveSegmentationd):
    """Write maps that are still on the network's grid, each channel put onto the image's grid for its file alone.

    Args:
        preprocessing: what the image has gone through, which is inverted.
        args: those of :class:`SaveSegmentationd`, as are ``kwargs``.
    """

    def __init__(self, *args: Any, preprocessing: InvertibleTransform, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.preprocessing = preprocessing

    def _result(self, case: Mapping[Hashable, Any], key: Hashable, channel: Any) -> Any:
        return on_image_grid({"image": case["image"], key: channel}, key, self.preprocessing)
