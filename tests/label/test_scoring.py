# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

"""The scoring method by itself, on MONAI Label's own data store."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle import ConfigParser
from monailabel.datastore.local import LocalDatastore
from support.label_studies import THYROID

from medsegdiff_monai.apps.label import prepare_app
from medsegdiff_monai.apps.label.app import DisagreementScoring, DisagreementTask
from medsegdiff_monai.handlers import load_weights
from medsegdiff_monai.utils import InputError

EXTENSIONS = ("*.png",)


@pytest.fixture
def scoring(small_bundle: Any, tmp_path: Path) -> DisagreementScoring:
    app = prepare_app(tmp_path / "app", [small_bundle(THYROID)])
    return DisagreementScoring(DisagreementTask(str(app / "model" / THYROID), {}), THYROID)


@pytest.fixture
def studies(draw_studies: Any) -> tuple[Path, Path, dict[str, Any]]:
    return draw_studies(THYROID)


def expected_scores(bundle: Path, cases: dict[str, str]) -> dict[str, float]:
    """Scores by their definition, from the unchanged bundle."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["bundle_root"] = str(bundle)
    parser["device"] = "cpu"
    network, inferer, before = (parser.get_parsed_content(k) for k in ("network_def", "inferer", "preprocessing"))
    load_weights(network, bundle / "models" / "model.pt")
    scores = {}
    for case, image in cases.items():
        members = inferer.sample(before({"image": image})["image"][None], network.eval())[0].numpy() > 0.5
        dice = [2.0 * (a & b).sum() / max(a.sum() + b.sum(), 1) for a, b in combinations(members, 2)]
        scores[case] = 1.0 - float(np.mean(dice))
    return scores


def test_scores_are_the_disagreement_of_the_bundle(scoring: Any, studies: Any, small_bundle: Any) -> None:
    folder, _, cases = studies
    datastore = LocalDatastore(str(folder), extensions=EXTENSIONS)
    assert scoring({}, datastore) == {"scored": 4, "skipped": 0, "failed": {}}
    expected = expected_scores(small_bundle(THYROID), cases)
    assert len({round(score, 6) for score in expected.values()}) == 4
    stored = LocalDatastore(str(folder), extensions=EXTENSIONS)  # as another process reads it
    for case, score in expected.items():
        assert stored.get_image_info(case)[f"{THYROID}_disagreement"] == pytest.approx(score, abs=1e-5)


def test_only_what_has_changed_is_scored_again(scoring: Any, studies: Any) -> None:
    folder, labels, _ = studies
    datastore = LocalDatastore(str(folder), extensions=EXTENSIONS)
    datastore.save_label("case1", str(labels / "case1.png"), "final", {})
    assert scoring({}, datastore)["scored"] == 3
    assert scoring.key not in datastore.get_image_info("case1")
    assert scoring({}, datastore) == {"scored": 0, "skipped": 3, "failed": {}}
    assert scoring({"num_ensemble": 3}, datastore)["scored"] == 3
    Path(scoring.task.get_path()).touch()
    assert scoring({"num_ensemble": 3}, datastore)["scored"] == 3


def test_a_damaged_image_is_named_and_the_others_are_scored(scoring: Any, studies: Any) -> None:
    folder, _, _ = studies
    (folder / "broken.png").write_bytes(b"no picture")
    summary = scoring({}, LocalDatastore(str(folder), extensions=EXTENSIONS))
    assert summary["scored"] == 4
    assert list(summary["failed"]) == ["broken"]
    assert "cannot be read" in summary["failed"]["broken"]


def test_a_label_saved_meanwhile_by_another_process_is_kept(scoring: Any, studies: Any) -> None:
    folder, labels, _ = studies
    datastore = LocalDatastore(str(folder), extensions=EXTENSIONS)
    server = LocalDatastore(str(folder), extensions=EXTENSIONS)
    server.save_label("case3", str(labels / "case3.png"), "final", {})
    scoring({}, datastore)
    after = LocalDatastore(str(folder), extensions=EXTENSIONS)
    assert after.get_labeled_images() == ["case3"]
    assert scoring.key in after.get_image_info("case0")


def test_one_member_is_refused(scoring: Any, studies: Any) -> None:
    with pytest.raises(InputError, match="At least 2 members"):
        scoring({"num_ensemble": 1}, LocalDatastore(str(studies[0]), extensions=EXTENSIONS))
