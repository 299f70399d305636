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

import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from monai.utils import set_determinism

from medsegdiff_monai.utils import InputError, run_and_report, start_run


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    yield
    set_determinism(None)


class Recorder:
    """An engine, or a dataset, that writes down what is asked of it."""

    def __init__(self, calls: list[str], name: str, error: Exception | None = None) -> None:
        self.calls, self.name, self.error = calls, name, error

    def run(self) -> None:
        self.report()

    def report(self) -> None:
        self.calls.append(self.name)
        if self.error is not None:
            raise self.error


def test_seeded_run_draws_what_another_one_does() -> None:
    drawn = []
    for seed in (3, 3, 4):
        start_run(seed)
        drawn.append((float(torch.rand(())), float(np.random.rand())))
    assert drawn[0] == drawn[1]
    assert all(a != b for a, b in zip(drawn[0], drawn[2]))


def test_unseeded_run_leaves_the_generators_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    before = torch.rand(())
    start_run()
    assert torch.equal(torch.stack([before, torch.rand(())]), expected)


def test_error_of_input_is_shown_as_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    start_run()
    sys.excepthook(InputError, InputError("The image a.png is constant: replace it."), None)
    assert capsys.readouterr().err == "Error: The image a.png is constant: replace it.\n"


def test_word_that_python_takes_for_yes_is_no_switch() -> None:
    start_run(switches={"amp": False, "details": True, "resume": "true"})
    with pytest.raises(InputError, match="details must be True or False, got 'false': write --details False"):
        start_run(switches={"amp": False, "details": "false"})


def test_cases_that_could_not_be_used_are_named_after_the_run() -> None:
    calls: list[str] = []
    run_and_report(Recorder(calls, "engine"), [Recorder(calls, "training"), Recorder(calls, "validation")])
    assert calls == ["engine", "training", "validation"]
    calls.clear()
    with pytest.raises(InputError, match="1 of 3 cases"):
        run_and_report(Recorder(calls, "engine"), [Recorder(calls, "test", InputError("1 of 3 cases"))])
    assert calls == ["engine", "test"]


def test_run_that_fails_says_why_itself() -> None:
    calls: list[str] = []
    with pytest.raises(InputError, match="loss became nan"):
        run_and_report(Recorder(calls, "engine", InputError("loss became nan")), [Recorder(calls, "training")])
    assert calls == ["engine"]
