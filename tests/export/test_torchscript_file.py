# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medsegdiff_monai.apps.export import export_torchscript
from medsegdiff_monai.inferers import DiffusionSegmentationInferer
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler


@pytest.mark.parametrize("fusion", ["mean", "staple"])
@pytest.mark.parametrize(
    ("dims", "sizes"), [(2, [(12, 12), (16, 10), (6, 22)]), (3, [(12, 12, 12), (8, 6, 10)])], ids=["2d", "3d"]
)
def test_a_program_without_this_package_gets_the_inferers_answer(
    dims: int,
    sizes: list[tuple[int, ...]],
    fusion: str,
    tiny_network: Any,
    image_and_noise: Any,
    noise_of: Any,
    ask_a_stranger: Any,
    tmp_path: Path,
) -> None:
    network = tiny_network(dims, fusion=fusion)
    export_torchscript(network, tmp_path / "model.ts")
    scheduler = DPMSolverScheduler(prediction_type="sample")
    inferer = DiffusionSegmentationInferer(scheduler, 2, 3, fusion, signal_scale=network.mask_scale.scale, seed=4)
    questions, expected = [], []
    for batch, size in enumerate(sizes, 1):
        image, _ = image_and_noise(network, batch, 1, size)
        probability, noise = noise_of(inferer, image, network)
        questions.append((image, noise))
        expected.append(probability)
    for answer, probability in zip(ask_a_stranger(tmp_path / "model.ts", questions), expected, strict=True):
        torch.testing.assert_close(answer, probability, atol=1e-4, rtol=0)
        assert probability.std() > 0.01


def test_noise_is_drawn_where_it_is_not_given(
    tiny_network: Any, image_and_noise: Any, ask_a_stranger: Any, tmp_path: Path
) -> None:
    network = tiny_network(2)
    export_torchscript(network, tmp_path / "model.ts")
    image, _ = image_and_noise(network, 2, 1, (16, 10))
    first, second = ask_a_stranger(tmp_path / "model.ts", [(image, None), (image, None)])
    assert first.shape == (2, 2, 16, 10)
    assert 0.0 <= first.min() < first.max() <= 1.0
    assert not torch.equal(first, second)


def test_what_does_not_fit_is_refused_in_a_sentence(
    tiny_network: Any, image_and_noise: Any, ask_a_stranger: Any, tmp_path: Path
) -> None:
    network = tiny_network(2)
    export_torchscript(network, tmp_path / "model.ts")
    image, noise = image_and_noise(network, 2, 3, (8, 8))
    questions = [
        (torch.zeros(1, 1, 9, 8), None),
        (torch.zeros(1, 3, 8, 8), None),
        (image, noise[:1]),
        (image, noise[..., :6]),
        (image, noise[:, :, :1]),
        (image, noise[:, 0]),
    ]
    answers = ask_a_stranger(tmp_path / "model.ts", questions)
    assert "The spatial size of the image must be divisible by 2, got [9, 8]; pad or resize it." in answers[0]
    assert "The image must have 1 channels, got 3." in answers[1]
    wrong_noise = "The noise must have shape (batch, members, 2, *spatial) with the batch and the spatial size"
    assert all(wrong_noise in answer for answer in answers[2:])


def test_metadata_and_configurations_are_in_the_file(tiny_network: Any, tmp_path: Path) -> None:
    metadata, config = {"name": "Tiny", "version": "1.2.3"}, {"num_ensemble": 2}
    export_torchscript(tiny_network(2), tmp_path / "model.ts", metadata, {"inference": config})
    files = {"metadata.json": "", "inference.json": ""}
    torch.jit.load(str(tmp_path / "model.ts"), _extra_files=files)
    assert json.loads(files["metadata.json"]).items() >= metadata.items()
    assert json.loads(files["inference.json"]) == config
