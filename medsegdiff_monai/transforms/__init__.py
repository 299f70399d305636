# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms of a case: reading and checking, regions, spatial transforms, maps, measurements, files."""

from .background import CropBackgroundd, SubtractBackgroundd, SubtractMinimumd, background_value
from .checks import CheckImaged, LabelToRegionsd
from .ensemble import EnsembleMapsd
from .inverted import SaveInvertedd, on_image_grid
from .load import LoadCased, grid_difference, in_dims
from .measure import MeasureRegionsd
from .overlay import SaveOverlayd, ShownImage
from .regions import NestRegionsd, RegionsToLabelMapd, SampleReaderd
from .save import SaveSegmentationd
from .spatial import (
    AntialiasedResized,
    CropFieldOfViewd,
    FitToSized,
    RandCropRegionsd,
    RandRelativeAffined,
    in_field_of_view,
)
