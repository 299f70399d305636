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

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind, read_codes
from medsegdiff_monai.apps.dicom.contrasts import NamedContrasts, choose_contrasts
from medsegdiff_monai.apps.dicom.discovery import DicomCase
from medsegdiff_monai.apps.dicom.equipment import Equipment
from medsegdiff_monai.apps.dicom.picture import PictureInput, read_picture
from medsegdiff_monai.apps.dicom.results import DicomObjects, make_objects
from medsegdiff_monai.apps.dicom.segmenter import BundleSegmenter, SegmentationResult
from medsegdiff_monai.apps.dicom.uids import ResultUIDs
from medsegdiff_monai.apps.dicom.volume import VolumeInput, read_volume

__all__ = ["DicomSegmenter", "SegmentedCase"]


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
        num_inference_steps: as for :class:`BundleSegmenter`.
        num_ensemble: likewise.
        device: likewise.
        overrides: other entries of the bundle's configuration.

    Attributes:
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
        self.segmenter = BundleSegmenter(bundle, num_inference_steps, num_ensemble, device, **overrides)
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
        results = [self.segmenter.segment(image, members) for image in bar]
        return SegmentedCase(source, results, make_objects(source, results, self.codes, self.equipment, uids))
