# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from medsegdiff_monai.apps.dicom import (
    BundleCodes,
    choose_contrasts,
    parse_contrasts,
    read_volume,
    refuse_unused_names,
)

from .selection import selected_cases

__all__ = ["FourContrastMriOperator"]


class FourContrastMriOperator(Operator):
    """Recognises the contrasts among the series of a study and puts them into one image.

    The SDK's ``DICOMSeriesToVolumeOperator`` takes one series, of which the mask of four contrasts cannot be made.

    Named input:
        study_selected_series_list: list of ``StudySelectedSeries``, all MR series of each study.

    Named output:
        sources: list of :class:`~medsegdiff_monai.apps.dicom.VolumeInput`, one for each study.

    Args:
        fragment: the application.
        codes: how the bundle's input is called in DICOM, with the names of the contrasts.
        contrasts: series that the user names, as ``T1w=3,T1gd=4``; None where all are to be recognised.
        resample: whether contrasts on another grid than the first are resampled onto it; otherwise they are refused.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        codes: BundleCodes,
        contrasts: str | None = None,
        resample: bool = False,
        **kwargs: Any,
    ) -> None:
        self.codes = codes
        self.named = parse_contrasts(contrasts, codes.contrasts)
        self.resample = resample
        super().__init__(fragment, *args, **kwargs)  # last, for it calls setup

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("study_selected_series_list")
        spec.output("sources")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Read the study.

        Raises:
            InputError: when a contrast is missing, several series show it, a name fits no series, or the series are no
                volume on one grid.
        """
        cases = selected_cases(op_input.receive("study_selected_series_list"), self.codes)
        refuse_unused_names(self.named, cases)
        chosen = [choose_contrasts(case.series, self.codes.contrasts, self.named) for case in cases]
        sources = [read_volume(series, self.codes.contrasts, self.resample) for series in chosen]
        op_output.emit(sources, "sources")
