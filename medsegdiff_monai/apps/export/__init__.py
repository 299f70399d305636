# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from .bundle import export_bundle
from .onnx_file import OPSETS, OnnxNetwork, export_onnx
from .torchscript_file import export_torchscript
