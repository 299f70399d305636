# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Bundles as files that run without this package: ONNX and TorchScript, sampler and fusion included."""

from .bundle import export_bundle, export_torchscript
from .onnx_file import OnnxNetwork, export_onnx
