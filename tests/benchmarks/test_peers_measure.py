# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from harness.cost import network_size
from peer_harness import measure as measuring
from peer_harness import meter as metering
from peer_harness.measure import METHODS, count_flop, matrix_ceiling, measure
from peer_harness.meter import EACH, ONCE, Meter
from peer_harness.ours import bundle_config, image_of
from peer_harness.rows import CASES, Row, table_rows
from peer_harness.workload import Workload
from torch import nn

from medsegdiff_monai.networks.nets import MedSegDiff


class Network(nn.Module):
    """A network of two convolutions: one of the image, one of each evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(1, 4, 1, bias=False)
        self.mask = nn.Conv2d(3, 5, 3, padding=1, bias=False)

    def encode(self, image: torch.Tensor) -> torch.Tensor:
        return self.image(image)

    def evaluate(self, x: torch.Tensor) -> torch.Tensor:
        return self.mask(x)


ENCODE_FLOP = 2 * 4 * 1 * 8 * 8  # two operations for each product: channels out x channels in x pixels
EVALUATE_FLOP = 2 * 5 * 3 * 9 * 8 * 8  # ... x 9 places of the kernel
MATRIX_FLOP = 2 * 2 * 3 * 7  # a sampler's own product of matrices (2, 3) and (3, 7)


def work(steps: int = 2, members: int = 3, **settings: Any) -> Workload:
    network, meter = Network(), Meter()
    meter.watch(network, "encode", ONCE)
    meter.watch(network, "evaluate", EACH)

    @torch.no_grad()
    def run() -> None:
        network.encode(torch.ones(1, 1, 8, 8))
        for _ in range(steps):
            network.evaluate(torch.ones(members, 3, 8, 8))
        torch.ones(2, 3) @ torch.ones(3, 7)

    return Workload(run, parameters=139, meter=meter, **settings)


def test_operations_of_convolutions_and_matrix_products_by_hand() -> None:
    counted = count_flop(work())
    network = ENCODE_FLOP + 6 * EVALUATE_FLOP
    assert counted == pytest.approx(
        {"gflop": (network + MATRIX_FLOP) / 1e9, "network": network / 1e9, EACH: 6, ONCE: 1}, rel=1e-12
    )


def test_operations_of_a_whole_answer_from_a_part_of_it() -> None:
    counted = count_flop(work(scale=10.0, parts=4, batches=5))
    assert counted["network"] == pytest.approx(4 * (ENCODE_FLOP + 10 * 6 * EVALUATE_FLOP) / 1e9, rel=1e-12)
    assert counted["gflop"] - counted["network"] == pytest.approx(4 * 5 * MATRIX_FLOP / 1e9, rel=1e-9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that goes on only when it is told to, beside matrix products at 10 GFLOP/s."""
    now = [100.0]
    monkeypatch.setattr(measuring, "matrix_ceiling", lambda *_: 10.0)
    monkeypatch.setattr(metering.time, "perf_counter", lambda: now[0])
    return now


def timed(now: list[float], outside: list[float], watch_chain: bool = False, **settings: Any) -> Workload:
    """Work of 2 s for the image, a step of 3 s in the network and 1 s besides and, run by run, some seconds behind."""

    class Sleeper:
        def encode(self, batch: torch.Tensor) -> None:
            now[0] += 2.0

        def evaluate(self, batch: torch.Tensor) -> None:
            now[0] += 3.0

        def steps(self) -> Iterator[None]:
            self.evaluate(torch.ones(2))
            now[0] += 1.0
            yield None

    network, meter = Sleeper(), Meter()
    meter.watch(network, "encode", ONCE)
    meter.watch(network, "evaluate", EACH)
    if watch_chain:
        meter.watch_chain(network, "steps")

    def run() -> None:
        network.encode(torch.ones(1))
        for _ in network.steps():
            now[0] += outside.pop(0)  # not of the steps, though in between

    return Workload(run, parameters=1_500_000, meter=meter, **settings)


def test_time_of_runs_and_share_outside_the_network(clock: list[float]) -> None:
    result = measure(timed(clock, [50.0, 4.0, 14.0, 6.0]), repeats=3)  # the first run warms up
    assert (result["seconds_min"], result["seconds"], result["seconds_max"]) == (10.0, 12.0, 20.0)
    assert result["outside"] == pytest.approx(7 / 12)
    assert (result["evaluations"], result["complete"], result["parameters_m"]) == (2, True, 1.5)


