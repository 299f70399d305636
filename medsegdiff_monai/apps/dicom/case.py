# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import hashlib
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle, SegmentationResult
from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind, read_codes
from medsegdiff_monai.apps.dicom.contrasts import NamedContrasts, choose_contrasts
from medsegdiff_monai.apps.dicom.discovery import DicomCase
from medsegdiff_monai.apps.dicom.equipment import Equipment
from medsegdiff_monai.apps.dicom.identity import identity_note
from medsegdiff_monai.apps.dicom.limits import bounded_memory, bounded_time
from medsegdiff_monai.apps.dicom.picture import PictureInput, read_picture
from medsegdiff_monai.apps.dicom.pixel_sizes import number_of_frames
from medsegdiff_monai.apps.dicom.results import DicomObjects, make_objects
from medsegdiff_monai.apps.dicom.uids import ResultUIDs
from medsegdiff_monai.apps.dicom.volume import VolumeInput, read_volume

__all__ = ["TIME_LIMIT", "DicomSegmenter", "SegmentedCase", "note_on"]

TIME_LIMIT = 1800.0  # seconds: a hundred times what the largest study takes


@dataclass(frozen=True)
class SegmentedCase:
    """A case with its image, the bundle's answer, and the DICOM objects made from it."""

    source: VolumeInput | PictureInput
    results: list[SegmentationResult]
    made: DicomObjects


class DicomSegmenter:
    """From a case of DICOM objects to the DICOM objects that describe its segmentation.

    Args:
        bundle: folder of the bundle.
        num_inference_steps: number of network evaluations of each member; None for the bundle's.
        num_ensemble: likewise.
        device: likewise.
        overrides: other entries of the bundle's configuration.

    Attributes:
        time_limit: seconds that reading a case may take, and making its objects; None for no limit.
        segmenter: the bundle.
        codes: how its input and output are called in DICOM.
        equipment: what makes the objects.

    Raises:
        InputError: when the bundle is missing or cannot be used.
    """

    def __init__(
        self,
        bundle: str | os.PathLike[str],
        num_inference_steps: int | None = None,
        num_ensemble: int | None = None,
        device: str | None = None,
        **overrides: Any,
    ) -> None:
        self.time_limit: float | None = TIME_LIMIT
        self.segmenter = Bundle(
            bundle, device=device, num_inference_steps=num_inference_steps, num_ensemble=num_ensemble, **overrides
        ).build()
        self.codes: BundleCodes = read_codes(bundle, self.segmenter.regions, self.segmenter.contrasts)
        checksum = hashlib.sha256(Path(self.segmenter.checkpoint).read_bytes()).hexdigest()
        name = Path(bundle).resolve().name
        self.equipment = Equipment(name, self.codes.algorithm.version, f"weights-{checksum[:16]}")

    def read(
        self, case: DicomCase, named: NamedContrasts | None = None, resample: bool = False
    ) -> VolumeInput | PictureInput:
        """Read the images of a case.

        Args:
            case: the case.
            named: contrasts that the user names.
            resample: whether contrasts on other grids are resampled onto the first's.

        Raises:
            InputError: when they cannot be used; its sentence holds no patient data.
        """
        with bounded_memory(), bounded_time(self.time_limit, "Reading the images"):
            if self.codes.kind is ImageKind.VOLUME:
                series = choose_contrasts(case.series, self.codes.contrasts, named)
                return read_volume(series, self.codes.contrasts, resample)
            return read_picture(case.series[0].instances[0], self.codes.kind)

    def segment(
        self,
        source: VolumeInput | PictureInput,
        members: bool = False,
        show_progress: bool = False,
        uids: ResultUIDs | None = None,
    ) -> SegmentedCase:
        """Segment a case and make its DICOM objects.

        Args:
            source: what :meth:`read` gave.
            members: whether the members are kept in the results.
            show_progress: whether a bar counts the frames of a multi-frame picture.
            uids: what the objects are called; new UIDs by default.

        Raises:
            InputError: when an image is constant or of the wrong kind.
        """
        images = [source.image] if isinstance(source, VolumeInput) else source.images
        shown = show_progress and len(images) > 1
        bar = tqdm(images, desc="Frames", unit="frame", leave=False, disable=not shown)
        # A GPU maps address space far beyond what it takes of the memory, so there is no limit to that.
        with bounded_memory() if self.segmenter.device.type == "cpu" else nullcontext():
            results = [self.segmenter.segment(image, members) for image in bar]
        with bounded_memory(), bounded_time(self.time_limit, "Making the DICOM objects"):
            return SegmentedCase(source, results, make_objects(source, results, self.codes, self.equipment, uids))


def note_on(case: DicomCase, source: VolumeInput | PictureInput) -> str:
    """One line on what of a case's images is not as DICOM allows it, and what was done; empty where all is.

    Args:
        case: the case.
        source: what was read of it.
    """
    instances = [i for series in case.series for i in series.instances]
    notes = [note for i in instances for note in i.notes]
    if identity := identity_note(i.header for i in instances):
        notes.append(identity)
    if isinstance(source, PictureInput) and len(source.images) != number_of_frames(source.header):
        notes.append(
            f"there are {len(source.images)} frames, not the {number_of_frames(source.header)} that are stated"
        )
    return "; ".join(dict.fromkeys(notes))
