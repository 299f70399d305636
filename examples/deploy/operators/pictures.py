# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from medsegdiff_monai.apps.dicom import BundleCodes, read_picture

from .selection import selected_cases

__all__ = ["PictureReaderOperator"]


class PictureReaderOperator(Operator):
    """Reads ultrasound and fundus objects, of one frame or several, in the colours that a bundle wants.

    The SDK's ``DICOMSeriesToVolumeOperator`` is for grey slices with a place in the patient, which these are not.

    Named input:
        study_selected_series_list: list of ``StudySelectedSeries``.

    Named output:
        sources: list of :class:`~medsegdiff_monai.apps.dicom.PictureInput`, one for each object.

    Args:
        fragment: the application.
        codes: how the bundle's input is called in DICOM.
    """

    def __init__(self, fragment: Fragment, *args: Any, codes: BundleCodes, **kwargs: Any) -> None:
        self.codes = codes
        super().__init__(fragment, *args, **kwargs)  # last, for it calls setup

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("study_selected_series_list")
        spec.output("sources")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Read the objects.

        Raises:
            InputError: when one cannot be decoded, or is grey where the bundle needs colours.
        """
        cases = selected_cases(op_input.receive("study_selected_series_list"), self.codes)
        sources = [read_picture(case.series[0].instances[0], self.codes.kind) for case in cases]
        op_output.emit(sources, "sources")
