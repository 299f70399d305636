# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Hashable, Mapping
from typing import Any

from monai.data import MetaTensor

from medsegdiff_monai.data.layouts.brats import contrast_files
from medsegdiff_monai.data.reading import NIFTI, read_header
from medsegdiff_monai.transforms import LoadCased

__all__ = ["LoadStudyd"]


class LoadStudyd(LoadCased):
    """Load an image and its label as an annotation server holds them: one file each.

    - An image that is one contrast of a BraTS case brings the other contrasts, which lie beside it.
    - A picture's label that a volume viewer saved, as a volume of one slice in a frame of the viewer's own, is put onto
      the picture's grid: a picture has no frame of reference that it could disagree with.
    - A label made of a picture is to be written as PNG, as JPEG would change its numbers, and one of anything else as
      NIfTI. MONAI Label would take the suffix from ``image_path``, which MONAI's ``Spacingd`` trips over.

    See :class:`~medsegdiff_monai.transforms.LoadCased` for the arguments.
    """

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The case with a ``MetaTensor`` of shape ``(C, *spatial)`` under each key, from one with paths."""
        d = dict(data)
        image_keys = [key for key in self.keys if key not in self.label_keys and isinstance(d.get(key), str)]
        pictures = [key for key in image_keys if read_header(d[key], f"The {key} file {d[key]}").kind != NIFTI]
        for key in image_keys if self.contrasts else []:
            d[key] = contrast_files(d[key]) or d[key]
        if d.pop("image_path", None) is not None and not d.get("result_extension"):
            d["result_extension"] = ".png" if pictures else ".nii.gz"
        d = super().__call__(d)
        for key in self.label_keys:
            label = d.get(key)
            if pictures and label is not None and label.shape == (1, *d[pictures[0]].shape[1:], 1):
                own = {name: label.meta[name] for name in ("filename_or_obj", "case") if name in label.meta}
                d[key] = MetaTensor(label.as_tensor()[..., 0], meta={**d[pictures[0]].meta, **own})
        return d
