# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from highdicom.uid import UID
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medsegdiff_monai.apps.dicom.reading.attributes import decimals, text
from medsegdiff_monai.apps.dicom.reading.identity import complete_header
from medsegdiff_monai.apps.dicom.reading.images import PictureInput, VolumeInput, placed_frame

__all__ = ["PictureGrid", "SourceGrid", "VolumeGrid", "refer_to_class"]

_TEMPORAL_POSITION = Tag(0x0020, 0x9128)
_FRAME_CONTENT = Tag(0x0020, 0x9111)
_MULTIFRAME = "1.2.840.10008.5.1.4.1.1.3.1"  # ultrasound, multi-frame
_IMAGE_POSITION = Tag(0x0020, 0x0032)


class VolumeGrid:
    """The grid of a volume, in its frame of reference; ``sources`` are the headers of the objects whose grid it is."""

    omits_empty_frames = True  # of segmentations

    def __init__(self, volume: VolumeInput) -> None:
        self.geometry, self.sources, self.further = volume.geometry, volume.sources, volume.further

    def pixels(self, array: np.ndarray, channels: Mapping[str, Sequence[int]] | None) -> Any:
        """Array ``(frames, rows, columns[, channels])`` as highdicom takes it for these sources."""
        described: Any = channels and dict(channels)
        return self.geometry.with_array(array, channels=described)

    def finish(self, made: Dataset) -> None:
        """Let an object refer to the other contrasts' objects (PS3.3 C.7.6.16.1.4, C.12.2).

        highdicom can do this, but it reads through its tables of all attributes for each of hundreds of objects.
        """
        if not self.further:
            return
        series = {str(item.SeriesInstanceUID): item for item in made.get("ReferencedSeriesSequence", [])}
        images: list[Dataset] = []
        for header in self.further:
            image, uid = Dataset(), str(header.SeriesInstanceUID)
            image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = header.SOPClassUID, header.SOPInstanceUID
            images.append(image)
            if uid not in series:
                series[uid] = Dataset()
                series[uid].SeriesInstanceUID, series[uid].ReferencedInstanceSequence = uid, []
            series[uid].ReferencedInstanceSequence.append(image)
        made.SourceImageSequence = [*made.SourceImageSequence, *images]
        made.ReferencedSeriesSequence = list(series.values())


class PictureGrid:
    """The frames of a picture, which have no place in the patient; ``sources`` holds their header.

    highdicom writes one frame, or none, for an image without a frame of reference. So it is given the frames as if they
    were stacked, one millimetre apart. What was made up is taken out again: the frames are then told apart by their
    temporal position, and refer to the frames of the source.
    """

    omits_empty_frames = False

    def __init__(self, picture: PictureInput) -> None:
        self.spacing, self.frames = picture.spacing, len(picture.images)
        self.sop_class = text(picture.header, "SOPClassUID")
        stacked = complete_header(picture.header)
        shared, measures, plane = Dataset(), Dataset(), Dataset()
        stacked.FrameOfReferenceUID = UID()
        stacked.PixelSpacing = measures.PixelSpacing = decimals(self.spacing or (1.0, 1.0))
        stacked.SliceThickness = measures.SliceThickness = 1
        stacked.ImagePositionPatient = [0, 0, 0]
        stacked.ImageOrientationPatient = plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [plane]
        stacked.SharedFunctionalGroupsSequence = [shared]
        stacked.NumberOfFrames = self.frames
        if self.frames > 1:  # objects of other classes have one frame for highdicom, whatever they hold
            stacked.SOPClassUID = _MULTIFRAME
        # highdicom counts frames against the normal
        stacked.PerFrameFunctionalGroupsSequence = [placed_frame([0, 0, -i]) for i in range(self.frames)]
        self.sources = [stacked]

    def pixels(self, array: np.ndarray, channels: Mapping[str, Sequence[int]] | None) -> Any:
        """The array ``(frames, rows, columns[, channels])`` itself."""
        return array

    def finish(self, made: Dataset) -> None:
        """Take out of an object what was made up."""
        made.PatientOrientation = ""
        shared = made.SharedFunctionalGroupsSequence[0]
        for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
            made.pop(keyword, None)
        for keyword in ("PlaneOrientationSequence", "PlanePositionSequence"):
            shared.pop(keyword, None)
        if self.spacing is None:
            del shared.PixelMeasuresSequence
        for index in made.DimensionIndexSequence:
            if index.DimensionIndexPointer == _IMAGE_POSITION:
                index.DimensionIndexPointer, index.FunctionalGroupPointer = _TEMPORAL_POSITION, _FRAME_CONTENT
                index.DimensionDescriptionLabel = "Temporal Position Index"
        for group in made.PerFrameFunctionalGroupsSequence:
            frame = 1 - round(float(group.PlanePositionSequence[0].ImagePositionPatient[2]))
            del group.PlanePositionSequence
            group.FrameContentSequence[0].TemporalPositionIndex = frame
            for image in group.DerivationImageSequence[0].SourceImageSequence:
                image.pop("ReferencedFrameNumber", None)
                if self.frames > 1:
                    image.ReferencedFrameNumber = frame
        refer_to_class(made, self.sources[0], self.sop_class)


SourceGrid = VolumeGrid | PictureGrid


def refer_to_class(made: Dataset, source: Dataset, sop_class: str) -> None:
    """Let an object refer to a source by the source's own SOP class, also where highdicom was given another one."""
    if source.SOPClassUID == sop_class:
        return
    instance = source.SOPInstanceUID

    def mend(item: Dataset, element: Any) -> None:
        if element.keyword == "ReferencedSOPClassUID" and item.get("ReferencedSOPInstanceUID") == instance:
            element.value = sop_class

    made.walk(mend)
