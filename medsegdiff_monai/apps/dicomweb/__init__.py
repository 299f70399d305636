# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Images from a PACS and results into it, by DICOMweb."""

from .access import Credentials, check_url, exposes_credentials, read_credentials
from .command import read_studies, run_dicomweb
from .exchange import Limits, PacsError
from .pacs import Pacs, StoredSeries, store_objects
from .study import StudyOptions, StudyPrivacy, segment_study
