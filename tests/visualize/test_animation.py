# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.disk import full_disk
from support.pictures import pixels_of, size_of

from medsegdiff_monai.utils import InputError
from medsegdiff_monai.visualize import PicturedCase, region_colour, save_animation

SIZE = (32, 24)


def steps_of(count: int) -> np.ndarray:
    """A square that grows from step to step, ``(K, 1, *SIZE)``."""
    steps = np.zeros((count, 1, *SIZE))
    for k in range(count):
        steps[k, 0, 8 : 12 + 12 * k // count, 6:18] = 0.6 + 0.4 * k / max(count - 1, 1)
    return steps


def make_case(steps: np.ndarray) -> PicturedCase:
    return PicturedCase("case 1", np.full(SIZE, 50, np.uint8), ["nodule"], steps[-1] >= 0.5, steps[-1])


def captions(count: int) -> list[str]:
    return [f"step {k + 1} of {count}: t = {k}, noise 0.50" for k in range(count)]


@pytest.mark.parametrize("name", ["animation.gif", "animation.png"])
def test_full_disk_is_one_sentence_and_leaves_no_animation(name: str, tmp_path: Path) -> None:
    steps = steps_of(3)
    with full_disk(), pytest.raises(InputError, match=f"Cannot write {tmp_path}/{name} .*: free space"):
        save_animation(tmp_path / name, make_case(steps), steps, captions(3))
    assert list(tmp_path.iterdir()) == []


def test_animation_has_a_frame_for_each_step_and_they_differ(tmp_path: Path) -> None:
    steps = steps_of(5)
    path = save_animation(tmp_path / "animation.gif", make_case(steps), steps, captions(5))
    with Image.open(path) as animation:
        assert animation.n_frames == 5
        frames = []
        durations = []
        for k in range(5):
            animation.seek(k)
            durations.append(animation.info["duration"])
            frames.append(np.asarray(animation.convert("RGB")).astype(int))
    assert durations[-1] > durations[0] >= 80
    yellow = [int((np.abs(f - (253, 231, 37)).max(-1) < 20).sum()) for f in frames]  # viridis' upper end
    assert {f.shape for f in frames} == {frames[0].shape}
    assert np.abs(frames[0] - frames[-1]).max() > 100
    assert yellow[-1] > yellow[0]
    panels = [f[: f.shape[0] * 3 // 4] for f in frames]  # without the legend
    right = [int(np.nonzero((np.abs(p - (230, 159, 0)).max(-1) < 60).any(0))[0].max()) for p in panels]
    assert right == sorted(right)  # the outline grows to the right
    assert right[-1] > right[0] + 50


def test_strip_has_at_most_eight_columns_with_the_first_and_the_last_step(tmp_path: Path) -> None:
    few, many = steps_of(3), steps_of(30)
    short = save_animation(tmp_path / "short.png", make_case(few), few, captions(3))
    long = save_animation(tmp_path / "long.png", make_case(many), many, captions(30))
    width, _ = size_of(short)
    assert size_of(long)[0] == pytest.approx(width + 5 * 2.4 * 150, abs=2)
    assert pixels_of(short, region_colour(0)) > 300


def test_other_files_are_refused(tmp_path: Path) -> None:
    steps = steps_of(1)
    with pytest.raises(InputError, match=r"must be a file .gif or .png, got .*animation.avi"):
        save_animation(tmp_path / "animation.avi", make_case(steps), steps, captions(1))
    assert list(tmp_path.iterdir()) == []
