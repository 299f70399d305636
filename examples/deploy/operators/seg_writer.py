# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from medsegdiff_monai.apps.dicom import BundleCodes, DicomObjects, Equipment, make_objects, write_case
from medsegdiff_monai.utils import InputError

__all__ = ["SegWriterOperator"]


class SegWriterOperator(Operator):
    """Writes the DICOM segmentation with the probability, the uncertainty and the measurements, or nothing.

    The SDK's ``DICOMSegmentationWriterOperator`` refers to the first series only, and hands pictures to highdicom as
    they are, which writes one frame at most of what has no frame of reference.

    Named input:
        sources: what was segmented.
        results: what the bundle says about it.

    File output:
        ``case_001/seg.dcm`` and the others that the command ``dicom`` writes, for each source.

    Args:
        fragment: the application.
        codes: what the segments are.
        equipment: what makes the objects.
        output_folder: where they are written.
    """

    def __init__(
        self,
        fragment: Fragment,
        *args: Any,
        codes: BundleCodes,
        equipment: Equipment,
        output_folder: Path,
        **kwargs: Any,
    ) -> None:
        self.codes, self.equipment, self.output_folder = codes, equipment, output_folder
        super().__init__(fragment, *args, **kwargs)  # last, for it calls setup

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("sources")
        spec.input("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Make the objects and write them.

        Raises:
            InputError: when they cannot be written.
        """
        pairs = zip(op_input.receive("sources"), op_input.receive("results"))
        self._write([make_objects(source, results, self.codes, self.equipment) for source, results in pairs])

    def _write(self, made: Sequence[DicomObjects]) -> None:
        try:
            for number, one in enumerate(made, start=1):
                write_case(self.output_folder, number, one)
        except InputError:
            for number in range(1, len(made) + 1):
                shutil.rmtree(self.output_folder / f"case_{number:03d}", ignore_errors=True)
            raise
