# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from collections.abc import Callable

import torch

from medsegdiff_monai.utils import InputError

__all__ = ["WindowPredictor"]

logger = logging.getLogger(__name__)


class WindowPredictor:
    """Segments batches of windows: those of background alone are spared, and a GPU that runs out of memory gets fewer.

    Args:
        predict: takes images ``(n, context_channels, *window)`` and noise ``(n, N, C, *window)`` and returns maps
            ``(n, maps, C, *window)``, each window for itself.
        background_value: value that an image has in all channels where there is nothing to segment; None spares no
            window.
        maps: number of maps that come back: the members, or the steps of one.
    """

    def __init__(
        self,
        predict: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
        background_value: float | None,
        maps: int,
    ) -> None:
        self.predict = predict
        self.background_value = background_value
        self.maps = maps
        self.limit: int | None = None

    def __call__(self, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Maps of shape ``(n, maps, C, *window)``, 0 in windows of background.

        Args:
            image: windows of the image, of shape ``(n, context_channels, *window)``.
            noise: their start, of shape ``(n, N, C, *window)``.

        Raises:
            InputError: when a GPU has no memory for a single window.
        """
        if self.background_value is None:
            return self._in_batches(image, noise)
        filled = (image != self.background_value).flatten(1).any(1)
        members = noise.new_zeros(len(noise), self.maps, *noise.shape[2:])
        if bool(filled.any()):
            members[filled] = self._in_batches(image[filled], noise[filled]).to(members.dtype)
        return members

    def _in_batches(self, image: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        done: list[torch.Tensor] = []
        first = 0
        while first < len(image):
            count = min(self.limit or len(image), len(image) - first)
            part = slice(first, first + count)
            try:
                done.append(self.predict(image[part], noise[part]))
            except torch.OutOfMemoryError as e:
                self._halve(count, image, e)
            else:
                first += count
        return torch.cat(done)

    def _halve(self, count: int, image: torch.Tensor, error: torch.OutOfMemoryError) -> None:
        if count == 1:
            size = " x ".join(str(s) for s in image.shape[2:])
            raise InputError(
                f"The GPU has no memory for a window of {size}: lower member_batch_size or the window's size, "
                "or run on the CPU (--device cpu)."
            ) from error
        self.limit = count // 2
        torch.cuda.empty_cache()
        logger.warning("The GPU has no memory for %d windows at a time: going on with %d.", self.limit, count)
