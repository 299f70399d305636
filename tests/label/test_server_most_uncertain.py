# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The app of this project: the most uncertain image first, and no weights that do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
import torch
from PIL import Image
from support.label_server import REQUEST_SECONDS, LabelServer
from support.label_studies import FUNDUS

from medsegdiff_monai.apps.label import prepare_app

STRATEGY, METHOD = f"{FUNDUS}_most_uncertain", f"{FUNDUS}_disagreement"


@pytest.fixture(scope="module")
def served(small_bundle: Any, draw_studies: Any, start_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The server, the folder of the labels, the weights and the studies, one of which is damaged."""
    app = prepare_app(tmp_path_factory.mktemp("app"), [small_bundle(FUNDUS)])
    studies, labels, _ = draw_studies(FUNDUS)
    (studies / "broken.png").write_bytes(b"no picture")
    return start_server(app, studies), labels, app / "model" / FUNDUS / "models" / "model.pt", studies


def scores(server: LabelServer) -> dict[str, float]:
    """The scores in the data store."""
    objects = server.request("GET", "/datastore/", params={"output": "all"}).json()["objects"]
    found = {name: entry["image"]["info"].get(METHOD) for name, entry in objects.items()}
    return {name: score for name, score in found.items() if score is not None}


def test_the_most_uncertain_image_without_a_label_is_offered_first(served: Any, tmp_path: Path) -> None:
    server, labels, _, _ = served
    assert next(iter(server.request("GET", "/info/").json()["strategies"])) == STRATEGY
    server.run_task("scoring", METHOD)
    assert server.next_image("first")["id"] == "broken"
    found = scores(server)
    assert sorted(found) == ["case0", "case1", "case2", "case3"]
    assert len(set(found.values())) == 4
    ranked = sorted(found, key=lambda name: -found[name])
    # Whoever asks again, perhaps another annotator, gets the next one; what cannot be scored comes last.
    assert [server.next_image(STRATEGY)["id"] for _ in range(5)] == [*ranked, "broken"]
    server.save_label(ranked[0], labels / f"{ranked[0]}.png")
    assert ranked[0] not in [server.next_image(STRATEGY)["id"] for _ in range(4)]
    assert scores(server) == found


def test_the_ranking_is_drawn(served: Any, tmp_path: Path) -> None:
    server, _, _, _ = served
    command = [sys.executable, "-m", "medsegdiff_monai.apps.label", "ranking", server.url, FUNDUS]
    subprocess.run([*command, str(tmp_path / "ranking.png"), "--images", "2"], check=True, timeout=REQUEST_SECONDS)
    drawn = Image.open(tmp_path / "ranking.png").convert("RGB")
    assert len(set(drawn.getdata())) > 100
    wrong = subprocess.run(
        [sys.executable, "-m", "medsegdiff_monai.apps.label", "ranking", server.url, "lung", str(tmp_path / "x.png")],
        capture_output=True,
        text=True,
        timeout=REQUEST_SECONDS,
        check=False,
    )
    assert wrong.returncode == 2
    assert "run its scoring method first" in wrong.stderr


def test_training_starts_anew_where_that_is_asked_for(served: Any) -> None:
    """The learning rate is 0: weights that have changed are those of a new start."""
    server, labels, weights, studies = served
    (studies / "broken.png").unlink()
    for case in ("case0", "case1", "case2", "case3"):
        server.save_label(case, labels / f"{case}.png")
    before = torch.load(weights, weights_only=True)
    for pretrained, moves in ((True, False), (False, True)):
        server.run_task("train", FUNDUS, max_epochs=1, val_split=0.25, device="cpu", pretrained=pretrained)
        after = torch.load(weights, weights_only=True)
        change = max(float((after[k].float() - v.float()).abs().max()) for k, v in before.items())
        assert (change > 1e-3) is moves


def test_weights_that_do_not_fit_are_an_error(served: Any) -> None:
    server, _, weights, _ = served
    fitting = weights.read_bytes()
    content = torch.load(weights, weights_only=True)
    renamed = {key.replace("denoiser.", "network."): value for key, value in content.items()}
    for write, status in ((lambda: torch.save(renamed, weights), 500), (lambda: weights.write_bytes(fitting), 200)):
        write()
        url = f"{server.url}/infer/{FUNDUS}"
        answer = requests.post(url, params={"image": "case0", "output": "image"}, timeout=REQUEST_SECONDS)
        assert answer.status_code == status
