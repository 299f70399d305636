# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The report of a segmented case: one HTML file that needs nothing else.

- ``case``: the content of a report.
- ``page``: the page, its HTML and the data that its scripts draw from; ``assets``: style and scripts.
- ``pictures``: images, maps and diagrams as data URLs, and outlines of masks as SVG paths.
"""

from .case import ReportCase, ReportRegion, ReportReliability
from .page import write_report
