# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

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


# Page faults when memory for the same large array is filled again; where it lies settles after the first times.
FAULTS = """
import resource
import sys
import torch
from medsegdiff_monai.utils import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
torch.set_num_threads(1)
for _ in range(3):
    torch.ones(25_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(25_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told what to keep")
def test_memory_that_is_kept_costs_no_page_faults() -> None:
    faults = {}
    for choice in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", FAULTS, choice], capture_output=True, text=True, check=True)
        faults[choice] = int(done.stdout)
    assert faults["leave"] > 20_000  # 100 MB in pages of 4 KiB
    assert faults["keep"] < 100


def test_without_glibc_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    from medsegdiff_monai.utils import hardware

    monkeypatch.setattr(hardware.ctypes, "CDLL", lambda name: object())
    assert not hardware.keep_freed_memory()


LIMITED = """
import resource
import sys
from medsegdiff_monai.utils import InputError, check_memory, free_memory

used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 240_000_000,) * 2)
assert 200_000_000 < free_memory() <= 240_000_000, free_memory()
check_memory("The image a.png", 8_000_000)
try:
    check_memory("The image b.png", 11_000_000)
except InputError as e:
    print(e)
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="only Linux limits the memory of a process in this way")
def test_an_image_of_which_six_do_not_fit_is_refused_before_it_is_read() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("The image b.png is too large for this machine: segmenting it takes up to 0.3 GB")


def test_the_limit_of_a_container_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from medsegdiff_monai.utils import hardware

    monkeypatch.setattr(hardware, "_GROUP", tmp_path)
    stated = {"max": "900000", "current": "650000", "stat": "anon 500000\ninactive_file 100000"}
    for name, content in stated.items():
        (tmp_path / f"memory.{name}").write_text(content + "\n")
    assert hardware.free_memory() == 350_000  # what caches files counts as free
    (tmp_path / "memory.max").write_text("max\n")
    assert hardware.free_memory() > 350_000
