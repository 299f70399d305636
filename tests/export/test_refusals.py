# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""Exports that are refused, each with one sentence, and leave what was there before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.disk import full_disk

from medsegdiff_monai.apps.export import bundle as export_module
from medsegdiff_monai.apps.export import export_bundle, export_onnx, export_torchscript
from medsegdiff_monai.networks.nets import MedSegDiff
from medsegdiff_monai.networks.schedulers import DDPMSubsequenceScheduler
from medsegdiff_monai.utils import InputError


def test_full_disk_is_one_sentence_and_leaves_what_was_there(thyroid_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "model.ts").write_text("old")
    with full_disk(), pytest.raises(InputError, match=f"Cannot write {tmp_path}/model.ts .*: free space"):
        export_bundle(str(thyroid_bundle), str(tmp_path / "model.ts"), steps=1, members=1)
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"model.ts": "old"}


@pytest.mark.parametrize(
    ("out", "options", "sentence"),
    [
        ("model.onnx", {"opset": 17}, "opset must be from 18 to 21, got 17."),
        ("model.onnx", {"opset": 22}, "opset must be from 18 to 21, got 22."),
        ("model.pth", {}, "must end in .onnx or .ts, got"),
        ("model", {}, "must end in .onnx or .ts, got"),
        ("model.ts", {"device": "cuda:99"}, "There is no device cuda:99 on this machine"),
        ("model.onnx", {"device": "gpu"}, "There is no device gpu on this machine"),
        ("model.ts", {"overlay": "disk.json"}, "has no configs/disk.json"),
        ("model.ts", {"members": 0}, "num_ensemble must be at least 1, got 0."),
        ("model.ts", {"steps": 2000}, "num_inference_steps must be between 1 and the schedule's 1000 trained"),
        ("model.ts", {"checkpoint": "missing.pt"}, "The checkpoint missing.pt does not exist"),
        ("model.onnx", {"overlay": "paper.json"}, "STAPLE iterates until it converges"),
    ],
)
def test_bad_input_is_one_sentence(
    out: str, options: dict[str, Any], sentence: str, thyroid_bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError) as refusal:
        export_bundle(str(thyroid_bundle), str(tmp_path / out), **options)
    assert sentence in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_there_must_be_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no bundle in"):
        export_bundle(str(tmp_path), str(tmp_path / "model.ts"))


def test_weights_of_another_network_are_refused(thyroid_bundle: Path, tmp_path: Path) -> None:
    weights = torch.load(thyroid_bundle / "models" / "model.pt", weights_only=True)
    torch.save({f"network.{name}": value for name, value in weights.items()}, tmp_path / "prefixed.pt")
    with pytest.raises(InputError, match="made for another architecture"):
        export_bundle(str(thyroid_bundle), str(tmp_path / "model.ts"), checkpoint=str(tmp_path / "prefixed.pt"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [({"fusion": "staple"}, "STAPLE iterates"), ({"fusion": "mean"}, "The sampler draws noise at every step")],
    ids=["staple", "ddpm"],
)
def test_onnx_refuses_what_it_cannot_hold(
    settings: dict[str, str], sentence: str, tiny_network: Any, tmp_path: Path
) -> None:
    network = MedSegDiff(tiny_network(2).denoiser, DDPMSubsequenceScheduler(prediction_type="sample"), 2, 2, **settings)
    with pytest.raises(InputError, match=sentence):
        export_onnx(network, tmp_path / "model.onnx", 1, 2)
    assert not list(tmp_path.iterdir())


def test_a_file_of_another_answer_is_not_kept(
    thyroid_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiled(network: MedSegDiff, path: Path, *arguments: Any) -> None:
        with torch.no_grad():
            network.denoiser.heads.finest[-1].bias += 1.0
            export_torchscript(network, path, *arguments)
            network.denoiser.heads.finest[-1].bias -= 1.0

    (tmp_path / "model.ts").write_text("an earlier file")
    monkeypatch.setattr(export_module, "export_torchscript", spoiled)
    with pytest.raises(InputError, match="differs from the network's by"):
        export_bundle(str(thyroid_bundle), str(tmp_path / "model.ts"))
    assert (tmp_path / "model.ts").read_text() == "an earlier file"
    assert [p.name for p in tmp_path.iterdir()] == ["model.ts"]
