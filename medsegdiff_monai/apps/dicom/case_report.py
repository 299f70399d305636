# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation

from medsegdiff_monai.apps.bundle import SegmentationResult
from medsegdiff_monai.apps.dicom.case import DicomSegmenter, SegmentedCase
from medsegdiff_monai.apps.dicom.reliability import known_reliability
from medsegdiff_monai.apps.dicom.volume import VolumeInput
from medsegdiff_monai.apps.report import ReportCase, ReportRegion
from medsegdiff_monai.data.grids import grid_spacing
from medsegdiff_monai.measurements import Measurement, measure_ensemble

__all__ = ["case_pages"]


def case_pages(segmented: SegmentedCase, segmenter: DicomSegmenter, title: str) -> dict[str, ReportCase]:
    """What the HTML reports of a case show, by the names of their files: one for a volume, one for each frame.

    Volumes are turned to the nearest axes that run to the patient's right, front and head.

    Args:
        segmented: the case, with its members.
        segmenter: what segmented it.
        title: neutral name of the case.
    """
    source = segmented.source
    if isinstance(source, VolumeInput):
        (result,) = segmented.results
        affine = source.image.affine.numpy()
        measurements = _measurements(result, segmenter, grid_spacing(affine, 3))
        arrays = [source.image.as_tensor().numpy(), result.label_map[None], result.probability, result.uncertainty]
        (image, (label_map,), probability, uncertainty), turned = _to_ras(arrays, affine)
        regions = _regions(segmenter, label_map, probability, uncertainty)
        shown: dict[str, Any] = {"frame": "RAS", "spacing": grid_spacing(turned, 3)}
        shown["images"] = dict(zip(segmenter.codes.contrasts, image, strict=True))
        return {"report.html": _page(title, segmenter, regions, measurements, **shown)}
    spacing = None if source.spacing is None else source.spacing[::-1]  # an image's first axis runs along the columns
    pages = {}
    for number, (frame, result) in enumerate(zip(source.images, segmented.results, strict=True), start=1):
        several = len(source.images) > 1
        array = frame.as_tensor().numpy()
        picture = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
        heading = f"{title}, frame {number}" if several else title
        measurements = _measurements(result, segmenter, spacing)
        regions = _regions(segmenter, result.label_map, result.probability, result.uncertainty)
        page = _page(heading, segmenter, regions, measurements, spacing=spacing, images={"image": picture})
        pages[f"report_{number:03d}.html" if several else "report.html"] = page
    return pages


def _page(
    title: str,
    segmenter: DicomSegmenter,
    regions: Sequence[ReportRegion],
    measurements: Sequence[Measurement],
    **shown: Any,
) -> ReportCase:
    equipment = segmenter.equipment
    facts = {"Bundle": f"{equipment.model} {equipment.bundle_version}", "Settings": segmenter.segmenter.settings}
    return ReportCase(
        title=title,
        regions=regions,
        measurements=measurements,
        facts=facts,
        reliability=known_reliability(segmenter),
        **shown,
    )


def _labelled(segmenter: DicomSegmenter) -> dict[str, tuple[int, list[int]]]:
    """Channel and label values of each region that has any."""
    return {name: (c, v) for c, (name, v) in enumerate(segmenter.segmenter.regions.items()) if v}


def _regions(
    segmenter: DicomSegmenter, label_map: np.ndarray, probability: np.ndarray, uncertainty: np.ndarray
) -> list[ReportRegion]:
    return [
        ReportRegion(name, np.isin(label_map, values), probability[c], uncertainty[c])
        for name, (c, values) in _labelled(segmenter).items()
    ]


def _measurements(
    result: SegmentationResult, segmenter: DicomSegmenter, spacing: Sequence[float] | None
) -> list[Measurement]:
    """Measurements of an image ``(columns, rows)`` or ``(columns, rows, slices)`` with their intervals.

    Raises:
        ValueError: when the result has no members.
    """
    if result.members is None:
        raise ValueError("The result has no members, which intervals are taken from.")
    labelled = _labelled(segmenter)
    fused = {name: np.isin(result.label_map, values) for name, (_, values) in labelled.items()}
    members = [{name: member[c] for name, (c, _) in labelled.items()} for member in result.members]
    stated = segmenter.codes.ratio
    ratio = (stated.of, stated.to) if stated is not None and {stated.of, stated.to} <= set(labelled) else None
    return measure_ensemble(fused, members, spacing, ratio)


def _to_ras(arrays: Sequence[np.ndarray], affine: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Arrays ``(C, *spatial)`` with their axes exchanged and turned, and the affine that they then have."""
    turn = Orientation(axcodes="RAS", labels=None)
    matrix = torch.from_numpy(affine)
    turned: list[Any] = [turn(MetaTensor(torch.from_numpy(np.ascontiguousarray(a)), affine=matrix)) for a in arrays]
    return [t.as_tensor().numpy() for t in turned], turned[0].affine.numpy()
