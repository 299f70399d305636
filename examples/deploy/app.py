# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM study in, DICOM SEG out: each bundle of this project as an application of MONAI Deploy."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from monai.deploy.conditions import CountCondition
from monai.deploy.core import AppContext, Application
from monai.deploy.operators import DICOMSeriesSelectorOperator
from operators import (
    BundleInferenceOperator,
    FourContrastMriOperator,
    PictureReaderOperator,
    SegWriterOperator,
    StudyLoaderOperator,
)
from operators.selection import selection_rules

from medsegdiff_monai.apps.dicom import DicomSegmenter, ImageKind, prepare_folder, problem_of, without_values_in_logs
from medsegdiff_monai.utils import InputError

__all__ = ["MedSegDiffApp", "find_bundle", "main"]

logger = logging.getLogger(__name__)

CONFIG = Path(__file__).parent / "app.yaml"


def find_bundle(model_path: str) -> Path:
    """The bundle in a model path of MONAI Deploy.

    Args:
        model_path: folder of the bundle, or the folder in which a package holds it under its name.

    Raises:
        InputError: when there is none, or several.
    """
    folder = Path(model_path)
    found = [p.parents[1] for pattern in ("", "*/") for p in folder.glob(f"{pattern}configs/inference.json")]
    if len(found) != 1:
        raise InputError(f"There are {len(found)} bundles in {folder}: give --model the folder of one bundle.")
    return found[0]


class MedSegDiffApp(Application):
    """Loader, selection of series, image, inference, writer.

    Args:
        context: the SDK's context, with the paths of input, output and model.
    """

    def __init__(self, context: AppContext) -> None:
        self.context = context
        super().__init__()

    def compose(self) -> None:
        """Make the operators and join them.

        Raises:
            InputError: when the input folder does not exist, the bundle or a setting cannot be used, or the output
                folder is not empty.
        """
        source = Path(self.context.input_path)
        if not source.is_dir():
            raise InputError(f"There is no folder {source}: give --input the folder with the DICOM objects of a study.")
        settings = self.kwargs("segmentation")
        bundle = find_bundle(self.context.model_path)
        segmenter = DicomSegmenter(bundle, settings.get("steps"), settings.get("members"), settings.get("device"))
        codes = segmenter.codes
        output = prepare_folder(self.context.output_path, overwrite=False)

        once = CountCondition(self, 1)  # without it the loader would read the folder again and again
        loader = StudyLoaderOperator(self, once, input_folder=source, name="loader")
        selector = DICOMSeriesSelectorOperator(self, rules=selection_rules(codes), all_matched=True, name="selector")
        if codes.kind is ImageKind.VOLUME:
            choice = {"contrasts": settings.get("contrasts"), "resample": bool(settings.get("resample"))}
            reader = FourContrastMriOperator(self, codes=codes, **choice, name="contrasts")
        else:
            reader = PictureReaderOperator(self, codes=codes, name="pictures")
        inference = BundleInferenceOperator(self, bundle=segmenter.segmenter, name="inference")
        writer = SegWriterOperator(
            self, codes=codes, equipment=segmenter.equipment, output_folder=output, name="writer"
        )

        self.add_flow(loader, selector, {("dicom_study_list", "dicom_study_list")})
        self.add_flow(selector, reader, {("study_selected_series_list", "study_selected_series_list")})
        self.add_flow(reader, inference, {("sources", "sources")})
        self.add_flow(reader, writer, {("sources", "sources")})
        self.add_flow(inference, writer, {("results", "results")})


def main() -> int:
    """Run the application with the SDK's own arguments.

    Returns:
        Exit status: 0, or 1 where nothing was written, and one sentence on the standard error says why.
    """
    # The runtime and the SDK write paths and attributes into their logs, and the text of every error a second time.
    os.environ.setdefault("HOLOSCAN_LOG_LEVEL", "OFF")
    arguments = [sys.argv[0], "--log-level", "WARN", *sys.argv[1:]]
    try:
        app = MedSegDiffApp(Application.init_app_context(arguments))
        app.config(str(CONFIG))
        with without_values_in_logs():
            app.run()
    except Exception as e:  # the runtime hands on whatever the operators raise
        logger.debug("The application failed", exc_info=True)  # only when asked for: a traceback may hold values
        print(f"Error: {problem_of(e)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
