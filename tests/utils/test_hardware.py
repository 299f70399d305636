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
