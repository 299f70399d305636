# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Handlers of MONAI's trainers and evaluators.

- ``checkpoint``: weights and the state of a run, written at once or not at all; ``training``: all else of a training.
- ``region_metrics``: metrics of the regions that a data set labels.
- ``metrics_table``, ``measurements_table``, ``ensemble_table``, ``calibration``: tables of an evaluation.
- ``tensorboard``: losses, metrics and pictures of a training.
"""

from .calibration import CalibrationReport
from .checkpoint import BestModelSaver, FineTune, LoadWeights, ResumableCheckpoint, load_checkpoint, load_weights
from .ensemble_table import EnsembleTable
from .measurements_table import MeasurementsTable
from .metrics_table import MetricsTable
from .region_metrics import ReaderMetricHandler, RegionMetricHandler
from .tensorboard import TrainingLossBoard, ValidationBoard
from .training import Attach, AveragingWarmUp, ClipGradients, ProgressBar, SeedEpochs, StopOnNonFinite
