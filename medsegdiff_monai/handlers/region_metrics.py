# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from ignite.engine import Engine
from monai.handlers import IgniteMetricHandler, from_engine

from medsegdiff_monai.utils import InputError

__all__ = ["ReaderMetricHandler", "RegionMetricHandler"]

logger = logging.getLogger(__name__)


class RegionMetricHandler(IgniteMetricHandler):
    """Score the regions that a data set labels, in an evaluation by MONAI's engines.

    The engine's metric is what ``aggregate`` gives. The values of each case are kept in ``engine.state.metric_details``
    and the names of their columns, which are the scored regions, in ``engine.state.metric_columns``, both under the
    metric's name. A metric with ``column_names`` of its own gets all regions as they are. Where one of its
    ``required_channels`` is not labelled, the log says so, and the evaluation goes on without the metric.

    Args:
        metric: the metric of binary masks, such as :class:`~medsegdiff_monai.metrics.RegionDice`.
        regions: label values of each region by name, in the order of the channels. A region without any is one that
            the data set does not label: it is not scored.
        predictions: key of the predictions in the engine's output; the references are under ``label``.

    Raises:
        InputError: when no region is labelled, or there is none in a channel that the metric needs.
    """

    def __init__(self, metric: Any, regions: Mapping[str, Sequence[int]], predictions: str = "pred") -> None:
        of_cases = from_engine([predictions, "label"])  # fails where all cases of an iteration have failed
        super().__init__(metric_fn=metric, output_transform=lambda output: of_cases(output) if output else [[], []])
        self.regions = list(regions)
        self.without_reference: list[str] = []
        labelled = [c for c, values in enumerate(regions.values()) if values]
        self.channels, self.columns = labelled, [self.regions[c] for c in labelled]
        if hasattr(metric, "column_names"):
            for channel in metric.required_channels:
                if not 0 <= channel < len(self.regions):
                    raise InputError(
                        f"{metric} needs a region in channel {channel}, and the regions are {', '.join(regions)}: "
                        "leave the metric out or set its channels."
                    )
            self.channels, self.columns = list(range(len(self.regions))), list(metric.column_names)
            self.without_reference = [self.regions[c] for c in metric.required_channels if c not in labelled]
        if not labelled:
            raise InputError(f"None of the regions {', '.join(regions)} is labelled in these data: leave {metric} out.")

    def attach(self, engine: Engine, name: str) -> None:  # type: ignore[override]
        """Attach to an engine, in whose state the metric has a name."""
        if self.without_reference:
            logger.warning("%s is left out: %s not labelled in these data.", name, " and ".join(self.without_reference))
            return
        super().attach(engine, name)
        columns = getattr(engine.state, "metric_columns", {})
        engine.state.metric_columns = {**columns, name: self.columns}  # type: ignore[attr-defined]

    def update(self, output: Sequence[Any]) -> None:
        """Score predictions and references of one iteration.

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


class ReaderMetricHandler(RegionMetricHandler):
    """Score predictions or members against the masks of several readers, in an evaluation by MONAI's engines.

    Columns and details are those of :class:`RegionMetricHandler`.

    Args:
        metric: the metric, called with the masks of R readers ``(B, R, C, *spatial)`` as reference, such as
            :class:`~medsegdiff_monai.metrics.OverReaders`.
        regions: label values of each region by name, in the order of the channels.
        members: whether the metric gets the members ``(B, N, C, *spatial)`` of a case, from channels
            ``(N * C, *spatial)`` under ``members``, in place of the fused masks ``(B, C, *spatial)`` under ``pred``.
    """

    def __init__(self, metric: Any, regions: Mapping[str, Sequence[int]], members: bool = False) -> None:
        super().__init__(metric, regions, "members" if members else "pred")
        self.members = members

    def update(self, output: Sequence[Any]) -> None:
        """Score fused masks ``(C, *spatial)`` or members ``(N * C, *spatial)``, and readers ``(R * C, *spatial)``.

        Raises:
            ValueError: when they have other channels than the regions.
        """
        predicted, labels = output
        if len(labels) == 0:  # all cases of the iteration have failed
            return
        scored = self._unstacked(predicted) if self.members else self._scored(predicted)
        IgniteMetricHandler.update(self, [scored, self._unstacked(labels)])

    def _unstacked(self, stacks: Sequence[Any]) -> list[Any]:
        """The scored channels of masks that lie one behind the other, ``(K, C, *spatial)`` for each case."""
        count = len(self.regions)
        for stack in stacks:
            if stack.shape[0] % count:
                names = ", ".join(self.regions)
                raise ValueError(f"Masks must have the regions {names} once or more, got {stack.shape[0]} channels.")
        return [self._scored(stack.reshape(-1, count, *stack.shape[1:])) for stack in stacks]
