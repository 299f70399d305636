# Copyright (c) MedSegDiff-MONAI contributors
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#     http://www.apache.org/licenses/LICENSE-2.0
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.


"""What an ensemble's maps, scores and measurements cost beside its sampling.

    python benchmarks/uncertainty_cost.py

Samples a phantom with each bundle's committed weights, then makes of the members what a run with ``--details true``
makes of them, and prints a Markdown table: seconds of each, their share of the sampling, and the memory that the maps
need beyond the members, in maps of one member's size.
"""

from __future__ import annotations

import platform
import statistics
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fire
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.transforms import NormalizeIntensity
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from medsegdiff_monai.data.phantoms import make_phantom
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.inferers.ensemble import EnsembleStatistics
from medsegdiff_monai.inferers.prediction import EnsembleScores, SegmentationPrediction
from medsegdiff_monai.measurements import measure_member, measurement_intervals
from medsegdiff_monai.utils import keep_freed_memory

BUNDLES = Path(__file__).resolve().parents[1] / "bundle"
# bundle, kind of the phantom, size
CASES: tuple[tuple[str, str, tuple[int, ...]], ...] = (
    ("thyroid_ultrasound_medsegdiff", "ultrasound", (256, 256)),
    ("fundus_optic_medsegdiff", "fundus", (256, 256)),
    ("brats_mri_medsegdiff", "brain", (128, 128, 64)),
)


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of tensors that operators make while it is on and that are alive.

    Attributes:
        peak: the most that were alive at a time.
    """

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in args if isinstance(t, torch.Tensor)}
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in given | self._seen:
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        self._seen.add(key)
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._seen.discard(key)
        self.alive -= size


def _prepared(bundle: str, kind: str, size: tuple[int, ...]) -> tuple[Any, Any, torch.Tensor]:
    """Inferer, network and image of a bundle."""
    parser = ConfigParser()
    parser.read_config(str(BUNDLES / bundle / "configs" / "inference.json"))
    parser.update({"bundle_root": str(BUNDLES / bundle), "device": torch.device("cpu")})
    network = parser.get_parsed_content("network_def")
    load_weights(network, BUNDLES / bundle / "models" / "model.pt")
    picture, _ = make_phantom(kind, np.random.default_rng(0), size)
    channels_first = np.moveaxis(np.atleast_3d(picture), -1, 0) if len(size) == 2 else np.moveaxis(picture, -1, 0)
    image = NormalizeIntensity(channel_wise=True)(torch.from_numpy(np.ascontiguousarray(channels_first)).float())
    return parser.get_parsed_content("inferer"), network.eval(), torch.as_tensor(image)[None]


def _maps(prediction: SegmentationPrediction) -> list[Any]:
    return [prediction.deviation, prediction.disagreement, prediction.blur]


def _measured(prediction: SegmentationPrediction, spacing: list[float] | None) -> list[Any]:
    members: Any = prediction.members
    names = [str(c) for c in range(members.shape[2])]
    found = [measure_member(dict(zip(names, m.numpy())), spacing) for m in members[0]]
    fused = {name: mask.numpy() for name, mask in zip(names, prediction.probability[0] >= 0.5)}
    return measurement_intervals(fused, found, spacing)


def _seconds(work: Callable[[], Any], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _row(bundle: str, kind: str, size: tuple[int, ...], repeats: int) -> str:
    inferer, network, image = _prepared(bundle, kind, size)
    prediction = inferer.predict(image, network)
    members = prediction.members
    spacing = [1.0] * 3 if len(size) == 3 else None

    def anew() -> SegmentationPrediction:
        return SegmentationPrediction(prediction.probability, prediction.uncertainty, members)

    with LiveMemory() as memory:
        _maps(anew())
    sampling = _seconds(lambda: inferer.predict(image, network), repeats)
    statistics_of = EnsembleStatistics.of(members)
    parts = [
        _seconds(lambda: _maps(anew()), repeats),
        _seconds(lambda: EnsembleScores.of(statistics_of, prediction.probability), repeats),
        _seconds(lambda: _measured(prediction, spacing), repeats),
    ]
    share = 100 * sum(parts) / sampling
    maps = memory.peak / members[:, 0].nbytes
    numbers = [f"{s:.3f}" for s in (sampling, *parts)]
    text = " x ".join(map(str, size))
    return f"| {bundle} | {text} | {members.shape[1]} | {' | '.join(numbers)} | {share:.1f} % | {maps:.1f} |"


def main(repeats: int = 5) -> None:
    """Measure each bundle and print the table.

    Args:
        repeats: number of timed runs, of which the median counts.
    """
    keep_freed_memory()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    rows = [_row(bundle, kind, size, repeats) for bundle, kind, size in tqdm(CASES, desc="Bundles", unit="bundle")]
    print("| bundle | size | members | sampling s | maps s | scores s | measurements s | together | memory, maps |")
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    fire.Fire(main)
