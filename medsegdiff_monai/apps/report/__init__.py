# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .case import ReportCase, ReportRegion
from .page import write_report
from .reliability import ReportReliability
