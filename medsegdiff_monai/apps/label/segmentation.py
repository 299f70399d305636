# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib

import numpy as np
from highdicom.seg import Segmentation

from medsegdiff_monai.apps.dicom import BundleCodes, Equipment, ObjectMaker, PictureGrid, PictureInput, ResultUIDs
from medsegdiff_monai.utils import InputError

__all__ = ["annotation_segmentation"]

_DESCRIPTION = "Segmentation accepted or corrected by a person"


def annotation_segmentation(
    source: PictureInput, label_map: np.ndarray, codes: BundleCodes, equipment: Equipment
) -> Segmentation:
    """A binary segmentation (PS3.3 A.51) of an annotator's label.

    It says SEMIAUTOMATIC of its segments (Segment Algorithm Type, PS3.3 C.8.20.2), where those of the commands say
    AUTOMATIC. The same label of the same picture has the same UIDs, so that saving it again makes no second object.

    Args:
        source: the picture, of one frame.
        label_map: the label, of shape ``(rows, columns)``, on the picture's grid.
        codes: what its values are.
        equipment: what proposed it.

    Raises:
        InputError: when the label has another size than the picture, or values that are no class.
    """
    size = (int(source.header.Rows), int(source.header.Columns))
    if label_map.shape != size:
        raise InputError(f"The label has {label_map.shape} rows and columns, its picture {size}: save it on its grid.")
    classes = {value for segment in codes.segments for value in segment.values}
    unknown = sorted(set(np.unique(label_map).tolist()) - classes - {0})
    if unknown:
        raise InputError(
            f"The label has the value {unknown[0]:g}, the classes are {sorted(classes)}: save it with these."
        )
    content = hashlib.sha256(label_map.astype(np.uint8).tobytes()).hexdigest()
    uids = ResultUIDs(f"annotation|{source.header.SOPInstanceUID}|{equipment.model}", content)
    masks = np.stack([np.isin(label_map, segment.values) for segment in codes.segments], axis=-1)
    maker = ObjectMaker(PictureGrid(source, codes.body_part), codes, equipment, uids)
    seg = maker.binary(masks[None], "annotation")
    for segment in seg.SegmentSequence:
        segment.SegmentAlgorithmType = "SEMIAUTOMATIC"
    seg.ContentDescription = _DESCRIPTION
    return seg
