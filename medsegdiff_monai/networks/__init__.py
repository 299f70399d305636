# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
"""Networks and what they are made of: blocks, nets, schedulers, and the fusion of members."""
