# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Cost and accuracy of sampling: steps x members, with a bundle's committed weights.

    python benchmarks/sampling.py --data ../shared/data/ultrasound_ddti --out /tmp/sampling

Prints a Markdown table: seconds for one image at the bundle's own working size and at 256 x 256, peak memory, and
Dice on the test images at their own resolution; then the size and work of the network and the memory of a training
step. Writes the table as CSV and a plot beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import fire
import pandas as pd
import torch
from harness.curve import save_curve
from monai.data import decollate_batch
from monai.metrics import DiceMetric
from monai.utils import convert_to_dst_type
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from medsegdiff_monai.apps.bundle import Bundle, read_config
from medsegdiff_monai.data import load_cases
from medsegdiff_monai.networks.fusion import fuse_members
from medsegdiff_monai.transforms import on_image_grid
from medsegdiff_monai.utils import keep_freed_memory

BUNDLE = Path(__file__).resolve().parents[1] / "bundle" / "thyroid_ultrasound_medsegdiff"
TIMED_SIZE = 256


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Run a function in a process of its own, whose peak memory is then its own as well."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(function, *arguments).result()


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def time_sampling(bundle: Path, steps: list[int], members: int, repeats: int) -> list[dict[str, float]]:
    """Median seconds of one image for each number of steps, and the peak memory of the process."""
    torch.manual_seed(0)
    keep_freed_memory()  # as any run of a bundle does
    opened = Bundle(bundle, device="cpu")
    network, size = opened.get("network_def").eval(), opened.get("image_size")[0]
    rows = []
    for n in tqdm(steps, desc=f"Timing {members} members", leave=False):
        inferer = Bundle(bundle, device="cpu", num_inference_steps=n, num_ensemble=members).inferer
        row: dict[str, float] = {"steps": n, "members": members}
        for label, pixels in (("seconds", size), (f"seconds at {TIMED_SIZE}", TIMED_SIZE)):
            image = torch.randn(1, 1, pixels, pixels)
            if n == steps[0]:
                inferer.predict(image, network)
            times = []
            for _ in range(repeats if n * members <= 100 else 1):
                start = time.perf_counter()
                inferer.predict(image, network)
                times.append(time.perf_counter() - start)
            row[label] = statistics.median(times)
        row["peak memory GB"] = peak_memory_gb()
        rows.append(row)
    return rows


def dice_by_members(
    bundle: Path, data: str, section: str, images: int, steps: int, members: list[int]
) -> dict[int, list[float]]:
    """Dice of each test image at its own resolution, fused from the first 1, 5, ... members of one sampling."""
    cases = load_cases(data, section)[:images]
    settings: dict[str, Any] = {"num_inference_steps": steps, "num_ensemble": max(members), "member_batch_size": 5}
    settings |= {"dataset_dir": data, "dataset#data": cases}
    opened = Bundle(bundle, device="cpu", **settings)
    scores: dict[int, list[float]] = {m: [] for m in members}
    for batch in tqdm(opened.get("dataloader"), desc=f"Dice at {steps} steps", leave=False):
        sampled = opened.inferer.sample(batch["image"], opened.network)
        for m in members:
            batch["pred"] = convert_to_dst_type(fuse_members(sampled[:, :m], "mean"), batch["image"])[0]
            case = decollate_batch(batch)[0]
            mask = on_image_grid(case, "pred", opened.preprocessing)[None] >= 0.5
            dice: Any = DiceMetric(ignore_empty=False)(mask.float(), case["label"][None])
            scores[m].append(float(dice))
    return scores


def training_memory_gb(bundle: Path, batch: int, pixels: int) -> float:
    """Peak memory of the process after one training step."""
    settings = {"device": torch.device("cpu"), "image_size": [pixels, pixels]}
    parser = read_config(bundle, ["train.json"], **settings)
    network = parser.get_parsed_content("network")
    image = torch.randn(batch, 1, pixels, pixels)
    prepared = parser.get_parsed_content("train#prepare_batch")({"image": image, "label": (image > 0).float()})
    inferer = parser.get_parsed_content("train#inferer")
    for _ in range(2):
        loss = parser.get_parsed_content("loss")(inferer(prepared[0], network, **prepared[3]), prepared[1])
        loss.backward()
        parser.get_parsed_content("optimizer").step()
    return peak_memory_gb()


def baseline_gb(bundle: Path) -> float:
    """Memory of the process with everything imported and the network built, before any work."""
    Bundle(bundle, device="cpu").get("network_def")
    return peak_memory_gb()


def describe(bundle: Path) -> str:
    """Parameters and work of the network, and the memory of a training step."""
    denoiser = Bundle(bundle, device="cpu").get("denoiser").eval()
    image = torch.zeros(1, 1, TIMED_SIZE, TIMED_SIZE)
    with torch.no_grad(), FlopCounterMode(display=False) as total:
        denoiser(image, torch.tensor([500]), image)
    with torch.no_grad(), FlopCounterMode(display=False) as shared:
        denoiser.encode_image(image)
    training = in_fresh_process(training_memory_gb, bundle, 8, 128)
    idle = in_fresh_process(baseline_gb, bundle)
    return (
        f"{sum(p.numel() for p in denoiser.parameters()) / 1e6:.2f} M parameters; one evaluation at "
        f"{TIMED_SIZE} x {TIMED_SIZE}: {total.get_total_flops() / 1e9:.1f} GFLOP, of which "
        f"{shared.get_total_flops() / 1e9:.1f} once an image; a training step of batch 8 at 128 x 128: "
        f"{training:.2f} GB of the process, {training - idle:.2f} GB more than before it"
    )


def main(
    data: str | None = None,
    out: str = "sampling",
    bundle: str = str(BUNDLE),
    section: str = "test",
    images: int = 1000,
    steps: tuple[int, ...] = (1, 2, 4, 10, 20, 50),
    members: tuple[int, ...] = (1, 5, 25),
    repeats: int = 3,
) -> None:
    """Run the benchmark.

    Args:
        data: folder with a datalist.json; without it nothing is scored, only timed.
        out: folder of the table and the plot.
        bundle: folder of the bundle.
        section: section of the datalist that is scored.
        images: number of images that are scored, from the first on.
        steps: numbers of sampler steps.
        members: numbers of members.
        repeats: runs of which the median is taken (one run for more than 100 evaluations).
    """
    folder, root = Path(out), Path(bundle)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(describe(root))
    rows: list[dict[str, float]] = []
    for m in members:
        rows += in_fresh_process(time_sampling, root, list(steps), m, repeats)
    table = pd.DataFrame(rows)
    table.to_csv(folder / "sampling.csv", index=False)
    if data is not None:
        scores = {n: dice_by_members(root, data, section, images, n, list(members)) for n in steps}
        table["Dice"] = [statistics.mean(scores[int(r["steps"])][int(r["members"])]) for r in rows]
        print(f"Dice on {len(scores[steps[0]][members[0]])} images of {section}")
        curves = {f"{m} members": [100 * statistics.mean(scores[n][m]) for n in steps] for m in members}
        save_curve(folder / "sampling.png", list(steps), curves, "sampler steps", "Dice (%)")
    table["evaluations"] = table["steps"] * table["members"]
    table.to_csv(folder / "sampling.csv", index=False)
    print("| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns))
    for _, row in table.iterrows():
        print("| " + " | ".join(f"{v:.4g}" for v in row) + " |")


if __name__ == "__main__":
    fire.Fire(main)