def test_time_of_a_whole_answer_from_a_part_of_it(clock: list[float]) -> None:
    result = measure(timed(clock, [1.0, 7.0], watch_chain=True, scale=10.0, parts=3, batches=2), repeats=1)
    assert result["seconds"] == 3 * (2 + 10 * (3 + 1) + 2 * 7)
    assert result["outside"] == pytest.approx((10 + 2 * 7) / (2 + 40 + 14))
    assert (result["evaluations"], result["measured_evaluations"], result["complete"]) == (60, 2, False)
    assert result["seconds_of_run"] == 13.0


def test_unwatched_sampler_is_nothing_but_its_steps(clock: list[float]) -> None:
    result = measure(timed(clock, [0.0, 0.0], scale=10.0), repeats=1)
    assert result["seconds"] == 2 + 10 * (3 + 1)


def test_share_of_the_ceiling_is_that_of_the_products_around_each_run(
    clock: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    ceilings = iter([2e-9, 1e-9, 8e-9, 4e-9])
    monkeypatch.setattr(measuring, "matrix_ceiling", lambda *_: next(ceilings))
    durations = iter([1.0, 42.0, 84.0, 42.0])

    def run() -> None:
        clock[0] += next(durations)
        torch.ones(2, 3) @ torch.ones(3, 7)

    result = measure(Workload(run, parameters=1), repeats=3)  # 2, 1 and 2 operations a second
    assert MATRIX_FLOP == 84
    assert result["ceilings"] == [2e-9, 1e-9, 8e-9, 4e-9]
    assert result["of_ceiling"] == pytest.approx(2 / 8)  # of 2 / 2, 1 / 8 and 2 / 8


def test_network_that_cannot_be_watched_is_counted_beside_its_runs(clock: list[float]) -> None:
    runs: list[str] = []

    def run() -> None:
        runs.append("run")
        clock[0] += 4.0

    def count() -> None:
        runs.append("count")
        torch.ones(2, 3) @ torch.ones(3, 7)

    result = measure(Workload(run, parameters=1, evaluations=20, count=count), repeats=2)
    assert runs == ["run", "count", "run", "run"]
    assert (result["seconds"], result["evaluations"], result["outside"]) == (4.0, 20, None)
    assert result["gflop_per_second"] == pytest.approx(MATRIX_FLOP / 1e9 / 4)


def test_ceiling_is_that_of_the_size_whose_products_are_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 3, 8, 0, 4, 10])  # start and ends of two products of each size; one before does not count
    monkeypatch.setattr(metering.time, "perf_counter", lambda: next(ticks))
    assert matrix_ceiling("float32", sizes=(16, 8), seconds=7) == pytest.approx(2 * 2 * 16**3 / 8 / 1e9)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_ceiling_of_this_machine(dtype: str) -> None:
    assert matrix_ceiling(dtype, sizes=(64,), seconds=0.01) > 0


@pytest.mark.parametrize(("device", "waits"), [("cpu", 0), ("cuda", 1)])
def test_clock_waits_for_a_gpu(monkeypatch: pytest.MonkeyPatch, device: str, waits: int) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: waited.append(True))
    assert metering.now(device) > 0
    assert len(waited) == waits


def test_time_in_the_network_is_that_until_a_gpu_is_done(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    queued = [0.0]

    class Queue:
        def evaluate(self, batch: torch.Tensor) -> None:
            queued[0] += 3.0

    def synchronize() -> None:
        clock[0] += queued[0]
        queued[0] = 0.0

    monkeypatch.setattr(torch.cuda, "synchronize", synchronize)
    network, meter = Queue(), Meter(device="cuda")
    meter.watch(network, "evaluate", EACH)
    network.evaluate(torch.ones(2))
    assert meter.seconds[EACH] == 3.0


def test_peak_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 1_500_000_000)
    assert measuring.peak_memory_gb("cuda") == 1.5


def test_peak_memory_is_that_of_this_process_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmPeak:\t9000000 kB\nVmHWM:\t 2000000 kB\nVmRSS:\t 1000000 kB\n")
    monkeypatch.setattr(measuring, "STATUS", status)
    assert measuring.peak_memory_gb() == pytest.approx(2.048)


@pytest.mark.parametrize("account", ["/proc/self/status", "/none"])
def test_peak_memory_is_at_least_what_is_held(monkeypatch: pytest.MonkeyPatch, account: str) -> None:
    monkeypatch.setattr(measuring, "STATUS", Path(account))
    held = torch.ones(50_000_000)
    resident = psutil.Process().memory_info().rss
    assert 0.98 * resident / 1e9 <= measuring.peak_memory_gb() < 1000
    assert held.sum() > 0


def row(case: str, key: str, partial_steps: int | None = None, **settings: Any) -> Row:
    size = (32, 32) if case == "2d" else (32, 32, 16)
    found = next(r for r in table_rows(case, size, 1, partial_steps, window=32) if r.key == key)
    return Row(**{**vars(found), "settings": {**found.settings, **settings}})


