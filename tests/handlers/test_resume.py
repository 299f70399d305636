# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.engines import SupervisedTrainer
from monai.handlers import LrScheduleHandler
from monai.transforms import RandGaussianNoised, ScaleIntensityd
from monai.utils import set_determinism
from support.checkpoints import copied, equal, network
from support.disk import full_disk
from torch import nn

from medsegdiff_monai.data import ScreenedDataset, TrainingLoader
from medsegdiff_monai.handlers import FineTune, ResumableCheckpoint, SeedEpochs
from medsegdiff_monai.utils import InputError

EPOCHS = 4


@pytest.fixture(autouse=True)
def _global_generators() -> Iterator[None]:
    yield
    set_determinism(None)


class Run:
    """A training run as a new process would build it, of which only the files of another one are known."""

    def __init__(self, folder: Path, epochs: int, resume: bool = False, init: int = 0, **settings: Any) -> None:
        set_determinism(init)
        self.path = folder / "last.pt"
        self.network = network(init, settings.get("width", 3))
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=0.05)
        self.lr_scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, step_size=3, gamma=0.8)
        self.ema = EMAHandler(self.network, momentum=0.2)
        x = torch.linspace(-1, 1, settings.get("cases", 6))[:, None] * torch.tensor([1.0, 2.0, -1.0, 0.5])
        data = [{"image": row, "label": row.sum(0, keepdim=True) ** 2, "name": "memory"} for row in x]
        random = RandGaussianNoised("image", prob=0.7, std=0.3)
        dataset = ScreenedDataset(data, [ScaleIntensityd("image", factor=0.1), random], progress=False)
        workers = settings.get("workers", 0)
        loader = TrainingLoader(dataset, batch_size=2, num_workers=workers)
        seeds = SeedEpochs(settings.get("seed", 3), dataset)
        objects = {
            "network": self.network,
            "ema": self.ema.ema_model,
            "optimizer": self.optimizer,
            "lr_scheduler": self.lr_scheduler,
            "seeds": seeds,
        }
        fine_tune = FineTune(settings.get("weights"), [self.network, self.ema.ema_model])
        self.checkpoint = ResumableCheckpoint(self.path, settings.get("objects", objects), resume)
        rates = LrScheduleHandler(self.lr_scheduler, print_lr=False, epoch_level=False)
        self.losses: list[float] = []
        self.trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=epochs,
            train_data_loader=loader,
            network=self.network,
            optimizer=self.optimizer,
            loss_function=nn.MSELoss(),
            train_handlers=[fine_tune, seeds, rates, self.ema, self.checkpoint],
        )
        self.trainer.add_event_handler(
            Events.ITERATION_COMPLETED, lambda e: self.losses.append(float(e.state.output[0]["loss"]))
        )

    def run(self) -> Run:
        self.trainer.run()
        return self

    def killed_at(self, iteration: int) -> Run:
        def kill(_: Engine) -> None:
            raise KeyboardInterrupt

        self.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=iteration), kill)
        with pytest.raises(KeyboardInterrupt):
            self.trainer.run()
        return self

    def state(self) -> dict[str, Any]:
        return {
            "network": copied(self.network),
            "ema": copied(self.ema.ema_model),
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "trainer": (self.trainer.state.epoch, self.trainer.state.iteration, self.trainer.state.max_epochs),
        }


