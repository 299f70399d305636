# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
import training_profile
from ignite.engine import Engine
from monai.utils import set_determinism


def test_parts_of_a_bundles_training(tiny_phantoms: Path, capsys: Any) -> None:
    began = time.perf_counter()
    training_profile.main(data=str(tiny_phantoms), iterations=1, warmup=0)
    whole = time.perf_counter() - began
    set_determinism(None)
    head, *table = [line for line in capsys.readouterr().out.splitlines() if "one iteration" in line or "| " in line]
    parts = {name: float(ms) for name, ms in (line.strip("| ").split(" | ") for line in table[1:])}
    iteration = 1000 * float(head.split()[2])
    assert sum(parts.values()) == pytest.approx(iteration, rel=0.02)
    assert iteration < 1000 * whole
    assert all(ms >= 0 for ms in parts.values())  # what is counted twice would be missing between the operators
    assert min(parts[k] for k in ("preparing the batch", "convolution", "optimizer and averaging")) > 0


@pytest.mark.parametrize("warmup", [0, 2])
def test_time_of_the_loader_is_that_of_the_iterations_that_count(monkeypatch: pytest.MonkeyPatch, warmup: int) -> None:
    now = [0.0]
    monkeypatch.setattr(training_profile.time, "perf_counter", lambda: now[0])

    def batches() -> Any:
        for index in range(10):
            now[0] += 10.0**index  # the time of each batch has a digit of its own
            torch.fft.fft(torch.ones(4))
            yield index

    engine = Engine(lambda engine, batch: torch.ones(4).sigmoid())
    clock = training_profile._Clock(iterations=3, warmup=warmup)
    clock.attach(engine)
    engine.run(batches(), epoch_length=10)
    assert engine.state.iteration == warmup + 3
    assert clock.seconds["preparing the batch"] == sum(10.0**i for i in range(warmup, warmup + 3))
    spent = {kind: value for kind, value in clock.seconds.items() if kind != "preparing the batch"}
    assert sum(spent.values()) == pytest.approx(0.0, abs=1e-9)  # the clock stands still there
    assert spent["activation"] > 0
    assert "Fourier transform" not in spent  # which is the loader's


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("aten::_foreach_norm", "optimizer and averaging"),
        ("aten::linalg_vector_norm", "optimizer and averaging"),
        ("Optimizer.step#AdamW.step", "optimizer and averaging"),
        ("aten::native_group_norm", "normalisation"),
        ("aten::mkldnn_convolution", "convolution"),
        ("aten::_fft_r2c", "Fourier transform"),
        ("aten::copy_", "copies and conversions"),
        ("aten::add", "other operators"),
    ],
)
def test_kinds_of_operators(name: str, kind: str) -> None:
    assert training_profile._kind(name) == kind
