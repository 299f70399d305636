# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription
from highdicom.uid import UID

from medsegdiff_monai.apps.dicom.codes import AlgorithmCodes, SegmentCodes
from medsegdiff_monai.apps.dicom.uids import ResultUIDs

__all__ = ["Equipment", "SeriesPlace", "segment_descriptions"]

_MANUFACTURER = "MedSegDiff-MONAI"
_PACKAGE = "medsegdiff_monai"


@dataclass(frozen=True)
class Equipment:
    """The software that makes the objects (PS3.3 C.7.5.1).

    Attributes:
        model: name of the bundle.
        bundle_version: its version.
        serial: what tells these weights from others, as a device's serial number does.
    """

    model: str
    bundle_version: str
    serial: str

    @property
    def attributes(self) -> dict[str, Any]:
        """Arguments of highdicom's constructors."""
        return {
            "manufacturer": _MANUFACTURER,
            "manufacturer_model_name": self.model,
            "software_versions": [f"bundle {self.bundle_version}", f"{_PACKAGE} {version(_PACKAGE)}"],
            "device_serial_number": self.serial,
        }


@dataclass
class SeriesPlace:
    """A new series and the objects in it so far."""

    number: int
    description: str
    uids: ResultUIDs = field(default_factory=ResultUIDs)
    instances: int = 0

    def next_instance(self) -> dict[str, Any]:
        """Arguments of highdicom's constructors for the next object of the series."""
        self.instances += 1
        return {
            "series_instance_uid": self.uids.series(self.number),
            "series_number": self.number,
            "series_description": self.description,
            "sop_instance_uid": self.uids.instance(self.number, self.instances),
            "instance_number": self.instances,
        }


def segment_descriptions(
    segments: tuple[SegmentCodes, ...], algorithm: AlgorithmCodes, tracking: dict[str, UID]
) -> list[SegmentDescription]:
    """Descriptions of segments, numbered from 1.

    Args:
        segments: the segments.
        algorithm: what segmented them.
        tracking: a tracking UID for each segment's name, which report and segmentations of a case share.
    """
    identification = AlgorithmIdentificationSequence(
        name=algorithm.name, family=algorithm.family, version=algorithm.version, source=_MANUFACTURER
    )
    return [
        SegmentDescription(
            segment_number=i + 1,
            segment_label=s.label,
            segmented_property_category=s.category,
            segmented_property_type=s.property_type,
            algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
            tracking_uid=tracking[s.name],
            tracking_id=s.name,
            anatomic_regions=[s.anatomy],
            display_color=s.colour,
        )
        for i, s in enumerate(segments)
    ]
