# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The module is also the program of the processes that its test starts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from ignite.engine import Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedTrainer
from monai.transforms import RandGaussianNoised
from monai.utils import set_determinism
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from medsegdiff_monai.data import ScreenedDataset, TrainingLoader
from medsegdiff_monai.engines import DiffusionSegmentationPrepareBatch, averaged_network, trainable_denoiser
from medsegdiff_monai.handlers import ClipGradients, SeedEpochs, TrainingLossBoard
from medsegdiff_monai.inferers import DiffusionTrainingInferer
from medsegdiff_monai.losses import MaskDenoisingLoss
from medsegdiff_monai.networks.nets import DCEUNet, MedSegDiff
from medsegdiff_monai.networks.schedulers import DPMSolverScheduler

CASES, BATCH, EPOCHS = 10, 4, 3


@pytest.fixture(autouse=True)
def _global_generators() -> Iterator[None]:
    yield
    set_determinism(None)


def cases() -> list[dict[str, torch.Tensor]]:
    images = torch.rand(CASES, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    # Every third mask is empty, so that the processes hold unequal numbers of masks for the Dice loss.
    return [{"image": x, "label": (x > (0.6 if i % 3 else 2.0)).float()} for i, x in enumerate(images)]


def train(folder: Path, batch_size: int) -> dict[str, Any]:
    """A run with the parts of the bundles; the averaged weights it ends with and the loss of each iteration."""
    torch.manual_seed(1)
    scheduler = DPMSolverScheduler(prediction_type="sample")
    settings = {"channels": (8, 16), "num_res_blocks": 1, "fusion_levels": (False, True), "spatial_size": 8}
    network = MedSegDiff(DCEUNet(2, 1, 1, 1, **settings), scheduler, 2, 2, signal_scale=0.3)
    denoiser = trainable_denoiser(network, torch.device("cpu"))
    ema = EMAHandler(denoiser, momentum=0.3)
    averaged = averaged_network(network, ema)
    dataset = ScreenedDataset(cases(), [RandGaussianNoised("image", prob=0.8, std=0.3)], progress=False)
    trainer = SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=EPOCHS,
        train_data_loader=TrainingLoader(dataset, batch_size),
        network=denoiser,
        optimizer=torch.optim.SGD(denoiser.parameters(), lr=0.05),
        loss_function=MaskDenoisingLoss(),
        prepare_batch=DiffusionSegmentationPrepareBatch(scheduler, signal_scale=0.3),
        inferer=DiffusionTrainingInferer(scheduler, signal_scale=0.3, recycling_probability=0.5),
        train_handlers=[SeedEpochs(3, dataset), ema, ClipGradients(denoiser), TrainingLossBoard(str(folder))],
    )
    lengths: list[int] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda e: lengths.append(len(e.state.batch)))
    trainer.run()
    return {"weights": averaged.state_dict(), "lengths": lengths}


def losses(folder: Path) -> list[float]:
    board = EventAccumulator(str(folder))
    board.Reload()
    return [event.value for event in board.Scalars("train_loss")]


@pytest.mark.slow
def test_two_processes_train_as_one_with_twice_the_batch_does(tmp_path: Path) -> None:
    expected = train(tmp_path / "alone", BATCH)
    command = [sys.executable, __file__, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    outcomes = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    assert expected["lengths"] == [BATCH] * (EPOCHS * (CASES // BATCH))
    for outcome in outcomes:
        assert outcome["lengths"] == [BATCH // 2] * len(expected["lengths"])
        assert outcome["weights"].keys() == expected["weights"].keys()
        for name, weight in outcome["weights"].items():
            torch.testing.assert_close(weight, expected["weights"][name], atol=1e-5, rtol=1e-4)
    assert losses(tmp_path / "rank 0") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    assert len(set(losses(tmp_path / "alone"))) == len(expected["lengths"])
    assert not (tmp_path / "rank 1").exists()


if __name__ == "__main__":
    torch.set_num_threads(1)
    root, own = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{root}/store", world_size=2, rank=own)
    torch.save(train(root / f"rank {own}", BATCH // 2), root / f"{own}.pt")
    dist.destroy_process_group()
