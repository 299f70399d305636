# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind
from medsegdiff_monai.apps.dicom.equipment import Equipment, SeriesPlace
from medsegdiff_monai.apps.dicom.findings import picture_findings, volume_findings
from medsegdiff_monai.apps.dicom.grid import PictureGrid, SourceGrid, VolumeGrid, refer_to_class
from medsegdiff_monai.apps.dicom.headers import text
from medsegdiff_monai.apps.dicom.identity import complete_header
from medsegdiff_monai.apps.dicom.picture import PictureInput
from medsegdiff_monai.apps.dicom.seg import (
    make_binary,
    make_probability,
    make_uncertainty_map,
    make_uncertainty_segmentation,
)
from medsegdiff_monai.apps.dicom.sr import Finding, make_report
from medsegdiff_monai.apps.dicom.uids import ResultUIDs
from medsegdiff_monai.apps.dicom.volume import VolumeInput, from_image_axes

__all__ = ["DicomObjects", "make_objects", "series_sizes"]

_SERIES = {901: "segmentation", 902: "probability", 903: "uncertainty", 904: "measurements"}


@dataclass(frozen=True)
class DicomObjects:
    """What is written for a case.

    Attributes:
        objects: the DICOM objects, by the name of their files without suffix.
        findings: the measurements that the report states.
    """

    objects: dict[str, Dataset]
    findings: list[Finding]


def series_sizes(codes: BundleCodes) -> dict[int, int]:
    """Number of the objects in each series that is made for a case, by the series' number."""
    maps = len(codes.regions) if codes.kind is ImageKind.VOLUME else 1
    return {number: maps if what == "uncertainty" else 1 for number, what in _SERIES.items()}


def make_objects(
    source: VolumeInput | PictureInput,
    results: Sequence[SegmentationResult],
    codes: BundleCodes,
    equipment: Equipment,
    uids: ResultUIDs | None = None,
) -> DicomObjects:
    """Make the segmentations, the uncertainty and the report of a case.

    Args:
        source: what was segmented.
        results: what the bundle says about it: one for a volume, one for each frame of a picture.
        codes: how it is called.
        equipment: what makes the objects.
        uids: what they are called; new UIDs by default.
    """
    uids = uids or ResultUIDs()
    label_map, probability, uncertainty = _arrays(source, results)
    masks = np.stack([np.isin(label_map, s.values) for s in codes.segments], axis=-1)
    tracking = {s.name: uids.tracking(s.name) for s in codes.segments}
    places = {n: SeriesPlace(n, f"{codes.algorithm.name} {what}", uids) for n, what in _SERIES.items()}
    grid: SourceGrid
    if isinstance(source, VolumeInput):
        grid, evidence = VolumeGrid(source, codes.body_part), [*source.sources, *source.further]
        findings = volume_findings(masks, codes, source.geometry.pixel_spacing, source.geometry.voxel_volume)
    else:
        grid, evidence = PictureGrid(source, codes.body_part), [complete_header(source.header)]
        evidence[0].NumberOfFrames = len(source.images)
        findings = picture_findings(masks, codes, source.spacing)
    common = (grid, codes, tracking, equipment)
    seg = make_binary(masks, *common, places[901])
    objects: dict[str, Dataset] = {"seg": seg, "probability": make_probability(probability, *common, places[902])}
    if isinstance(source, VolumeInput):
        for i, region in enumerate(codes.regions):
            made = make_uncertainty_map(uncertainty[..., i], region, grid, equipment, places[903])
            objects[f"uncertainty_{region.name}"] = made
    else:
        objects["uncertainty"] = make_uncertainty_segmentation(uncertainty, *common, places[903])
    objects["sr"] = make_report(findings, seg, evidence, codes, tracking, equipment, places[904])
    if isinstance(source, PictureInput):
        refer_to_class(objects["sr"], evidence[0], text(source.header, "SOPClassUID"))
    return DicomObjects(objects, findings)


def _arrays(
    source: VolumeInput | PictureInput, results: Sequence[SegmentationResult]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label map ``(frames, rows, columns)``, probability and uncertainty ``(frames, rows, columns, regions)``."""
    if isinstance(source, VolumeInput):
        (result,) = results
        maps = [np.moveaxis(from_image_axes(m), 0, -1) for m in (result.probability, result.uncertainty)]
        return from_image_axes(result.label_map), maps[0], maps[1]
    # Pictures have the axes (columns, rows), and maps the regions before them.
    label_map = np.stack([r.label_map.T for r in results])
    return label_map, np.stack([r.probability.T for r in results]), np.stack([r.uncertainty.T for r in results])
