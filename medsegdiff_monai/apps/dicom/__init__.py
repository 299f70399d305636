# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from .case import DicomSegmenter, SegmentedCase
from .codes import BundleCodes, ImageKind, Measure, SegmentCodes, read_codes
from .command import CaseResult, problem_of, refuse_unused_names, run_dicom, segment_folders, summary_of
from .discovery import DicomCase, Instance, LeftOut, Series, find_dicom_cases, image_classes, read_headers
from .privacy import Privacy, without_values_in_logs
from .results import DicomObjects, make_objects, series_sizes
from .uids import ResultUIDs
