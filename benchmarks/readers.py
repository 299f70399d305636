# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Do samples vary as readers do? Phantoms with a known rule of variation, the thyroid bundle trained on them.

    python benchmarks/readers.py --out /tmp/readers

Makes ultrasound phantoms with several readers, trains the bundle from its own train.json and overlays, samples
members of the test cases and compares them with the readers: deviation of the area, share of masks with the ambiguous
lobe, generalised energy distance, Dice with each reader. Beside them stand further readers by the rule (what a perfect
sampler would reach), copies of the fused mask, and masks drawn pixel by pixel from the probability of a U-Net that was
trained on the same readers. Prints a Markdown table and whether the criteria are met; writes both with a CSV of all
cases and a picture.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fire
import numpy as np
import pandas as pd
from PIL import Image
from reader_harness.picture import PictureRow, save_picture
from reader_harness.scores import CaseMasks, energy_distance, score, summarise
from reader_harness.training import TrainedBundle, train
from tqdm import tqdm

from medsegdiff_monai.data import load_cases
from medsegdiff_monai.data.phantoms import LOBE_PROBABILITY, PHANTOM_KINDS, draw_readings, write_phantoms
from medsegdiff_monai.utils import InputError, check_writable, replace_atomically

READERS = 4
MEMBERS = "members"
RULE = "further readers by the rule"
FUSED = "copies of the fused mask"
PIXELS = "U-Net, pixel by pixel"
AREA_RATIO = (0.8, 1.2)
LOBE_TOLERANCE = 0.1
LEAST_LOBE = 3  # pixels by which a mask can be told to hold it


def read(path: str | Path) -> np.ndarray:
    """A picture as an array ``(H, W)``."""
    with Image.open(path) as picture:
        return np.asarray(picture)


def as_pictures(maps: Any) -> np.ndarray:
    """Maps ``(..., X, Y)`` of the networks, as ``(..., H, W)``, which pictures are."""
    return np.swapaxes(np.asarray(maps), -1, -2)


def further_readers(case: int, size: int, seed: int, count: int) -> np.ndarray:
    """Masks ``(count, H, W)`` of readers of a test case beyond those in the data set: the same phantom, read on."""
    rng = np.random.default_rng([seed, PHANTOM_KINDS.index("ultrasound"), 2, case])  # as write_phantoms seeds it
    readings = draw_readings(rng, (size, size), READERS + count).readings
    return np.stack([r.label for r in readings[READERS:]]) > 0


