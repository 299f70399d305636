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