def test_our_default_answer_costs_what_its_network_costs() -> None:
    default = row("2d", "default")
    counted = count_flop(METHODS[default.method](default))
    size = network_size(bundle_config(default), 1, default.size)
    # Members share the embedding of the timestep, which network_size counts for each.
    assert counted["network"] == pytest.approx(size["gflop_once"] + 4 * 5 * size["gflop_each"], rel=5e-4)
    assert counted[EACH] == 20
    assert image_of(default).shape == (1, 1, 32, 32)
    assert CASES["2d"].folder.is_dir()


@pytest.mark.parametrize(("key", "evaluations"), [("fast", 1), ("bf16", 5 * 4)], ids=["fast", "bf16"])
def test_evaluations_of_our_options(key: str, evaluations: int) -> None:
    chosen = row("2d", key)
    assert measure(METHODS[chosen.method](chosen), 1, (64,))["evaluations"] == evaluations


def test_reduced_precision_is_that_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []
    decode = MedSegDiff.decode
    monkeypatch.setattr(
        MedSegDiff, "decode", lambda net, x: seen.append(torch.is_autocast_enabled("cpu")) or decode(net, x)
    )
    for key in ("bf16", "default"):
        chosen = row("2d", key)
        workload = METHODS[chosen.method](chosen)
        workload.run()
        assert workload.dtype == ("bfloat16" if key == "bf16" else "float32")
    assert seen == [True, False]


def test_rows_differ_in_their_networks_layout() -> None:
    kept = [
        bundle_config(row("2d", key)).get_parsed_content("network_def").denoiser.parameters()
        for key in ("default", "channels_first")
    ]
    layouts = [
        all(p.is_contiguous(memory_format=torch.channels_last) for p in of_row if p.dim() == 4 and min(p.shape) > 1)
        for of_row in kept
    ]
    assert layouts == [True, False]


TINY_PEER = {"dim": 8, "dim_mults": (1, 2), "full_self_attn": (False, True)}
TINY_DIFFUSION = {"channels": (32, 32), "attention_levels": (False, True), "num_head_channels": 8}


@pytest.mark.parametrize(
    ("case", "key", "partial_steps", "settings", "whole", "run"),
    [
        ("2d", "med_seg_diff", 2, {"network": TINY_PEER}, 1000 * 5, 2),
        ("2d", "med_seg_diff_ddim", 2, {"network": TINY_PEER}, 50 * 5, 2),
        ("2d", "med_seg_diff_ddim", None, {"network": TINY_PEER, "steps": 3, "members": 2}, 3 * 2, 3),
        ("3d", "med_seg_diff", 1, {"network": TINY_PEER}, 16 * 1000 * 3, 1),
        ("2d", "diffusion_unet", 2, {"network": TINY_DIFFUSION}, 1000 * 5, 2),
        ("3d", "diffusion_unet", 1, {"network": TINY_DIFFUSION}, 1000 * 3, 1),
        ("2d", "basic_unet", None, {}, 1, 1),
    ],
)
def test_evaluations_of_the_peers(
    case: str, key: str, partial_steps: int | None, settings: dict[str, Any], whole: int, run: int
) -> None:
    if key.startswith("med_seg"):
        pytest.importorskip("med_seg_diff_pytorch", reason="the peer is not installed")
    if key == "diffusion_unet":
        pytest.importorskip("einops", reason="DiffusionModelUNet needs einops")
    chosen = row(case, key, partial_steps, **settings)
    result = measure(METHODS[chosen.method](chosen), 1, (64,))
    assert (result["evaluations"], result["measured_evaluations"]) == (whole, run)
    assert 0 <= result["outside"] < 1
    assert result["gflop"] > 0


def test_paper_recipe_of_volumes_goes_by_slices() -> None:
    parser_steps, members, slices = 100, 25, 16
    tiny = {"denoiser#name": "S", "num_ensemble": members, "num_inference_steps": parser_steps}
    chosen = row("3d", "paper", 1, config=tiny)
    workload = METHODS[chosen.method](chosen)
    assert workload.parts == slices
    assert workload.scale == parser_steps * members  # the bundle runs one member at a time, so a run is one evaluation
    assert not workload.complete


@pytest.mark.parametrize("wrong", [(32, 48)])
def test_peer_of_square_images_refuses_others(wrong: tuple[int, ...]) -> None:
    chosen = row("2d", "med_seg_diff")
    build: Callable[[Row], Workload] = METHODS[chosen.method]
    with pytest.raises(ValueError, match="square images only, got 32 x 48"):
        build(Row(**{**vars(chosen), "size": wrong}))
