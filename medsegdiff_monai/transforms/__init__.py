# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Dictionary transforms of a case: reading and checking, regions, spatial transforms, maps, measurements, files."""

from .background import CropBackgroundd, SubtractBackgroundd, SubtractMinimumd, background_value
from .checks import CheckImaged, LabelToRegionsd
from .ensemble import EnsembleMapsd, MeasureRegionsd
from .load import LoadCased, grid_difference, in_dims
from .overlay import SaveOverlayd, ShownImage
from .regions import NestRegionsd, RegionsToLabelMapd, SampleReaderd
from .save import SaveInvertedd, SaveSegmentationd, on_image_grid
from .spatial import (
    AntialiasedResized,
    CropFieldOfViewd,
    FitToSized,
    RandCropRegionsd,
    RandRelativeAffined,
    in_field_of_view,
)
