# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""MedSegDiff for MONAI: segmentation of medical images with diffusion models, which says how sure it is.

``networks``, ``inferers``, ``losses``, ``engines``, ``handlers``, ``metrics``, ``transforms``, ``data``, ``visualize``
and ``utils`` hold what MONAI's packages of these names hold. ``measurements`` has volumes, diameters and their
intervals, and ``apps`` the commands of ``python -m medsegdiff_monai``: DICOM, MONAI Label, export and calibration.
"""

__version__ = "0.8.0"
