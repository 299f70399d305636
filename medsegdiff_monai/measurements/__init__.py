# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Measurements of masks in mm, with the intervals that the members of an ensemble give."""

from .ensemble import MemberValues, measure_ensemble, measure_members, measurement_intervals
from .measurement import Measurement
from .shape import Diameters, diameters, largest_diameters, vertical_extent
