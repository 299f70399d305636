# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The examples in the docstrings of the main classes run and give what they say."""

from __future__ import annotations

import doctest
import importlib

import numpy as np
import pytest
import torch

MODULES = [
    "medsegdiff_monai.data.regions",
    "medsegdiff_monai.inferers.diffusion_segmentation",
    "medsegdiff_monai.inferers.ensemble",
    "medsegdiff_monai.metrics.readers",
    "medsegdiff_monai.metrics.regions",
    "medsegdiff_monai.metrics.reliability",
    "medsegdiff_monai.networks.blocks.ff_parser",
    "medsegdiff_monai.networks.nets.dce_unet",
    "medsegdiff_monai.networks.nets.medsegdiff",
    "medsegdiff_monai.networks.schedulers.samplers",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
