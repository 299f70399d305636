# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import operator
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from support.checkpoints import copied, equal, network
from support.disk import full_disk
from torch import nn

from medsegdiff_monai.handlers import (
    BestModelSaver,
    FineTune,
    LoadWeights,
    ResumableCheckpoint,
    SeedEpochs,
    load_checkpoint,
    load_weights,
)
from medsegdiff_monai.utils import InputError


def damaged(path: Path, kind: str) -> Path:
    if kind == "text":
        path.write_text("these are no weights")
    elif kind == "truncated":
        torch.save(network(width=500).state_dict(), path)
        path.write_bytes(path.read_bytes()[:5000])
    elif kind == "program":
        torch.save({"weights": SeedEpochs(0)}, path)
    else:
        torch.save(torch.zeros(3), path)
    return path


class TestWeights:
    def test_weights_come_back(self, tmp_path: Path) -> None:
        torch.save(network(1).state_dict(), tmp_path / "model.pt")
        torch.save({"network": network(1).state_dict(), "epoch": 3}, tmp_path / "last.pt")
        for path, key in ((tmp_path / "model.pt", None), (str(tmp_path / "last.pt"), "network")):
            net = network(0)
            load_weights(net, path, key)
            assert equal(copied(net), copied(network(1)))
        assert load_checkpoint(tmp_path / "last.pt")["epoch"] == 3

    @pytest.mark.parametrize(
        ("change", "counts"),
        [
            (lambda w: w.pop("0.bias"), "1 weights missing, 0 unexpected, 0 of another shape, the first is 0.bias"),
            (lambda w: w.update(a=torch.zeros(1), b=torch.zeros(1)), "0 weights missing, 2 unexpected, 0 of another"),
            (lambda w: w.update({"2.weight": torch.zeros(1, 5)}), "0 unexpected, 1 of another shape, the first is 2.w"),
            (lambda w: w.update({"2.weight": 5}), "0 weights missing, 0 unexpected, 1 of another shape"),
            (lambda w: w.update({"net.0.bias": w.pop("0.bias")}), "1 weights missing, 1 unexpected, 0 of another"),
            (dict.clear, "4 weights missing, 0 unexpected"),
        ],
        ids=["missing", "unexpected", "shape", "no tensor", "prefix", "empty"],
    )
    def test_another_architecture_is_refused_and_nothing_changed(
        self, tmp_path: Path, change: Callable, counts: str
    ) -> None:
        weights = copied(network(1))
        change(weights)
        torch.save(weights, tmp_path / "model.pt")
        net = network(0)
        with pytest.raises(InputError, match=f"{tmp_path}/model.pt was made for another architecture .*{counts}"):
            load_weights(net, tmp_path / "model.pt")
        assert equal(copied(net), copied(network(0)))

    @pytest.mark.parametrize("kind", ["text", "truncated", "program", "tensor"])
    def test_damaged_file_is_refused_by_name(self, tmp_path: Path, kind: str) -> None:
        path = damaged(tmp_path / "model.pt", kind)
        with pytest.raises(InputError, match=f"The checkpoint {path} (is damaged|holds no state).*: give another one"):
            load_weights(network(), path)

    def test_missing_file_or_entry_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=f"{tmp_path}/absent.pt does not exist: train first"):
            load_weights(network(), tmp_path / "absent.pt")
        torch.save({"ema": {}, "epoch": 3}, tmp_path / "last.pt")
        for key in ("network", "epoch"):
            with pytest.raises(InputError, match=f"has no entry '{key}'; it has ema, epoch"):
                load_weights(network(), tmp_path / "last.pt", key)

    def test_handler_loads_when_an_engine_starts(self, tmp_path: Path) -> None:
        torch.save(network(1).state_dict(), tmp_path / "model.pt")
        net = network(0)
        engine = Engine(lambda *_: copied(net))
        LoadWeights(net, tmp_path / "model.pt").attach(engine)
        assert equal(copied(net), copied(network(0)))
        assert equal(engine.run([0]).output, copied(network(1)))


