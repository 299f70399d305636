# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .calibration import AdaptiveCalibrationError, BrierScore, ExpectedCalibrationError, NegativeLogLikelihood
from .cup_to_disc import CupToDiscRatio, vertical_cup_to_disc_ratio
from .energy_distance import GeneralizedEnergyDistance
from .overlap import RegionDice, RegionIoU
from .readers import OverReaders
from .region_metric import RegionMetric, binary_masks
from .reliability import Reliability, ReliabilityBins, binary_log_loss
from .risk_coverage import AreaUnderRiskCoverage, RiskCoverage, area_under_risk_coverage, risk_coverage
from .surface import RegionHausdorffDistance, RegionSurfaceDice
from .temperature import TEMPERATURE_BOUNDS, MemberLogits, TemperatureFit, fit_temperature
