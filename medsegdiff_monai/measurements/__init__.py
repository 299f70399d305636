# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from .interval import MemberValues, measure_ensemble, measure_members, measurement_intervals
from .measurement import Measurement
from .shape import (
    Diameters,
    diameters,
    largest_diameters,
    mask_area,
    mask_volume,
    vertical_extent,
    vertical_ratio,
)
