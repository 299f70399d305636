# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import logging
from pathlib import Path

from monai.deploy.core.domain.dicom_series import DICOMSeries
from monai.deploy.core.domain.dicom_study import DICOMStudy
from monai.deploy.operators import DICOMDataLoaderOperator

from medsegdiff_monai.apps.dicom import Instance, Privacy, read_headers

__all__ = ["StudyLoaderOperator"]

logger = logging.getLogger(__name__)


class StudyLoaderOperator(DICOMDataLoaderOperator):
    """The SDK's loader of studies with the reading of the command ``dicom``.

    The SDK's own keeps one of several images at the same place without a word, where the command refuses them, and
    writes the names of files, which are often those of patients, into its log. Ports and parameters are the SDK's. The
    objects hold no pixels, which are read, slice by slice, where the image is put together.
    """

    def load_data_to_studies(self, input_path: Path) -> list[DICOMStudy]:
        """Read the headers of all objects in a folder and the folders below.

        Args:
            input_path: the folder.

        Returns:
            The studies with their series and objects; what is no DICOM object is named in the log.

        Raises:
            InputError: when the folder does not exist or holds no file.
        """
        instances, left_out = read_headers([input_path], Privacy())
        for one in left_out:
            logger.warning("Left out: %s %s", one.what, one.reason)
        studies: dict[str, DICOMStudy] = {}
        series: dict[str, DICOMSeries] = {}
        for instance in instances:
            uid = str(instance.header.SeriesInstanceUID)
            if uid not in series:
                series[uid] = self._add_series(studies, instance, uid)
            series[uid].add_sop_instance(instance.header)
        return list(studies.values())

    def _add_series(self, studies: dict[str, DICOMStudy], instance: Instance, uid: str) -> DICOMSeries:
        study_uid = str(instance.header.StudyInstanceUID)
        if study_uid not in studies:
            studies[study_uid] = DICOMStudy(study_uid)
            self.populate_study_attributes(studies[study_uid], instance.header)
        series = DICOMSeries(uid)
        self.populate_series_attributes(series, instance.header)
        studies[study_uid].add_series(series)
        return series
