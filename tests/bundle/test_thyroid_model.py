# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from medsegdiff_monai.data import load_cases
from medsegdiff_monai.handlers import load_weights


def test_network_is_within_its_limits_of_size_and_work(thyroid_bundle: Path, parse: Any) -> None:
    denoiser = parse(thyroid_bundle, "inference.json").get_parsed_content("denoiser")
    assert sum(p.numel() for p in denoiser.parameters()) <= 10e6
    image = torch.zeros(1, 1, 256, 256)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        denoiser(image, torch.tensor([500]), image)
    assert counter.get_total_flops() <= 20e9


def test_committed_weights_segment_real_images(thyroid_bundle: Path, real_ddti: Path, parse: Any) -> None:
    """One evaluation of one member on real test images, against masks that were not trained on."""
    cases = load_cases(real_ddti, "test")[:20]
    parser = parse(thyroid_bundle, "inference.json", num_inference_steps=1, num_ensemble=1)
    parser["dataset#data"] = cases
    network = parser.get_parsed_content("network_def").eval()
    load_weights(network, thyroid_bundle / "models" / "model.pt")
    inferer = parser.get_parsed_content("inferer")
    scores = []
    for batch in parser.get_parsed_content("dataloader"):
        probability = inferer(batch["image"], network)
        resized = torch.nn.functional.interpolate(probability, size=batch["label"].shape[2:], mode="bilinear")
        mask, truth = resized >= 0.5, batch["label"] > 0.5
        scores.append(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())))
    assert len(scores) == 20
    assert sum(scores) / 20 > 0.84
