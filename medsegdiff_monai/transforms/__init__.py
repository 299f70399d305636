# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .background import CropBackgroundd, SubtractBackgroundd, SubtractMinimumd, background_value
from .checks import CheckImaged, LabelToRegionsd
from .inverted import SaveInvertedd
from .load import LoadCased, grid_difference, in_dims
from .measure import MeasureMembersd, MeasureRegionsd
from .overlay import SaveOverlayd, ShownImage
from .readers import MembersToChannelsd, SampleReaderd
from .regions import NestRegionsd, RegionsToLabelMapd
from .save import SaveSegmentationd
from .spatial import (
    AntialiasedResized,
    CropFieldOfViewd,
    FitToSized,
    RandCropRegionsd,
    RandRelativeAffined,
    in_field_of_view,
)
