# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.utils import fast_cpu_dtype, has_gpu


@pytest.mark.parametrize(("device", "is_gpu"), [("cpu", False), ("cuda", True), ("cuda:1", True), ("meta", False)])
@pytest.mark.parametrize("kind", [str, torch.device])
def test_gpu_is_told_by_its_device(device: str, is_gpu: bool, kind: type) -> None:
    assert has_gpu(kind(device)) is is_gpu


@pytest.mark.parametrize(
    ("avx512", "amx", "expected"), [(True, False, "bfloat16"), (False, True, "bfloat16"), (False, False, None)]
)
def test_bfloat16_is_for_processors_that_multiply_in_it(
    monkeypatch: pytest.MonkeyPatch, avx512: bool, amx: bool, expected: str | None
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert fast_cpu_dtype() == expected
    assert expected is None or hasattr(torch, expected)
