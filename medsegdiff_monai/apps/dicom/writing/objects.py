# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom.codes import BundleCodes
from medsegdiff_monai.apps.dicom.reading.attributes import text
from medsegdiff_monai.apps.dicom.reading.identity import complete_header
from medsegdiff_monai.apps.dicom.reading.images import PictureInput, VolumeInput, from_image_axes
from medsegdiff_monai.apps.dicom.writing.grid import PictureGrid, SourceGrid, VolumeGrid, refer_to_class
from medsegdiff_monai.apps.dicom.writing.report import make_report, measure_regions
from medsegdiff_monai.apps.dicom.writing.segmentation import Equipment, ObjectMaker, ResultUIDs
from medsegdiff_monai.measurements import Measurement

__all__ = ["DicomObjects", "make_objects"]

DicomObjects = dict[str, Dataset]  # by the name of their files without suffix


def make_objects(
    source: VolumeInput | PictureInput,
    results: Sequence[SegmentationResult],
    codes: BundleCodes,
    equipment: Equipment,
    uids: ResultUIDs | None = None,
    measurements: Sequence[Sequence[Measurement]] | None = None,
) -> DicomObjects:
    """Make the segmentations, the uncertainty and the report of a case.

    ``results`` are of a volume, or of each frame of a picture; ``measurements`` of each of them, as
    :func:`measure_regions` gives them, or None where that is still to be done. UIDs are new ones by default.
    """
    if measurements is None:
        measurements = [measure_regions(result, codes, source.axis_spacing) for result in results]
    grid: SourceGrid
    if isinstance(source, VolumeInput):
        grid, evidence = VolumeGrid(source), [*source.sources, *source.further]
        (result,) = results
        label_map = from_image_axes(result.label_map)
        maps = [np.moveaxis(from_image_axes(m), 0, -1) for m in (result.probability, result.uncertainty)]
    else:  # of axes (columns, rows), and maps with the regions before them
        grid, evidence = PictureGrid(source), [complete_header(source.header)]
        evidence[0].NumberOfFrames = len(source.images)
        label_map = np.stack([r.label_map.T for r in results])
        maps = [np.stack([r.probability.T for r in results]), np.stack([r.uncertainty.T for r in results])]
    masks = np.stack([np.isin(label_map, s.values) for s in codes.segments], axis=-1)
    probability, uncertainty = maps  # (frames, rows, columns, regions)
    maker = ObjectMaker(grid, codes, equipment, uids or ResultUIDs())
    objects: DicomObjects = {"seg": maker.binary(masks), "probability": maker.probability(probability)}
    if isinstance(source, VolumeInput):
        for i, region in enumerate(codes.regions):
            objects[f"uncertainty_{region.name}"] = maker.uncertainty_map(uncertainty[..., i], region)
    else:
        objects["uncertainty"] = maker.uncertainty(uncertainty)
    objects["sr"] = make_report(maker, objects["seg"], evidence, results, source.axis_spacing, measurements)
    if isinstance(source, PictureInput):
        refer_to_class(objects["sr"], evidence[0], text(source.header, "SOPClassUID"))
    return objects
