# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""One round of federated learning by MONAI's client, with the default files of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import WeightType
from monai.fl.utils.exchange_object import ExchangeObject

SIZES: dict[str, dict[str, Any]] = {
    "brats_mri_medsegdiff": {
        "denoiser#channels": [8, 16, 16, 16],
        "patch_size": [32, 32, 32],
        "denoiser#spatial_size": [32, 32, 32],
        "spacing": [6.0, 6.0, 6.0],
    }
}


def test_round_of_training_sending_receiving_and_evaluating(bundle: Path, phantoms_of: Any, tmp_path: Path) -> None:
    root = tmp_path / bundle.name
    shutil.copytree(bundle, root)
    size = SIZES.get(bundle.name, {"denoiser#channels": [8, 16, 16, 16], "image_size": [32, 32]})
    settings = {"dataset_dir": str(phantoms_of(bundle)), "batch_size": 4, "num_workers": 0, **size}
    client = MonaiAlgo(str(root), local_epochs=1, train_kwargs=settings, eval_kwargs=dict(settings))
    client.initialize()

    start = {k: v.clone() for k, v in client.trainer.network.state_dict().items()}
    client.train(ExchangeObject(weights=start))
    assert client.trainer.state.epoch == 1
    sent = client.get_weights()
    assert sent.weight_type == WeightType.WEIGHT_DIFF
    now = client.trainer.network.state_dict()
    assert sent.weights.keys() == start.keys()
    for name, difference in sent.weights.items():
        torch.testing.assert_close(torch.as_tensor(difference), now[name] - start[name], atol=1e-6, rtol=1e-4)
    assert any(float(torch.as_tensor(d).abs().max()) > 0 for d in sent.weights.values())

    merged = {k: start[k] + torch.as_tensor(sent.weights[k]) for k in start}
    metrics = client.evaluate(ExchangeObject(weights=merged)).metrics
    assert 0.0 <= metrics["val_mean_dice"] <= 1.0
    for name, value in client.evaluator.network.state_dict().items():
        torch.testing.assert_close(value, merged[name], msg=name)
    client.finalize()
