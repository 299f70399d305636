# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0


"""What an ensemble's maps, scores and measurements cost beside its sampling.

    python benchmarks/uncertainty_cost.py
    python benchmarks/uncertainty_cost.py --data <folder of the data sets>

Samples phantoms, or real test images, with each bundle's committed weights, makes of the members what a run with
``details.json`` makes of them, by the transforms of the bundle's own configuration, and prints a Markdown table:
seconds of each, the share of the sampling that they take together, and the memory of the maps beyond the members, the
fused probability and the uncertainty, in maps of one member's size. Measurements include the way of each member back to
the grid of its image. Real images are pictures of the two data sets that the bundles were trained on; of their figures
the medians are printed.
"""

from __future__ import annotations

import platform
import statistics
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import fire
import torch
from monai.data import decollate_batch, list_data_collate
from monai.utils import convert_to_dst_type
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle
from medsegdiff_monai.data.phantoms import write_phantoms
from medsegdiff_monai.inferers import SegmentationPrediction
from medsegdiff_monai.transforms import MeasureRegionsd, on_image_grid
from medsegdiff_monai.utils import keep_freed_memory

BUNDLES = Path(__file__).resolve().parents[1] / "bundle"
# bundle, kind of the phantom, its size, settings: each at the bundle's own size, and pictures at 256 x 256 as well,
# with the learned filters of the size that they were trained at
CASES: tuple[tuple[str, str, tuple[int, ...], dict[str, Any]], ...] = (
    ("thyroid_ultrasound", "ultrasound", (560, 360), {}),
    ("thyroid_ultrasound", "ultrasound", (256, 256), {"image_size": [256, 256], "denoiser#spatial_size": [96, 96]}),
    ("fundus_optic", "fundus", (768, 768), {}),
    ("fundus_optic", "fundus", (256, 256), {"image_size": [256, 256], "denoiser#spatial_size": [192, 192]}),
    ("brats_mri", "brain", (96, 96, 48), {}),
)
REAL = (("thyroid_ultrasound", "ultrasound_ddti"), ("fundus_optic", "fundus_palm"))


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


def _seconds(work: Callable[..., Any], repeats: int, given: Callable[[], tuple[Any, ...]] = tuple) -> float:
    """Median time of some work with what is given, which is made anew each time, as it may keep results."""
    times = []
    for _ in range(repeats):
        items = given()
        start = time.perf_counter()
        work(*items)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Case:
    """A test image and a bundle that segments it with all details."""

    def __init__(self, bundle: str, folder: Path, settings: dict[str, Any]) -> None:
        root = BUNDLES / f"{bundle}_medsegdiff"
        data = {"dataset_dir": str(folder), "datalist": str(folder / "datalist.json"), "section": "test"}
        self.bundle = Bundle(root, device="cpu", **data, **settings).build()
        self.on_fused = MeasureRegionsd("pred", self.bundle.regions, preprocessing=self.bundle.preprocessing)
        self.dataset = self.bundle.get("dataset")
        self.take(0)

    def take(self, index: int) -> None:
        """Go on with another test image."""
        self.image = list_data_collate([self.dataset[index]])["image"]

    def sampled(self) -> torch.Tensor:
        """The members, ``(1, N, C, *spatial)``."""
        return self.bundle.inferer.sample(self.image, self.bundle.network)

    def details(self, members: torch.Tensor) -> tuple[SegmentationPrediction, list[Any]]:
        """The prediction with its three maps beside the uncertainty, which any run has."""
        prediction = SegmentationPrediction.from_members(members)
        _ = prediction.uncertainty
        return prediction, [prediction.deviation, prediction.expected_entropy, prediction.mutual_information]

    def fused(self, members: torch.Tensor) -> Any:
        """The fused mask on the image's own grid, which any run has."""
        data = {"image": self.image, "pred": convert_to_dst_type(members.mean(1), self.image)[0]}
        return on_image_grid(decollate_batch(data)[0], "pred", self.bundle.preprocessing) >= 0.5

    def measured(self, members: torch.Tensor, fused: Any) -> list[Any]:
        """The measurements of the fused mask with their intervals."""
        data = {"image": self.image, "members": convert_to_dst_type(members.flatten(1, 2), self.image)[0]}
        return self.on_fused({**decollate_batch(data)[0], "pred": fused})["measurements"]


@dataclass(frozen=True)
class Cost:
    """What one image costs.

    Attributes:
        seconds: of sampling, maps, scores and measuring.
        maps: memory.
        members: number of members.
    """

    seconds: tuple[float, ...]
    maps: float
    members: int

    @property
    def share(self) -> float:
        """What the details add to the sampling, in percent."""
        return 100 * sum(self.seconds[1:]) / self.seconds[0]


def _cost(case: Case, repeats: int) -> Cost:
    members = case.sampled()
    fused = case.fused(members)
    sampling = _seconds(case.sampled, repeats)
    with LiveMemory() as memory:
        case.details(members)
    seconds = (
        sampling,
        _seconds(lambda: case.details(members), repeats),
        _seconds(lambda prediction, _: prediction.scores, repeats, lambda: case.details(members)),
        _seconds(lambda: case.measured(members, fused), repeats),
    )
    maps = memory.peak / members[:, 0].nbytes - 2  # the fused probability and the uncertainty are of any run
    return Cost(seconds, maps, members.shape[1])


def _row(bundle: str, images: str, case: Case, costs: Sequence[Cost]) -> str:
    network = " x ".join(map(str, case.image.shape[2:]))
    numbers = [f"{statistics.median(s):.3f}" for s in zip(*(c.seconds for c in costs), strict=True)]
    share, maps = (statistics.median(values) for values in ([c.share for c in costs], [c.maps for c in costs]))
    fields = [bundle, images, network, str(costs[0].members), *numbers, f"{share:.1f} %", f"{maps:.1f}"]
    return f"| {' | '.join(fields)} |"


def _of_phantom(repeats: int, bundle: str, kind: str, size: tuple[int, ...], settings: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "phantoms"
        write_phantoms(folder, kind, num_training=1, num_validation=0, num_test=1, size=size)
        case = Case(bundle, folder, settings)
        return _row(bundle, " x ".join(map(str, size)), case, [_cost(case, repeats)])


def _of_real(repeats: int, bundle: str, folder: Path) -> str:
    case = Case(bundle, folder, {})
    costs = []
    for index in tqdm(range(len(case.dataset)), desc=folder.name, unit="image", leave=False):
        case.take(index)
        costs.append(_cost(case, repeats))
    return _row(bundle, f"{len(costs)} of {folder.name}", case, costs)


def main(data: str | None = None, repeats: int = 3) -> None:
    """Measure each bundle and print the table.

    Args:
        data: folder of the data sets ``ultrasound_ddti`` and ``fundus_palm``, whose test images are then measured
            instead of phantoms.
        repeats: number of timed runs of an image, of which the median counts.
    """
    keep_freed_memory()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    if data is None:
        works = [partial(_of_phantom, repeats, *case) for case in CASES]
    else:
        works = [partial(_of_real, repeats, bundle, Path(data) / name) for bundle, name in REAL]
    rows = [work() for work in tqdm(works, desc="Cases", unit="case")]
    heads = ["bundle", "image", "network", "members", "sampling s", "maps s", "scores s", "measuring s", "together"]
    print(f"| {' | '.join([*heads, 'memory, maps'])} |")
    print("|---" * (len(heads) + 1) + "|")
    print("\n".join(rows))


if __name__ == "__main__":
    fire.Fire(main)
