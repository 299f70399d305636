# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Handlers of MONAI's trainers and evaluators.

- ``checkpoint``: weights and the state of a run, written at once or not at all; ``training``: all else of a training.
- ``region_metrics``: metrics of the regions that a data set labels.
- ``tables``: metrics, measurements and scores of the cases of an evaluation; ``calibration``: their probabilities.
- ``tensorboard``: losses, metrics and pictures of a training.
"""

from .calibration import CalibrationReport
from .checkpoint import BestModelSaver, FineTune, LoadWeights, ResumableCheckpoint, load_checkpoint, load_weights
from .region_metrics import ReaderMetricHandler, RegionMetricHandler
from .tables import EnsembleTable, MeasurementsTable, MetricsTable
from .tensorboard import TrainingLossBoard, ValidationBoard
from .training import Attach, AveragingWarmUp, ClipGradients, ProgressBar, SeedEpochs, StopOnNonFinite
