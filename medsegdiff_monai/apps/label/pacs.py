# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pydicom.datadict import tag_for_keyword

from medsegdiff_monai.apps.dicomweb import Pacs
from medsegdiff_monai.utils import InputError

__all__ = ["PicturePacs", "StoredPicture", "check_filter"]

_STUDY_UID = "0020000D"


@dataclass(frozen=True)
class StoredPicture:
    """Where a PACS has an object: its Study, Series and SOP Instance UID."""

    study: str
    series: str
    instance: str


class PicturePacs(Pacs):
    """A DICOMweb service as a source of pictures; see :class:`~medsegdiff_monai.apps.dicomweb.Pacs`."""

    def studies(self, modality: str, study_filter: Mapping[str, str]) -> list[str]:
        """Study Instance UIDs of the studies with images of a modality.

        Args:
            modality: the modality.
            study_filter: what else the studies must be, by the keyword of the attribute (PS3.18 8.3.4).

        Raises:
            PacsError: when the PACS does not answer as it should.
        """
        asked = {**study_filter, "ModalitiesInStudy": modality}
        with self._errors("listing the studies"):
            return list(self._pages("studies", _STUDY_UID, asked))

    def pictures(
        self, modalities: Collection[str], classes: Collection[str], study_filter: Mapping[str, str]
    ) -> list[StoredPicture]:
        """The objects of the modalities and classes that the PACS lists, in the order of their UIDs.

        Args:
            modalities: values of Modality (0008,0060).
            classes: SOP Class UIDs.
            study_filter: see :meth:`studies`.

        Raises:
            PacsError: when the PACS does not answer as it should.
        """
        studies = {study for modality in modalities for study in self.studies(modality, study_filter)}
        found = [
            StoredPicture(study, series.uid, instance)
            for study in sorted(studies)
            for series in self.series_of(study).values()
            if series.modality in modalities
            for instance, kind in series.instances.items()
            if kind in classes
        ]
        return sorted(found, key=lambda p: (p.study, p.series, p.instance))


def check_filter(study_filter: object) -> dict[str, str]:
    """What the studies must be, as a search takes it.

    Raises:
        InputError: when it is no object of DICOM keywords and texts.
    """
    if not isinstance(study_filter, dict) or not all(isinstance(v, str) for v in study_filter.values()):
        raise InputError('The study filter is no object of texts: give one such as {"StudyDate": "20260101-"}.')
    unknown = [key for key in study_filter if tag_for_keyword(str(key)) is None]
    if unknown:
        raise InputError(f"The study filter has the unknown attribute {unknown[0]}: give DICOM keywords as StudyDate.")
    return study_filter
