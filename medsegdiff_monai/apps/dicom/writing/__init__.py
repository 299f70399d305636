# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""From a segmentation to DICOM objects: segmentations, uncertainty maps and the structured report."""