class TestFineTune:
    @staticmethod
    def start(path: str | None, *networks: nn.Module) -> list[dict[str, torch.Tensor]]:
        """The networks' weights in the first iteration."""
        engine = Engine(lambda *_: [copied(net) for net in networks])
        FineTune(path, networks).attach(engine)
        return engine.run([0]).output

    def test_all_networks_start_from_the_weights(self, tmp_path: Path) -> None:
        torch.save(network(1).state_dict(), tmp_path / "model.pt")
        for weights in self.start(str(tmp_path / "model.pt"), network(0), network(2)):
            assert equal(weights, copied(network(1)))

    def test_nothing_is_loaded_without_a_file(self) -> None:
        (weights,) = self.start(None, network(0))
        assert equal(weights, copied(network(0)))

    def test_weights_of_another_network_are_refused(self, tmp_path: Path) -> None:
        torch.save(network(width=5).state_dict(), tmp_path / "model.pt")
        with pytest.raises(InputError, match=f"{tmp_path}/model.pt was made for another architecture"):
            self.start(str(tmp_path / "model.pt"), network())
        with pytest.raises(InputError, match=f"{tmp_path}/absent.pt does not exist"):
            FineTune(str(tmp_path / "absent.pt"), [network()])

    def test_resumed_run_needs_no_weights_to_start_from(self, tmp_path: Path) -> None:
        net = network(0)
        engine = Engine(lambda *_: copied(net))
        FineTune(str(tmp_path / "gone.pt"), [net], resume=True).attach(engine)
        assert equal(engine.run([0]).output, copied(network(0)))


class TestBestModelSaver:
    @staticmethod
    def validate(saver: BestModelSaver, *values: float) -> None:
        """Validations with these values of the key metric, each with other weights."""
        for value in values:
            engine = Engine(lambda *_: None)
            engine.state.key_metric_name = "dice"
            engine.state.metrics = {"loss": 9.0, "dice": value}
            saver.attach(engine)
            nn.init.constant_(saver.network[0].bias, value)
            engine.run([0])

    @staticmethod
    def saved_value(path: Path) -> float:
        return float(torch.load(path, weights_only=True)["0.bias"][0])

    def test_best_weights_are_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "models" / "model.pt"
        saver = BestModelSaver(path, network())
        for value, best in ((0.25, 0.25), (0.125, 0.25), (0.5, 0.5), (float("nan"), 0.5), (0.5, 0.5), (0.375, 0.5)):
            self.validate(saver, value)
            assert self.saved_value(path) == best
        load_weights(network(), path)
        assert [p.name for p in path.parent.iterdir()] == ["model.pt"]

    def test_least_distance_is_kept(self, tmp_path: Path) -> None:
        saver = BestModelSaver(tmp_path / "model.pt", network(), better=operator.lt)
        for value, best in ((0.25, 0.25), (0.5, 0.25), (0.125, 0.125), (float("nan"), 0.125)):
            self.validate(saver, value)
            assert self.saved_value(tmp_path / "model.pt") == best

    def test_resumed_saver_goes_on_from_its_best(self, tmp_path: Path) -> None:
        first = BestModelSaver(tmp_path / "model.pt", network())
        self.validate(first, 0.5)
        resumed = BestModelSaver(tmp_path / "model.pt", network(1))
        resumed.load_state_dict(first.state_dict())
        self.validate(resumed, 0.25)
        assert self.saved_value(tmp_path / "model.pt") == 0.5
        self.validate(resumed, 0.75)
        assert self.saved_value(tmp_path / "model.pt") == 0.75

    def test_full_disk_leaves_the_old_file(self, tmp_path: Path) -> None:
        saver = BestModelSaver(tmp_path / "model.pt", network(width=500))
        self.validate(saver, 0.25)
        with full_disk(), pytest.raises(InputError, match=f"Cannot write {tmp_path}/model.pt .*: free space"):
            self.validate(saver, 0.5)
        assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
        assert self.saved_value(tmp_path / "model.pt") == 0.25

    def test_ctrl_c_while_it_writes_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        saver = BestModelSaver(tmp_path / "model.pt", network())
        self.validate(saver, 0.25)

        def write_part(path: Path, content: bytes) -> None:
            path.touch()
            raise KeyboardInterrupt

        monkeypatch.setattr(Path, "write_bytes", write_part)
        with pytest.raises(KeyboardInterrupt):
            self.validate(saver, 0.5)
        assert [p.name for p in tmp_path.iterdir()] == ["model.pt"]
        assert self.saved_value(tmp_path / "model.pt") == 0.25

    def test_unwritable_folder_is_refused_before_training(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for make in (lambda p: BestModelSaver(p, network()), lambda p: ResumableCheckpoint(p, {})):
            with pytest.raises(InputError, match="Cannot write to the output folder"):
                make(tmp_path / "file" / "model.pt")
