# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Applications: the bundle runner, the command line, DICOM and PACS, MONAI Label, export and reports."""
