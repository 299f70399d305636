# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import json
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image, UnidentifiedImageError

from medsegdiff_monai.utils import InputError, check_writable
from medsegdiff_monai.visualize import region_colour
from medsegdiff_monai.visualize.drawing import displayable, draw_contour, draw_image, new_figure, plain, save_figure

__all__ = ["draw_ranking"]

_PANEL_INCHES = 2.2


def draw_ranking(server: str, model: str, out: str, images: int = 4) -> Path:
    """Draw the most and the least uncertain pictures of a running server, as the command ``ranking`` does."""
    path = Path(out)
    check_writable(path.parent)
    server = server.rstrip("/")
    datastore = json.loads(_ask(f"{server}/datastore/?output=all"))
    key = f"{model}_disagreement"
    scores = {name: entry["image"]["info"].get(key) for name, entry in datastore.get("objects", {}).items()}
    ranked = sorted(((n, float(s)) for n, s in scores.items() if s is not None), key=lambda item: (-item[1], item[0]))
    if len(ranked) < 2:
        raise InputError(f"{len(ranked)} images of {server} have a score of {model}: run its scoring method first.")
    count = min(images, len(ranked) // 2)
    rows = [ranked[:count], ranked[-count:]]
    figure = new_figure(count * _PANEL_INCHES, 2 * (_PANEL_INCHES + 0.3))
    for r, (row, heading) in enumerate(zip(rows, ("most uncertain", "least uncertain"))):
        for c, (name, score) in enumerate(row):
            axes = figure.add_subplot(2, count, r * count + c + 1)
            query = urlencode({"image": name})
            picture = _opened(_ask(f"{server}/datastore/image?{query}"), name)
            label = _opened(_ask(f"{server}/infer/{model}?{query}&output=image", {"params": "{}"}), name)
            draw_image(axes, displayable(picture))
            for value in (int(v) for v in np.unique(label) if v > 0):
                draw_contour(axes, label == value, region_colour(value - 1))
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{plain(name)}\ndisagreement {score:.3f}", fontsize=8)
            if c == 0:
                axes.set_ylabel(heading, fontsize=10)
    return save_figure(figure, path)


def _ask(url: str, form: Mapping[str, str] | None = None) -> bytes:
    """Answer of the server; with a form, to a POST request."""
    data = None if form is None else urlencode(form).encode()
    try:
        with urlopen(Request(url, data=data), timeout=600) as answer:
            return answer.read()
    except HTTPError as e:
        raise InputError(f"The server refuses {url} ({e.code} {e.reason}): see its log for the reason.") from e
    except (URLError, OSError, ValueError) as e:
        raise InputError(f"The server does not answer at {url}: start it or give another address.") from e


def _opened(content: bytes, name: str) -> np.ndarray:
    try:
        return np.asarray(Image.open(io.BytesIO(content)))
    except UnidentifiedImageError as e:
        raise InputError(f"The image {name} is no picture: choose a model for pictures.") from e
