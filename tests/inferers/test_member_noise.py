# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

from typing import Any

import pytest
import torch
from medsegdiff_monai.inferers.members import agreement

from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler
from medsegdiff_monai.utils import InputError

SCALE = 0.3


class ScriptedAnswers(torch.nn.Module):
    """A denoiser whose logits at the first timestep are given numbers times the noisy mask, and which counts cases."""

    def __init__(self, spread: float) -> None:
        super().__init__()
        self.in_channels = 1
        self.divisor = 1
        self.spread = spread
        self.cases: list[int] = []

    def encode_image(self, context: torch.Tensor) -> list[torch.Tensor]:
        return [context]

    def denoise(self, x: torch.Tensor, timesteps: torch.Tensor, features: list[torch.Tensor]) -> torch.Tensor:
        self.cases.append(len(x))
        return 4.0 * features[0] + self.spread * x


def scheduler() -> DPMSolverScheduler:
    return DPMSolverScheduler(prediction_type="sample")


def inferer(**settings: Any) -> DiffusionSegmentationInferer:
    return DiffusionSegmentationInferer(
        scheduler(), **{"num_inference_steps": 3, "num_ensemble": 6, "signal_scale": SCALE, **settings}
    )


def image(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def test_agreement_by_hand() -> None:
    # Masks of 4, 2 and 4 pixels; their mean is over a half in 4. Dice with it: 1, 2 * 2 / 6, 1.
    full, half = [1.0, 1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0]
    members = torch.tensor([full, half, full]).reshape(1, 3, 1, 5)
    assert float(agreement(members)) == pytest.approx(2 / 3)
    assert float(agreement(members[:, :1])) == 1.0
    assert float(agreement(torch.zeros(2, 3, 1, 5))) == 1.0  # empty masks agree
    case_that_agrees = torch.tensor([full, full, full]).reshape(1, 3, 1, 5)
    assert float(agreement(torch.cat([case_that_agrees, members]))) == pytest.approx(2 / 3)  # the least of all cases


@pytest.mark.parametrize(("spread", "batch", "drawn"), [(0.0, 1, 2), (0.0, 2, 2), (0.0, 4, 4), (50.0, 2, 6)])
def test_members_that_agree_end_the_sampling(spread: float, batch: int, drawn: int) -> None:
    network = ScriptedAnswers(spread)
    members = inferer(member_batch_size=batch, member_tolerance=0.02).sample(image(2, 1, 8, 8), network)
    assert members.shape == (2, drawn, 1, 8, 8)
    assert sum(network.cases) == 2 * drawn * 3  # cases x members x steps
    all_of_them = inferer(member_batch_size=batch).sample(image(2, 1, 8, 8), network)
    torch.testing.assert_close(members, all_of_them[:, :drawn])


def test_answer_of_fewer_members_is_that_of_all_within_the_tolerance() -> None:
    network = ScriptedAnswers(0.5)
    x = image(1, 1, 64, 64)
    early = inferer(member_batch_size=2, member_tolerance=0.05, num_ensemble=20).predict(x, network)
    full = inferer(num_ensemble=20).predict(x, network)
    assert 2 <= early.members.shape[1] < 20
    a, b = early.probability >= 0.5, full.probability >= 0.5
    assert float(2 * (a & b).sum() / (a.sum() + b.sum())) >= 0.95


def test_shared_start_takes_the_first_step_from_one_estimate() -> None:
    network, x = ScriptedAnswers(0.7), image(2, 1, 8, 8)
    shared = inferer(num_ensemble=3, shared_start=True)
    members = shared.sample(x, network)
    assert sum(network.cases) == 2 * (1 + 3 * 2)  # the first step once a case, the two others for each member

    # By hand: each member keeps its noise, the estimate of the first step is that of member 0.
    model = MedSegDiff(network, scheduler(), 3, 3, "mean", SCALE)
    noise = torch.stack([torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(m * 1_009)) for m in range(3)])
    first = model.estimate(noise[:1].expand(2, -1, -1, -1), shared.timesteps[0], [x])
    for m in range(3):
        c0, c1, c2, _ = shared.coefficients[0]
        start = noise[m].expand(2, -1, -1, -1)
        y, previous = c0 * start + c1 * first + c2 * start, first
        for timestep, coefficients in list(zip(shared.timesteps, shared.coefficients))[1:]:
            y, previous = model.step(y, previous, timestep, coefficients, [x])
        torch.testing.assert_close(members[:, m], model.decode(y))


def test_one_member_starts_alike_with_and_without_the_shared_start() -> None:
    x = image(1, 1, 8, 8)
    alone, shared = (inferer(num_ensemble=1, shared_start=s).sample(x, ScriptedAnswers(0.7)) for s in (False, True))
    torch.testing.assert_close(alone, shared)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"member_tolerance": -0.1}, "member_tolerance must be at least 0 and less than 1, got -0.1."),
        ({"member_tolerance": 1.0}, "member_tolerance must be at least 0 and less than 1, got 1.0."),
        ({"member_tolerance": 0.1, "roi_size": 8}, "member_tolerance needs whole images"),
    ],
)
def test_refuses(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        inferer(**settings)
