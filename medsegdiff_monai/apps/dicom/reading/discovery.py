# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from medsegdiff_monai.apps.dicom.codes import BundleCodes, ImageKind
from medsegdiff_monai.apps.dicom.reading.attributes import (
    PICTURE_CLASSES,
    SECONDARY_CAPTURE,
    VOLUME_CLASSES,
    number,
    text,
    uid_suffix,
    valid_uid,
    words,
)
from medsegdiff_monai.apps.dicom.reading.header import Instance, LeftOut
from medsegdiff_monai.apps.dicom.reading.identity import Privacy

__all__ = ["DicomCase", "Series", "find_dicom_cases", "image_classes"]

_LOCALIZERS = {"LOCALIZER", "SCOUT", "SURVEY"}


@dataclass
class Series:
    """Images of one series, and where it lies in the user's folders: for messages, without patient data."""

    instances: list[Instance] = field(default_factory=list)
    place: str = ""

    @property
    def header(self) -> Dataset:
        """Header of its first image."""
        return self.instances[0].header

    @property
    def uid(self) -> str:
        """Series Instance UID."""
        return text(self.header, "SeriesInstanceUID")

    @property
    def title(self) -> str:
        """Its number and size, for messages."""
        images = f"{len(self.instances)} images" if len(self.instances) > 1 else "1 object"
        stated = number(self.header, "SeriesNumber")
        return f"series {uid_suffix(valid_uid(self.uid)) if stated is None else f'{stated:g}'} ({images})"


@dataclass
class DicomCase:
    """Series that are segmented as one: those of a study for a volume, an image object for pictures."""

    series: list[Series]

    @property
    def header(self) -> Dataset:
        """Header of its first image."""
        return self.series[0].header

    @property
    def study_suffix(self) -> str:
        """End of the Study Instance UID of the results, for messages; what is no UID may be anybody's number."""
        return uid_suffix(valid_uid(text(self.header, "StudyInstanceUID")))


def find_dicom_cases(
    instances: Sequence[Instance], codes: BundleCodes, privacy: Privacy
) -> tuple[list[DicomCase], list[LeftOut]]:
    """Sort objects into cases, in the order of their studies' and series' UIDs, and what is no image for the bundle."""
    by_uid: dict[str, Series] = {}
    for instance in instances:
        uid = text(instance.header, "SeriesInstanceUID")
        by_uid.setdefault(uid, Series(place=privacy.shown(instance.path.parent))).instances.append(instance)
    usable: list[Series] = []
    left_out: list[LeftOut] = []
    by_number = sorted(by_uid.values(), key=lambda s: (number(s.header, "SeriesNumber") or 0.0, s.uid))
    for series in sorted(by_number, key=lambda s: text(s.header, "StudyInstanceUID")):
        by_refusal: dict[tuple[str, bool], list[Instance]] = {}
        for instance in series.instances:
            by_refusal.setdefault(_refusal(instance.header, codes), []).append(instance)
        for (reason, counts), alike in by_refusal.items():
            if reason:
                left_out.append(LeftOut(f"{Series(alike).title} in {series.place}", f"{reason}.", counts))
            else:
                usable.append(Series(alike, series.place))
    if codes.kind is not ImageKind.VOLUME:
        for series in usable:
            series.instances.sort(key=lambda i: text(i.header, "SOPInstanceUID"))
            series.instances.sort(key=lambda i: number(i.header, "InstanceNumber") or 0.0)
        return [DicomCase([Series([i], s.place)]) for s in usable for i in s.instances], left_out
    studies: dict[str, DicomCase] = {}
    for series in usable:
        studies.setdefault(text(series.header, "StudyInstanceUID"), DicomCase([])).series.append(series)
    return list(studies.values()), left_out


def _refusal(header: Dataset, codes: BundleCodes) -> tuple[str, bool]:
    """Why an object is no image for the bundle, empty where it is one, and whether it may have been meant as one."""
    modality, sop_class = text(header, "Modality"), text(header, "SOPClassUID")
    if modality in ("SEG", "SR", "KO", "PR"):
        return f"is no image ({modality})", False
    if modality not in codes.modalities:
        named = modality if modality.isalpha() and modality.isascii() and len(modality) <= 16 else "not stated"
        return f"has the modality {named}, this bundle takes {' or '.join(codes.modalities)}", not modality
    if _LOCALIZERS & set(words(header, "ImageType")):
        return "is a localizer, no image to segment", False
    burned_in = text(header, "BurnedInAnnotation").upper()
    if (sop_class == SECONDARY_CAPTURE or sop_class.startswith(f"{SECONDARY_CAPTURE}.")) and burned_in != "NO":
        return "is a secondary capture that may have annotation burned in: give the original images", False
    is_image = bool(number(header, "Rows") and number(header, "Columns"))
    if sop_class not in image_classes(codes):
        return "is of an object class that this bundle does not take", is_image
    return ("", False) if is_image else ("has no Rows and Columns, so it is truncated or no image", True)


def image_classes(codes: BundleCodes) -> frozenset[str]:
    """SOP Class UIDs of the objects that can be an image for the bundle."""
    return VOLUME_CLASSES if codes.kind is ImageKind.VOLUME else PICTURE_CLASSES