def compare(
    data: Path, sampler: TrainedBundle, unet: TrainedBundle, size: int, seed: int
) -> tuple[pd.DataFrame, list[PictureRow]]:
    """Scores of each method for each test case, and some cases to look at."""
    lobes = json.loads((data / "readers.json").read_text(encoding="utf-8"))["cases"]
    draw = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    shown: list[PictureRow] = []
    for i, case in enumerate(tqdm(load_cases(data, "test"), desc="Sampling", unit="case")):
        name = Path(case["image"]).stem
        lobe = read(data / lobes[name]["lobe"]) > 0
        if lobe.sum() < LEAST_LOBE:
            continue
        readers = np.stack([read(path) for path in case["label"]]) > 0
        prediction = sampler.predict(i)
        probability = as_pictures(prediction.probability[0, 0])
        members = as_pictures(prediction.members[0, :, 0]) >= 0.5
        single = as_pictures(unet.predict(i).probability[0, 0])
        more = further_readers(i, size, seed, len(members))
        methods = {
            "readers": CaseMasks(readers),
            RULE: CaseMasks(more),
            MEMBERS: CaseMasks(members, probability >= 0.5),
            FUSED: CaseMasks(np.repeat(probability[None] >= 0.5, len(members), axis=0)),
            PIXELS: CaseMasks(draw.random(members.shape) < single, single >= 0.5),
        }
        halves = energy_distance(readers[: READERS // 2], readers[READERS // 2 :])
        for method, masks in methods.items():
            scores = score(masks, readers, lobe, more.sum((1, 2)).mean())
            rows.append({"case": name, "method": method, **scores, "halves": halves})
        deviation = as_pictures(prediction.deviation[0, 0])  # type: ignore[index]  # there are several members
        shown.append(PictureRow(read(case["image"]), readers, members, probability, deviation))
    if not rows:
        raise InputError("In no test phantom the lobe is large enough: give a larger --size.")
    return pd.DataFrame(rows), shown


def criteria(table: pd.DataFrame) -> dict[str, bool]:
    """Whether the members vary as the readers do, by what was fixed beforehand."""
    own = table.loc[MEMBERS]
    ratio = own.area_sd / table.loc[RULE].area_sd
    others = table.loc[[FUSED, PIXELS], "energy_distance"]
    return {
        f"deviation of the area {AREA_RATIO[0]} to {AREA_RATIO[1]} of the rule's: {ratio:.3f}": bool(
            AREA_RATIO[0] <= ratio <= AREA_RATIO[1]
        ),
        f"share with the lobe within {LOBE_TOLERANCE} of {LOBE_PROBABILITY}: {own.lobe:.3f}": bool(
            abs(own.lobe - LOBE_PROBABILITY) <= LOBE_TOLERANCE
        ),
        f"energy distance below that of the readers' halves, {own.halves:.3f}: {own.energy_distance:.3f}": bool(
            own.energy_distance < own.halves
        ),
        f"energy distance below the others', {others.min():.3f}: {own.energy_distance:.3f}": bool(
            own.energy_distance < others.min()
        ),
    }


def report(table: pd.DataFrame, training: str) -> str:
    """The table and the criteria in Markdown."""
    rule = table.loc[RULE].area_sd
    lines = [
        training,
        "",
        "| masks | area, standard deviation | of the rule's | share with the lobe | energy distance | Dice, mean over "
        "readers | least | largest |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, row in table.iterrows():
        distance = f"{row.energy_distance:.3f}" if method != "readers" else f"{row.halves:.3f} (halves)"
        lines.append(
            f"| {method} | {row.area_sd:.3f} | {row.area_sd / rule:.3f} | {row.lobe:.3f} | {distance} | "
            f"{row.dice_mean:.3f} | {row.dice_min:.3f} | {row.dice_max:.3f} |"
        )
    lines += ["", *(f"- {'pass' if met else 'FAIL'}: {what}" for what, met in criteria(table).items())]
    return "\n".join(lines) + "\n"


def main(
    out: str = "readers",
    minutes: float = 20.0,
    unet_minutes: float = 2.0,
    size: int = 48,
    training: int = 640,
    validation: int = 16,
    test: int = 60,
    seed: int = 0,
) -> None:
    """Train, sample and compare.

    Args:
        out: folder of the data, the weights and the results.
        minutes: processor time of the bundle's training.
        unet_minutes: that of the U-Net's.
        size: pixels along each axis of the phantoms.
        training: number of training cases.
        validation: number of validation cases.
        test: number of test cases.
        seed: seed of the phantoms and the trainings.
    """
    folder = check_writable(out)
    data = folder / "data"
    write_phantoms(data, "ultrasound", training, validation, test, size, seed, READERS)
    common: dict[str, Any] = {"dataset_dir": str(data), "image_size": [size, size]}
    bundles, epochs = [], []
    for name, overlays, time in (("medsegdiff", [], minutes), ("unet", ["unet"], unet_minutes)):
        place = folder / name
        epochs.append(train(["readers", "readers_train", *overlays], place, time, **common, seed=seed))
        bundles.append(TrainedBundle(overlays, place, **common))
    cases, shown = compare(data, bundles[0], bundles[1], size, seed)
    table = summarise(cases)
    said = (
        f"{training} training phantoms of {size} x {size} with {READERS} readers each, {cases.case.nunique()} to test"
    )
    said += f". Processor time: {minutes:g} minutes ({epochs[0]} epochs), U-Net {unet_minutes:g} ({epochs[1]} epochs)."
    text = report(table, said)
    replace_atomically(folder / "readers.csv", lambda p: cases.to_csv(p, index=False, float_format="%.6g"))
    replace_atomically(folder / "readers.md", lambda p: p.write_text(text, encoding="utf-8"))
    save_picture(folder / "readers.png", shown[:3])
    print(text)


if __name__ == "__main__":
    try:
        fire.Fire(main)
    except InputError as error:
        raise SystemExit(f"Error: {error}") from None
