# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom.uid import UID
from highdicom.volume import VolumeGeometry
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medsegdiff_monai.apps.dicom.reading.attributes import decimals, text
from medsegdiff_monai.apps.dicom.reading.identity import complete_header
from medsegdiff_monai.apps.dicom.reading.picture import PictureInput
from medsegdiff_monai.apps.dicom.reading.volume import VolumeInput

__all__ = ["PictureGrid", "SourceGrid", "VolumeGrid", "refer_to_class"]

_TEMPORAL_POSITION = Tag(0x0020, 0x9128)
_FRAME_CONTENT = Tag(0x0020, 0x9111)
_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"  # ultrasound, multi-frame  # ultrasound, multi-frame
_IMAGE_POSITION = Tag(0x0020, 0x0032)


class SourceGrid(ABC):
    """The images that were segmented, as what is derived from them refers to them.

    Attributes:
        sources: headers of the objects whose grid it is.
        further: headers of other objects that were used.
        omits_empty_frames: whether frames of a segmentation that hold nothing are left out.
        body_part: Body Part Examined (0018,0015).
    """

    sources: list[Dataset]
    further: list[Dataset]
    omits_empty_frames: bool
    body_part: str

    @abstractmethod
    def pixels(self, array: np.ndarray, channels: Mapping[str, Sequence[int]] | None) -> Any:
        """Array ``(frames, rows, columns[, channels])`` as highdicom takes it for these sources."""

    def finish(self, made: Dataset) -> None:
        """Complete an object that highdicom made."""
        made.BodyPartExamined = self.body_part
        self._refer_to_further(made)

    def _refer_to_further(self, made: Dataset) -> None:
        """Refer to the other objects that were used (PS3.3 C.7.6.16.1.4, C.12.2).

        highdicom can do this, but it reads through its tables of all attributes for each of hundreds of objects.
        """
        images: dict[str, list[Dataset]] = {}
        for header in self.further:
            image = Dataset()
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            images.setdefault(str(header.SeriesInstanceUID), []).append(image)
        if images:
            made.SourceImageSequence = [*made.SourceImageSequence, *(i for several in images.values() for i in several)]
        series = {str(item.SeriesInstanceUID): item for item in made.get("ReferencedSeriesSequence", [])}
        for uid, several in images.items():
            if uid not in series:
                series[uid] = Dataset()
                series[uid].SeriesInstanceUID, series[uid].ReferencedInstanceSequence = uid, []
            item = series[uid]
            item.ReferencedInstanceSequence = [*item.ReferencedInstanceSequence, *several]
        if images:
            made.ReferencedSeriesSequence = list(series.values())


class VolumeGrid(SourceGrid):
    """The grid of a volume, in its frame of reference."""

    omits_empty_frames = True

    def __init__(self, volume: VolumeInput, body_part: str) -> None:
        self.geometry: VolumeGeometry = volume.geometry
        self.sources, self.further, self.body_part = volume.sources, volume.further, body_part

    def pixels(self, array: np.ndarray, channels: Mapping[str, Sequence[int]] | None) -> Any:
        """See :class:`SourceGrid`."""
        described: Any = None if channels is None else dict(channels)
        return self.geometry.with_array(array, channels=described)


class PictureGrid(SourceGrid):
    """The frames of a picture, which have no place in the patient.

    highdicom writes one frame, or none, for an image without a frame of reference. So it is given the frames as if they
    were stacked, one millimetre apart. What was made up is taken out again: the frames are then told apart by their
    temporal position, and refer to the frames of the source.
    """

    omits_empty_frames = False

    def __init__(self, picture: PictureInput, body_part: str) -> None:
        self.body_part = body_part
        self.spacing = picture.spacing
        self.frames = len(picture.images)
        self.sop_class = text(picture.header, "SOPClassUID")
        self.sources, self.further = [self._stacked(picture.header)], []

    def pixels(self, array: np.ndarray, channels: Mapping[str, Sequence[int]] | None) -> Any:
        """See :class:`SourceGrid`."""
        return array

    def _stacked(self, header: Dataset) -> Dataset:
        made_up = complete_header(header)
        shared, measures, plane = Dataset(), Dataset(), Dataset()
        made_up.FrameOfReferenceUID = UID()
        made_up.PixelSpacing = measures.PixelSpacing = decimals(self.spacing or (1.0, 1.0))
        made_up.SliceThickness = measures.SliceThickness = 1
        made_up.ImagePositionPatient = [0, 0, 0]
        made_up.ImageOrientationPatient = plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        made_up.SharedFunctionalGroupsSequence = [shared]
        made_up.NumberOfFrames = self.frames
        if self.frames > 1:  # objects of other classes have one frame for highdicom, whatever they hold
            made_up.SOPClassUID = _MULTIFRAME
        made_up.PerFrameFunctionalGroupsSequence = [self._at(i) for i in range(self.frames)]
        return made_up

    @staticmethod
    def _at(index: int) -> Dataset:
        group, place = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, -index]  # highdicom counts frames against the normal
        group.PlanePositionSequence = [place]
        return group

    def finish(self, made: Dataset) -> None:
        """See :class:`SourceGrid`; what was made up is taken out."""
        super().finish(made)
        made.PatientOrientation = ""
        for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            if keyword in made:
                delattr(made, keyword)
        shared = made.SharedFunctionalGroupsSequence[0]
        for keyword in ("PlaneOrientationSequence", "PlanePositionSequence"):
            if keyword in shared:
                delattr(shared, keyword)
        if self.spacing is None:
            del shared.PixelMeasuresSequence
        for index in made.DimensionIndexSequence:
            if index.DimensionIndexPointer == _IMAGE_POSITION:
                index.DimensionIndexPointer, index.FunctionalGroupPointer = _TEMPORAL_POSITION, _FRAME_CONTENT
                index.DimensionDescriptionLabel = "Temporal Position Index"
        for group in made.PerFrameFunctionalGroupsSequence:
            self._finish_frame(group)
        refer_to_class(made, self.sources[0], self.sop_class)

    def _finish_frame(self, group: Dataset) -> None:
        frame = 1 - round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]))
        del group.PlanePositionSequence
        group.FrameContentSequence[0].TemporalPositionIndex = frame
        for image in group.DerivationImageSequence[0].SourceImageSequence:
            if self.frames > 1:
                image.ReferencedFrameNumber = frame
            elif "ReferencedFrameNumber" in image:
                del image.ReferencedFrameNumber


def refer_to_class(made: Dataset, source: Dataset, sop_class: str) -> None:
    """Let an object refer to a source by the source's own SOP class, also where highdicom was given another one."""
    if source.SOPClassUID == sop_class:
        return
    instance = source.SOPInstanceUID

    def mend(item: Dataset, element: Any) -> None:
        if element.keyword == "ReferencedSOPClassUID" and item.get("ReferencedSOPInstanceUID") == instance:
            element.value = sop_class

    made.walk(mend)
