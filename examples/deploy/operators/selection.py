# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from monai.deploy.core.domain.dicom_series_selection import StudySelectedSeries

from medsegdiff_monai.apps.dicom import BundleCodes, DicomCase, Instance, Privacy, find_dicom_cases
from medsegdiff_monai.utils import InputError

__all__ = ["selected_cases", "selection_rules"]


def selection_rules(codes: BundleCodes) -> str:
    """Rules for the SDK's selector of series: those of the modalities that a bundle takes.

    Args:
        codes: how the bundle's input is called in DICOM.
    """
    modality = f"^({'|'.join(codes.modalities)})$"
    return json.dumps({"selections": [{"name": "images", "conditions": {"Modality": modality}}]})


def selected_cases(selected: Sequence[StudySelectedSeries], codes: BundleCodes) -> list[DicomCase]:
    """What is segmented as one among the series that the SDK's selector chose.

    Args:
        selected: series of any number of studies.
        codes: what the bundle takes.

    Raises:
        InputError: when none of it is an image for the bundle.
    """
    headers = [
        sop.get_native_sop_instance()
        for study in selected
        for one in study.selected_series
        for sop in one.series.get_sop_instances()
    ]
    if not headers:
        taken = " or ".join(codes.modalities)
        raise InputError(f"There is no series of the modality {taken} in the input folder: give one that has it.")
    instances = [Instance(Path(header.filename), header) for header in headers]
    privacy = Privacy()
    for header in headers:
        privacy.learn(header)
    cases, left_out = find_dicom_cases(instances, codes, privacy)
    if not cases:
        raise InputError(f"There is no image to segment: {left_out[0].what} {left_out[0].reason}")
    return cases
