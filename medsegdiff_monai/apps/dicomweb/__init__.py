# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Images from a PACS and results into it, by DICOMweb."""

from .access import Credentials, check_url, exposes_credentials, read_credentials
from .command import read_studies, run_dicomweb
from .errors import PacsError
from .exchange import Limits
from .pacs import Pacs, StoredSeries, store_objects
from .study import StudyOptions, StudyPrivacy, segment_study
