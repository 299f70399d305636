# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from .bundle_inference import BundleInferenceOperator
from .contrasts import FourContrastMriOperator
from .pictures import PictureReaderOperator
from .seg_writer import SegWriterOperator
from .study_loader import StudyLoaderOperator
