# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from ignite.handlers import EMAHandler
from monai.data import DataLoader
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from monai.transforms import RandGaussianNoised
from monai.utils import set_determinism
from torch import nn
from torch.utils.data import DistributedSampler

from medsegdiff_monai.data import ScreenedDataset
from medsegdiff_monai.handlers import Attach, AveragingWarmUp, ClipGradients, ProgressBar, SeedEpochs, StopOnNonFinite
from medsegdiff_monai.utils import InputError


@pytest.fixture(autouse=True)
def _global_generators() -> Iterator[None]:
    yield
    set_determinism(None)


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def batches(count: int) -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [{k: torch.randn(2, n, generator=generator) for k, n in (("image", 3), ("label", 1))} for _ in range(count)]


def trainer(network: nn.Module, data: Any, handlers: list, epochs: int = 1, lr: float = 0.1) -> SupervisedTrainer:
    return SupervisedTrainer(
        device=torch.device("cpu"),
        max_epochs=epochs,
        train_data_loader=data,
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=lr),
        loss_function=nn.MSELoss(),
        train_handlers=handlers,
    )


class TestStopOnNonFinite:
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_training_ends_before_the_weights_change(self, value: float) -> None:
        data = batches(3)
        data[1]["label"][0] = value
        until_then, stopped = linear(), linear()
        trainer(until_then, data[:1], []).run()
        with pytest.raises(InputError) as caught:
            trainer(stopped, data, [StopOnNonFinite("models/last.pt")]).run()
        assert torch.equal(stopped.weight, until_then.weight)
        assert torch.equal(stopped.bias, until_then.bias)
        assert str(caught.value) == (
            f"Training stopped: the loss became {value} at epoch 1, iteration 2; lower the learning rate or switch amp "
            "off. The state after the last whole epoch is in models/last.pt."
        )

    def test_finite_training_is_left_alone(self) -> None:
        networks = [linear(), linear()]
        for network, handlers in zip(networks, ([], [StopOnNonFinite()])):
            trainer(network, batches(3), handlers).run()
        assert torch.equal(networks[0].weight, networks[1].weight)

    def test_message_names_no_checkpoint_where_there_is_none(self) -> None:
        data = batches(1)
        data[0]["image"] *= float("nan")
        with pytest.raises(InputError, match=r"or switch amp off\.$"):
            trainer(linear(), data, [StopOnNonFinite()]).run()


class TestClipGradients:
    @staticmethod
    def step(max_norm: float | None, scaler: Any = None) -> torch.Tensor:
        """The change of all weights in one step of plain gradient descent with rate 1: minus the gradient."""
        network = linear()
        before = torch.cat([p.detach().clone().flatten() for p in network.parameters()])
        engine = trainer(network, batches(1), [] if max_norm is None else [ClipGradients(network, max_norm)], lr=1.0)
        if scaler is not None:  # at the start, where MONAI has put its own, which knows CUDA only
            engine.add_event_handler(Events.STARTED, lambda e: (setattr(e, "amp", True), setattr(e, "scaler", scaler)))
        engine.run()
        return torch.cat([p.detach().flatten() for p in network.parameters()]) - before

    def test_long_gradient_keeps_its_direction_and_short_one_its_length(self) -> None:
        free = self.step(None)
        length = float(free.norm())
        torch.testing.assert_close(self.step(length / 4), free / 4, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(self.step(length * 4), free)

    @pytest.mark.filterwarnings("ignore:.*autocast:UserWarning")
    def test_norm_is_that_of_the_gradient_without_the_loss_scale(self) -> None:
        free = self.step(None)
        for share in (0.25, 4.0):
            scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
            clipped = self.step(share * float(free.norm()), scaler)
            torch.testing.assert_close(clipped, free * min(share, 1.0), rtol=1e-4, atol=1e-6)


class TestSeedEpochs:
    @staticmethod
    def draws(handler: SeedEpochs, dataset: Any = None, epochs: int = 3) -> list[tuple]:
        """What every source of randomness gives in each epoch."""
        record: list[tuple] = []

        def draw(engine: Engine, batch: Any) -> None:
            values = (random.random(), float(np.random.rand()), float(torch.rand(())))
            record.append((engine.state.epoch, *values, *(dataset[0]["image"].tolist() if dataset else ())))

        engine = Engine(draw)
        handler.attach(engine)
        engine.run([0], max_epochs=epochs)
        return record

    @staticmethod
    def noisy() -> ScreenedDataset:
        return ScreenedDataset([{"image": torch.zeros(2)}], [RandGaussianNoised("image", prob=1.0)], progress=False)

    def test_epoch_is_a_function_of_seed_and_number(self) -> None:
        first, second = self.noisy(), self.noisy()
        runs = [self.draws(SeedEpochs(5, d), d) for d in (first, second)]
        assert runs[0] == runs[1]
        assert [epoch for epoch, *_ in runs[0]] == [1, 2, 3]
        sources = list(zip(*runs[0]))
        assert len(sources) == 6
        assert all(len(set(values)) == 3 for values in sources)

    def test_other_seed_draws_otherwise(self) -> None:
        values = [{v for _, *draw in self.draws(SeedEpochs(s), epochs=20) for v in draw} for s in (5, 6)]
        assert not values[0] & values[1]

    def test_cases_are_seeded_anew_in_each_epoch_but_not_within_it(self) -> None:
        dataset, seeds = self.noisy(), []
        engine = Engine(lambda *_: seeds.append(dataset.epoch_seed))
        SeedEpochs(5, dataset).attach(engine)
        assert dataset.epoch_seed is None
        engine.run([0, 1], max_epochs=3)
        assert seeds[::2] == seeds[1::2]
        assert len(set(seeds)) == 3

    def test_seed_is_the_whole_state(self) -> None:
        handler = SeedEpochs(1)
        handler.load_state_dict(SeedEpochs(5).state_dict())
        assert self.draws(handler) == self.draws(SeedEpochs(5))

    @pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**40])
    def test_any_seed_is_taken(self, seed: int) -> None:
        assert len(self.draws(SeedEpochs(seed))) == 3

    def test_distributed_sampler_is_told_the_epoch(self) -> None:
        sampler = DistributedSampler(range(8), num_replicas=2, rank=0, seed=1)
        orders = []
        engine = Engine(lambda _, batch: orders[-1].append(int(batch)))
        SeedEpochs(0).attach(engine)
        engine.add_event_handler(Events.EPOCH_STARTED, lambda _: orders.append([]))
        engine.run(DataLoader(range(8), batch_size=1, sampler=sampler), max_epochs=3)
        expected = []
        for epoch in (1, 2, 3):
            sampler.set_epoch(epoch)
            expected.append(list(sampler))
        assert orders == expected
        assert len({tuple(o) for o in orders}) == 3


