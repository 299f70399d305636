# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Metrics by MONAI's interface, and calibration.

- ``regions``: Dice, IoU, Hausdorff distance and surface Dice of each region of each case, and their base class.
- ``cup_to_disc``: the vertical cup-to-disc ratio of a fundus.
- ``readers``: comparison with the masks of several readers.
- ``reliability``: calibration errors and the bins of a reliability diagram, over all voxels of a data set.
- ``temperature``: fit of a temperature to the members of an ensemble.
"""

from .cup_to_disc import CupToDiscRatio, vertical_cup_to_disc_ratio
from .readers import GeneralizedEnergyDistance, OverReaders
from .regions import (
    RegionDice,
    RegionHausdorffDistance,
    RegionIoU,
    RegionMetric,
    RegionSurfaceDice,
    binary_masks,
)
from .reliability import Reliability, ReliabilityBins, binary_log_loss
from .temperature import TEMPERATURE_BOUNDS, MemberLogits, TemperatureFit, fit_temperature