class TestResume:
    @pytest.mark.parametrize("workers", [0, 1])
    @pytest.mark.parametrize("killed", [None, 5, 6, 7], ids=["stopped", "in epoch 2", "at its end", "in epoch 3"])
    def test_broken_run_ends_as_the_unbroken_one(self, tmp_path: Path, killed: int | None, workers: int) -> None:
        unbroken = Run(tmp_path / "a", EPOCHS, workers=workers).run()
        if killed is None:
            first = Run(tmp_path / "b", EPOCHS // 2, workers=workers).run()
        else:
            first = Run(tmp_path / "b", EPOCHS, workers=workers).killed_at(killed)
        assert first.losses == unbroken.losses[: len(first.losses)]
        resumed = Run(tmp_path / "b", EPOCHS, resume=True, init=9, seed=8, workers=workers).run()
        assert resumed.losses == unbroken.losses[-len(resumed.losses) :]
        assert len(resumed.losses) == (6 if killed in (None, 7) else 9)
        assert equal(resumed.state(), unbroken.state())
        contents = [torch.load(run.path, weights_only=True) for run in (resumed, unbroken)]
        assert equal(*contents)

    def test_the_comparison_can_tell_runs_apart(self, tmp_path: Path) -> None:
        states = [Run(tmp_path / str(seed), 1, seed=seed).run().state() for seed in (3, 3, 4)]
        assert equal(states[0], states[1])
        assert not equal(states[0], states[2])

    def test_finished_run_that_is_resumed_stays_as_it_is(self, tmp_path: Path) -> None:
        finished = Run(tmp_path, 2).run()
        resumed = Run(tmp_path, 2, resume=True, init=9).run()
        assert resumed.losses == []
        assert equal(resumed.state(), finished.state())

    def test_full_disk_leaves_a_checkpoint_to_resume_from(self, tmp_path: Path) -> None:
        Run(tmp_path, 1).run()
        before = (tmp_path / "last.pt").read_bytes()
        with full_disk(), pytest.raises(InputError, match=f"Cannot write {tmp_path}/last.pt"):
            Run(tmp_path, 2, resume=True).run()
        assert [p.name for p in tmp_path.iterdir()] == ["last.pt"]
        assert (tmp_path / "last.pt").read_bytes() == before
        assert equal(Run(tmp_path, 2, resume=True).run().state(), Run(tmp_path / "unbroken", 2).run().state())

    def test_checkpoint_is_of_this_run_once_it_is_written_or_gone_on_from(self, tmp_path: Path) -> None:
        Run(tmp_path, 1).run()
        assert not Run(tmp_path, 2).checkpoint.is_of_this_run
        assert Run(tmp_path, 2).run().checkpoint.is_of_this_run
        assert Run(tmp_path, 2, resume=True).run().checkpoint.is_of_this_run

    def test_nothing_to_resume_from_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=f"no run to resume: {tmp_path}/last.pt does not exist"):
            Run(tmp_path, 2, resume=True)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"cases": 8}, "with 3 iterations an epoch, this one has 4: resume with the same data"),
            ({"width": 5}, "was made for another architecture"),
            ({"objects": {"best": SeedEpochs(0)}}, "is not a checkpoint to resume from: it has no best"),
        ],
        ids=["epoch length", "architecture", "other objects"],
    )
    def test_checkpoint_of_another_run_is_refused(self, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
        Run(tmp_path, 1).run()
        before = (tmp_path / "last.pt").read_bytes()
        with pytest.raises(InputError, match=f"{tmp_path}/last.pt .*{message}"):
            Run(tmp_path, 2, resume=True, **settings).run()
        assert (tmp_path / "last.pt").read_bytes() == before

    def test_damaged_checkpoint_is_refused(self, tmp_path: Path) -> None:
        path = Run(tmp_path, 1).run().path
        path.write_bytes(path.read_bytes()[:3000])
        with pytest.raises(InputError, match=f"The checkpoint {path} is damaged"):
            Run(tmp_path, 2, resume=True).run()

    def test_fine_tuning_that_is_resumed_does_not_start_over(self, tmp_path: Path) -> None:
        weights = tmp_path / "model.pt"
        torch.save(network(5).state_dict(), weights)
        unbroken = Run(tmp_path / "a", 2, weights=weights).run()
        assert not equal(unbroken.state(), Run(tmp_path / "b", 2).run().state())
        Run(tmp_path / "c", 1, weights=weights).run()
        resumed = Run(tmp_path / "c", 2, resume=True, init=9, weights=weights).run()
        assert equal(resumed.state(), unbroken.state())