class TestAttach:
    def test_engine_is_handed_to_the_handler(self) -> None:
        networks = [linear(), linear()]
        for network, wrap in zip(networks, (lambda h: h, Attach)):
            trainer(network, batches(3), [wrap(ClipGradients(network, 0.01))]).run()
        assert torch.equal(networks[0].weight, networks[1].weight)
        free = linear()
        trainer(free, batches(3), []).run()
        assert not torch.equal(free.weight, networks[0].weight)

    def test_state_belongs_to_the_handler_itself(self) -> None:
        """What a checkpoint saves is the handler that is declared elsewhere."""
        seeds = SeedEpochs(5)
        engine = Engine(lambda *_: float(torch.rand(())))
        Attach(seeds).attach(engine)
        seeds.load_state_dict({"seed": 6})
        expected = Engine(lambda *_: float(torch.rand(())))
        SeedEpochs(6).attach(expected)
        assert engine.run([0]).output == expected.run([0]).output


class TestProgressBar:
    def test_training_is_the_same_and_the_bar_complete(self, capsys: pytest.CaptureFixture[str]) -> None:
        evaluator = SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=batches(1), network=linear())
        evaluator.state.best_metric = 0.75
        networks, bar = [linear(), linear()], ProgressBar("Learning", evaluator)
        for network, handlers in zip(networks, ([], [bar])):
            trainer(network, batches(3), handlers, epochs=2).run()
        assert torch.equal(networks[0].weight, networks[1].weight)
        assert bar.bar is not None
        assert (bar.bar.n, bar.bar.total) == (6, 6)
        shown = capsys.readouterr().err
        assert "Learning" in shown
        assert "6/6" in shown

    def test_loss_and_best_validation_are_shown(self) -> None:
        evaluator = SupervisedEvaluator(device=torch.device("cpu"), val_data_loader=batches(1), network=linear())
        bar = ProgressBar("Learning", evaluator)
        engine = Engine(lambda *_: [{"loss": torch.tensor(0.125)}])
        bar.attach(engine)
        shown: list[str] = []
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda _: shown.append(bar.bar.postfix))
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda _: setattr(evaluator.state, "best_metric", 0.75))
        engine.run([0], max_epochs=2)
        assert shown == ["epoch=1, loss=0.125", "epoch=2, loss=0.125, best validation=0.7500"]

    @pytest.mark.parametrize("output", [None, [], [{"pred": 1}], {"loss": 1.0}, 3.0])
    def test_any_output_is_borne(self, output: Any) -> None:
        bar = ProgressBar("Segmenting")
        engine = Engine(lambda *_: output)
        bar.attach(engine)
        engine.run([0, 1])
        assert bar.bar.n == 2

    def test_error_closes_the_bar_and_goes_on(self) -> None:
        data = batches(2)
        data[1]["image"] *= float("nan")
        bar = ProgressBar("Learning")
        with pytest.raises(InputError, match="iteration 2"):
            trainer(linear(), data, [StopOnNonFinite(), bar]).run()
        assert bar.bar.n == 1
        assert bar.bar.disable  # what tqdm is once closed

    def test_resumed_run_starts_where_it_was(self) -> None:
        """The checkpoint is attached last (see ``ResumableCheckpoint``), so it is read after the bar's own start."""
        bar = ProgressBar("Learning")
        engine = Engine(lambda *_: None)
        bar.attach(engine)
        engine.add_event_handler(Events.STARTED, resume_after_two_of_three_epochs)
        engine.run([0, 1], max_epochs=3)
        assert (bar.bar.n, bar.bar.total) == (6, 6)


def resume_after_two_of_three_epochs(engine: Engine) -> None:
    engine.state.epoch, engine.state.iteration = 2, 4


def test_the_average_forgets_the_first_weights() -> None:
    def average(warm: bool, iterations: int) -> float:
        model = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(model.weight, 100.0)  # what the average should forget
        trainer = Engine(lambda engine, batch: model.weight.data.fill_(1.0))
        averaged = EMAHandler(model, momentum=0.005)
        if warm:
            AveragingWarmUp(momentum=0.005).attach(trainer)
        averaged.attach(trainer)
        trainer.run(range(iterations), max_epochs=1)
        return float(averaged.ema_model.weight.detach())

    assert average(warm=False, iterations=300) == pytest.approx(1 + 99 * 0.995**300, rel=1e-4)
    expected = 1 + 99 * math.prod(1 - max(0.005, 9 / (10 + n)) for n in range(1, 301))
    assert average(warm=True, iterations=300) == pytest.approx(expected, rel=1e-4)
    assert expected < 1.01
