# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .calibration import CalibrationReport
from .checkpoint import BestModelSaver, FineTune, LoadWeights, ResumableCheckpoint, load_checkpoint, load_weights
from .ensemble_table import EnsembleTable
from .measurements_table import MeasurementsTable
from .metrics_table import MetricsTable
from .reader_metrics import ReaderMetricHandler
from .region_metrics import RegionMetricHandler
from .tensorboard import TrainingLossBoard, ValidationBoard
from .training import Attach, AveragingWarmUp, ClipGradients, ProgressBar, SeedEpochs, StopOnNonFinite
