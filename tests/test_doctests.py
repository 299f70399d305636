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
    "medsegdiff_monai.metrics.regions",
    "medsegdiff_monai.metrics.reliability",
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name), extraglobs={"np": np, "torch": torch})
    assert result.attempted > 0
    assert result.failed == 0
