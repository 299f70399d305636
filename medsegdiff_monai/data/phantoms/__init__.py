# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Made-up images with exact labels: thyroid ultrasound, fundus photographs and brain MRI, free to use anywhere."""

from .ultrasound import LOBE_PROBABILITY, SCALE_DEVIATION, Reading, ReadScan, draw_readings
from .writer import PHANTOM_KINDS, make_phantom, write_phantoms
