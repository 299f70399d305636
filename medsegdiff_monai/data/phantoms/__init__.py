# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .readers import LOBE_PROBABILITY, SCALE_DEVIATION, Reading, ReadScan, draw_readings
from .writer import PHANTOM_KINDS, make_phantom, write_phantoms
