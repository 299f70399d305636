# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


from __future__ import annotations

import pytest
import torch

from medsegdiff_monai.networks.schedulers import (
    MaskScale,
    predicted_original,
)

PREDICTIONS = ["epsilon", "v_prediction", "sample"]

all_predictions = pytest.mark.parametrize("prediction_type", PREDICTIONS)


@all_predictions
def test_predicted_original_undoes_the_diffusion(prediction_type):
    generator = torch.Generator().manual_seed(0)
    original, noise = torch.randn(2, 3, 4, 4, generator=generator, dtype=torch.float64)
    for abar in (0.999, 0.5, 0.01):
        alpha, sigma = abar**0.5, (1 - abar) ** 0.5
        output = {"epsilon": noise, "v_prediction": alpha * noise - sigma * original, "sample": original}
        x = alpha * original + sigma * noise
        torch.testing.assert_close(
            predicted_original(output[prediction_type], x, alpha, sigma, prediction_type), original
        )


def test_predicted_original_refuses_an_unknown_prediction():
    with pytest.raises(ValueError, match="got mask"):
        predicted_original(torch.zeros(1), torch.zeros(1), 0.5, 0.5, "mask")


@pytest.mark.parametrize("scale", [0.1, 0.3, 1.0, 2.0])
def test_mask_scale_goes_there_and_back(scale):
    mask_scale = MaskScale(scale)
    mask = torch.linspace(0, 1, 11)
    encoded = mask_scale.encode(mask)
    torch.testing.assert_close(encoded, torch.linspace(-scale, scale, 11))
    torch.testing.assert_close(mask_scale.decode(encoded), mask)
    torch.testing.assert_close(mask_scale.decode(torch.tensor([-9.0, 9.0])), torch.tensor([0.0, 1.0]))
    logits = torch.linspace(-20, 20, 41)
    torch.testing.assert_close(mask_scale.from_logits(logits), scale * torch.tanh(0.5 * logits))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_mask_scale_must_be_positive(scale):
    with pytest.raises(ValueError, match="signal scale must be positive"):
        MaskScale(scale)
