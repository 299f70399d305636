# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler, from_engine

from medsegdiff_monai.utils import InputError

__all__ = ["RegionMetricHandler", "of_cases"]

logger = logging.getLogger(__name__)


def of_cases(first: str, second: str) -> Callable[[Any], tuple[Any, Any]]:
    """A function that gives what two keys hold in an engine's output, which may be that of no case at all.

    MONAI's ``from_engine`` fails where all cases of an iteration have failed.

    Args:
        first: a key.
        second: another one.
    """
    both = from_engine([first, second])
    return lambda output: both(output) if output else ([], [])


_PRED_AND_LABEL = of_cases("pred", "label")


class RegionMetricHandler(IgniteMetricHandler):
    """Score the regions that a data set labels, in an evaluation by MONAI's engines.

    The engine's metric is what the metric's ``aggregate`` gives: the mean over scored regions and cases. The values of
    each case are kept in ``engine.state.metric_details`` and the names of their columns in
    ``engine.state.metric_columns``, both under the metric's name. The columns are the scored regions. A metric with
    ``column_names`` of its own gets all regions as they are. Where one of its ``required_channels`` is not labelled, it
    has no reference: that is said in the log, and the evaluation goes on without it.

    Args:
        metric: the metric of binary masks, such as :class:`~medsegdiff_monai.metrics.RegionDice`.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it is not scored.
        output_transform: gives predictions and references from the engine's output: batches ``(B, C, *spatial)`` or
            lists of ``(C, *spatial)``.

    Raises:
        InputError: when no region is labelled, or there is none in a channel that the metric needs.
    """

    def __init__(
        self,
        metric: Any,
        regions: Mapping[str, Sequence[int]],
        output_transform: Callable = _PRED_AND_LABEL,
    ) -> None:
        super().__init__(metric_fn=metric, output_transform=output_transform)
        self.regions = list(regions)
        self.without_reference: list[str] = []
        labelled = [c for c, values in enumerate(regions.values()) if values]
        own_columns: Sequence[str] | None = getattr(metric, "column_names", None)
        if own_columns is None:
            self.channels = labelled
            self.columns = [self.regions[c] for c in labelled]
        else:
            self._check_required(metric)
            self.channels = list(range(len(self.regions)))
            self.columns = list(own_columns)
            self.without_reference = [self.regions[c] for c in metric.required_channels if c not in labelled]
        if not labelled:
            raise InputError(f"None of the regions {', '.join(regions)} is labelled in these data: leave {metric} out.")

    def _check_required(self, metric: Any) -> None:
        for channel in metric.required_channels:
            if not 0 <= channel < len(self.regions):
                raise InputError(
                    f"{metric} needs a region in channel {channel}, and the regions are {', '.join(self.regions)}: "
                    "leave the metric out or set its channels."
                )

    def attach(self, engine: Engine, name: str) -> None:  # type: ignore[override]
        """Attach to an engine.

        Args:
            engine: the engine.
            name: name of the metric in the engine's state.
        """
        if self.without_reference:
            logger.warning("%s is left out: %s not labelled in these data.", name, " and ".join(self.without_reference))
            return
        super().attach(engine, name)
        if not hasattr(engine.state, "metric_columns"):
            engine.state.metric_columns = {}  # type: ignore[attr-defined]
        engine.state.metric_columns[name] = self.columns  # type: ignore[attr-defined]

    def update(self, output: Sequence[Any]) -> None:
        """Score the cases of one iteration.

        Args:
            output: predictions and references.

        Raises:
            ValueError: when they have other channels than the regions.
        """
        if len(output[0]) > 0:  # none where all cases of the iteration have failed
            super().update([self._scored(masks) for masks in output])

    def _scored(self, masks: Any, axis: int = 1) -> Any:
        """The channels that are scored, of a batch or of each item of a list; ``axis`` is that of the channels."""
        if not isinstance(masks, torch.Tensor):
            return [self._scored(mask, axis=0) for mask in masks]
        if masks.shape[axis] != len(self.regions):
            names = ", ".join(self.regions)
            raise ValueError(f"Masks must have a channel for each of the regions {names}, got {masks.shape[axis]}.")
        return masks[:, self.channels] if axis else masks[self.channels]
