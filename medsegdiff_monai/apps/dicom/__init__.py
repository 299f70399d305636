# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""DICOM in, DICOM out: ``reading`` finds and reads images, ``writing`` makes objects, and here cases are run."""

from .case import DicomSegmenter, SegmentedCase
from .codes import BundleCodes, ImageKind, Measure, SegmentCodes, read_codes
from .command import problem_of, run_dicom, segment_folders
from .output import CaseResult, prepare_folder, write_case
from .reading.contrasts import choose_contrasts, parse_contrasts, refuse_unused_names
from .reading.discovery import DicomCase, Series, find_dicom_cases, image_classes
from .reading.files import read_headers
from .reading.header import Instance, LeftOut
from .reading.identity import Privacy, without_values_in_logs
from .reading.images import PictureInput, VolumeInput, read_picture, read_volume
from .reading.pixels import number_of_frames
from .writing.grid import PictureGrid
from .writing.objects import DicomObjects, make_objects
from .writing.segmentation import Equipment, ObjectMaker, ResultUIDs, series_sizes
