# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

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
