# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


from .case import DicomSegmenter, SegmentedCase
from .codes import BundleCodes, ImageKind, Measure, SegmentCodes, read_codes
from .command import CaseResult, problem_of, refuse_unused_names, run_dicom, segment_folders, summary_of
from .discovery import DicomCase, Instance, LeftOut, Series, find_dicom_cases, image_classes, read_headers
from .privacy import Privacy, without_values_in_logs
from .results import DicomObjects, make_objects, series_sizes
from .segmenter import BundleSegmenter, SegmentationResult
from .uids import ResultUIDs
