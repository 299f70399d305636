# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle, SegmentationResult
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind, read_codes
from medsegdiff_monai.apps.dicom.limits import bounded_memory, bounded_time
from medsegdiff_monai.apps.dicom.reading.attributes import text
from medsegdiff_monai.apps.dicom.reading.contrasts import choose_contrasts
from medsegdiff_monai.apps.dicom.reading.discovery import DicomCase
from medsegdiff_monai.apps.dicom.reading.identity import complete_header, identity_note
from medsegdiff_monai.apps.dicom.reading.images import (
    PictureInput,
    VolumeInput,
    read_picture,
    read_volume,
    swap_image_axes,
)
from medsegdiff_monai.apps.dicom.reading.pixels import number_of_frames
from medsegdiff_monai.apps.dicom.writing.grid import PictureGrid, SourceGrid, VolumeGrid, refer_to_class
from medsegdiff_monai.apps.dicom.writing.report import code_measurements, make_report, measure_regions
from medsegdiff_monai.apps.dicom.writing.segmentation import Equipment, ObjectMaker, ResultUIDs
from medsegdiff_monai.measurements import Measurement

__all__ = ["TIME_LIMIT", "DicomObjects", "DicomSegmenter", "SegmentedCase", "make_objects", "note_on"]

DicomObjects = dict[str, Dataset]  # by the name of their files without suffix
TIME_LIMIT = 1800.0  # seconds: a hundred times what the largest study takes


@dataclass(frozen=True)
class SegmentedCase:
    """A case with its image, the bundle's answer and its measurements (one for each frame), and its DICOM objects."""

    source: VolumeInput | PictureInput
    results: list[SegmentationResult]
    measurements: list[list[Measurement]]
    made: DicomObjects


class DicomSegmenter:
    """From a case of DICOM objects to the DICOM objects that describe its segmentation.

    Args:
        bundle: folder of the bundle; steps, members and device are the bundle's by default.
        num_inference_steps: network evaluations of each member.
        num_ensemble: number of members.
        device: such as ``"cpu"`` or ``"cuda:0"``.
        time_limit: seconds that reading a case may take, and making its objects; None for no limit.
        overrides: other entries of the bundle's configuration.

    Raises:
        InputError: when the bundle is missing or cannot be used.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        num_inference_steps: int | None = None,
        num_ensemble: int | None = None,
        device: str | None = None,
        time_limit: float | None = TIME_LIMIT,
        **overrides: Any,
    ) -> None:
        self.time_limit = time_limit
        settings = {"num_inference_steps": num_inference_steps, "num_ensemble": num_ensemble, **overrides}
        self.segmenter = Bundle(bundle, device=device, **settings).build()
        self.codes: BundleCodes = read_codes(bundle, self.segmenter.regions, self.segmenter.contrasts)
        checksum = hashlib.sha256(Path(self.segmenter.checkpoint).read_bytes()).hexdigest()
        name = Path(bundle).resolve().name
        self.equipment = Equipment(name, self.codes.algorithm.version, f"weights-{checksum[:16]}")

    def read(
        self, case: DicomCase, named: Mapping[str, str] | None = None, resample: bool = False
    ) -> VolumeInput | PictureInput:
        """Read the images of a case, with contrasts resampled onto the first if asked; errors hold no patient data."""
        with bounded_memory(), bounded_time(self.time_limit, "Reading the images"):
            if self.codes.kind is ImageKind.VOLUME:
                series = choose_contrasts(case.series, self.codes.contrasts, named)
                return read_volume(series, self.codes.contrasts, resample)
            return read_picture(case.series[0].instances[0], self.codes.kind)

    def segment(
        self, source: VolumeInput | PictureInput, show_progress: bool = False, uids: ResultUIDs | None = None
    ) -> SegmentedCase:
        """Segment a case that was read and make its DICOM objects; members are measured and not kept."""
        shown = show_progress and len(source.images) > 1
        bar = tqdm(source.images, desc="Frames", unit="frame", leave=False, disable=not shown)
        results: list[SegmentationResult] = []
        measurements: list[list[Measurement]] = []
        # A GPU maps address space far beyond what it takes of the memory, so there is no limit to that.
        with bounded_memory() if self.segmenter.device.type == "cpu" else nullcontext():
            for image in bar:
                result = self.segmenter.segment(image, members=True)
                measurements.append(measure_regions(result, self.codes, source.axis_spacing))
                results.append(replace(result, members=None))
        with bounded_memory(), bounded_time(self.time_limit, "Making the DICOM objects"):
            made = make_objects(source, results, self.codes, self.equipment, uids, measurements)
            return SegmentedCase(source, results, measurements, made)


def note_on(case: DicomCase, source: VolumeInput | PictureInput) -> str:
    """One line on what of a case's images is not as DICOM allows it, and what was done; empty where all is."""
    instances = [i for series in case.series for i in series.instances]
    notes = [*(note for i in instances for note in i.notes), identity_note([i.header for i in instances])]
    if isinstance(source, PictureInput) and len(source.images) != (stated := number_of_frames(source.header)):
        notes.append(f"there are {len(source.images)} frames, not the {stated} that are stated")
    return "; ".join(note for note in dict.fromkeys(notes) if note)


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
        label_map = swap_image_axes(result.label_map)
        maps = [np.moveaxis(swap_image_axes(m), 0, -1) for m in (result.probability, result.uncertainty)]
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
    measured = zip(results, measurements, strict=True)
    coded = [code_measurements(result, codes, source.axis_spacing, regions) for result, regions in measured]
    objects["sr"] = make_report(maker, objects["seg"], evidence, coded)
    if isinstance(source, PictureInput):
        refer_to_class(objects["sr"], evidence[0], text(source.header, "SOPClassUID"))
    return objects
