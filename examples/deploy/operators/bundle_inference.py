# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from typing import Any

from monai.deploy.core import Fragment, Operator, OperatorSpec

from medsegdiff_monai.apps.bundle import Bundle

__all__ = ["BundleInferenceOperator"]


class BundleInferenceOperator(Operator):
    """A bundle's own inference: its preprocessing, network, inferer and postprocessing.

    The SDK's ``MonaiBundleInferenceOperator`` hands on one channel of whole numbers, without probability and
    uncertainty, and leaves the bundle's reading and writing of files in its transforms.

    Named input:
        sources: list of ``VolumeInput`` or ``PictureInput``.

    Named output:
        results: for each source the list of :class:`~medsegdiff_monai.apps.bundle.SegmentationResult`, one for a
            volume and one for each frame of a picture.

    Args:
        fragment: the application.
        bundle: the bundle.
    """

    def __init__(self, fragment: Fragment, *args: Any, bundle: Bundle, **kwargs: Any) -> None:
        self.bundle = bundle
        super().__init__(fragment, *args, **kwargs)  # last, for it calls setup

    def setup(self, spec: OperatorSpec) -> None:
        """Declare the ports."""
        spec.input("sources")
        spec.output("results")

    def compute(self, op_input: Any, op_output: Any, context: Any) -> None:
        """Segment the images.

        Raises:
            InputError: when one is constant or of the wrong kind.
        """
        sources = op_input.receive("sources")
        results = [[self.bundle.segment(image, members=True) for image in source.images] for source in sources]
        op_output.emit(results, "results")
