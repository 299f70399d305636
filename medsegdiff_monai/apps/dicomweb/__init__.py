# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from .address import check_url, exposes_credentials
from .command import run_dicomweb
from .credentials import Credentials, read_credentials
from .errors import PacsError
from .exchange import Limits
from .pacs import Pacs, StoredSeries
from .storing import store_objects
from .study import StudyOptions, segment_study
