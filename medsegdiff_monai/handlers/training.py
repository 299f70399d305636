# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import math
from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.engines.utils import IterationEvents
from monai.utils import set_determinism
from monai.utils.enums import CommonKeys
from torch import nn
from torch.utils.data import DistributedSampler
from tqdm import tqdm

from medsegdiff_monai.utils import InputError, is_main_process

__all__ = ["Attach", "AveragingWarmUp", "ClipGradients", "ProgressBar", "SeedEpochs", "StopOnNonFinite"]


class Attach:
    """A handler that a configuration declares elsewhere, for a list in which every entry has to be spelled out."""

    def __init__(self, handler: Any) -> None:
        self.handler = handler

    def attach(self, engine: Engine) -> None:
        """Attach the handler."""
        self.handler.attach(engine)


class AveragingWarmUp:
    """Let the average of the weights forget the first ones: early on it spans about the last tenth of the updates.

    At update ``n`` the momentum of ignite's ``EMAHandler`` becomes ``9 / (10 + n)``, until it has fallen to its own
    (the rule of TensorFlow's ``ExponentialMovingAverage``). It depends on the iteration alone, so a resumed run goes
    on alike; the warm-up of ``EMAHandler`` would start again.

    Args:
        momentum: momentum of the handler, after the warm-up.
    """

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Set the momentum of the update that this iteration ends with."""
        state: Any = engine.state
        state.ema_momentum = max(self.momentum, 9.0 / (10.0 + state.iteration))


class SeedEpochs:
    """Make all randomness of an epoch a function of the seed and the epoch's number.

    A run that is resumed then draws what the unbroken run would have drawn from the global generators of Python, NumPy
    and PyTorch, on the host or a GPU, with any number of loader workers. The seed is the whole random state and is
    saved as such. All processes of a run are seeded alike, see :func:`~medsegdiff_monai.utils.shared_draw`.

    Args:
        seed: seed of the run.
        dataset: :class:`~medsegdiff_monai.data.ScreenedDataset` whose random transforms are seeded case by case.
    """

    def __init__(self, seed: int, dataset: Any = None) -> None:
        self.seed = seed
        self.dataset = dataset

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer."""
        engine.add_event_handler(Events.EPOCH_STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Seed the epoch that starts."""
        seed = (self.seed * 1_000_003 + engine.state.epoch * 1_009) % 2**31
        set_determinism(seed)
        if self.dataset is not None:
            self.dataset.epoch_seed = seed
        sampler = getattr(getattr(engine.state, "dataloader", None), "sampler", None)
        if isinstance(sampler, DistributedSampler):
            sampler.set_epoch(engine.state.epoch)

    def state_dict(self) -> dict[str, int]:
        """The seed."""
        return {"seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on under the seed of another run."""
        self.seed = int(state["seed"])


class StopOnNonFinite:
    """End training at the first loss that is NaN or infinite, before it can reach the weights.

    Args:
        checkpoint: path of the last good checkpoint, for the message.
    """

    def __init__(self, checkpoint: str = "") -> None:
        self.checkpoint = checkpoint

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.LOSS_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Raise an :class:`InputError` when the loss is not finite."""
        output: Any = engine.state.output
        loss = float(output[CommonKeys.LOSS].detach())
        if not math.isfinite(loss):
            kept = f" The state after the last whole epoch is in {self.checkpoint}." if self.checkpoint else ""
            raise InputError(
                f"Training stopped: the loss became {loss} at epoch {engine.state.epoch}, iteration "
                f"{engine.state.iteration}; lower the learning rate or switch amp off.{kept}"
            )


class ClipGradients:
    """Clip the norm of the gradients before each optimizer step.

    Args:
        network: network that is trained.
        max_norm: largest norm of all gradients together.
    """

    def __init__(self, network: nn.Module, max_norm: float = 1.0) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Attach to a MONAI trainer."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self)

    def __call__(self, engine: SupervisedTrainer) -> None:
        """Clip, after taking the loss scale of mixed precision out of the gradients."""
        if engine.amp and engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


class ProgressBar:
    """One bar with the remaining time over all iterations of an engine, with the loss and the validation's metric.

    Args:
        desc: text before the bar.
        evaluator: evaluator whose key metric is shown, for a trainer.
    """

    def __init__(self, desc: str, evaluator: Engine | None = None) -> None:
        self.desc = desc
        self.evaluator = evaluator
        self.bar: tqdm | None = None

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer or an evaluator; of several processes one shows its bar."""
        if not is_main_process():
            return
        engine.add_event_handler(Events.EPOCH_STARTED, self._open)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)
        engine.add_event_handler(Events.COMPLETED, lambda: self.bar and self.bar.close())
        engine.add_event_handler(Events.EXCEPTION_RAISED, self._fail)

    def _open(self, engine: Engine) -> None:
        # At the first epoch, not at the start: by then a resumed run knows how far it is.
        if self.bar is None or self.bar.disable:
            total = (engine.state.max_epochs or 1) * (engine.state.epoch_length or 0)
            self.bar = tqdm(total=total, initial=engine.state.iteration, desc=self.desc, unit="batch", mininterval=1.0)

    def _update(self, engine: Engine) -> None:
        if self.bar is None:
            return
        self.bar.update()
        output = engine.state.output
        if isinstance(output, list) and output and CommonKeys.LOSS in output[0]:
            shown = {"epoch": engine.state.epoch, "loss": f"{float(output[0][CommonKeys.LOSS]):.3f}"}
            best = getattr(getattr(self.evaluator, "state", None), "best_metric", -1)
            if best > 0:
                shown["best validation"] = f"{best:.4f}"
            self.bar.set_postfix(shown, refresh=False)

    def _fail(self, engine: Engine, error: Exception) -> None:
        """Close the bar, so that it does not stand behind the message, and let the error go on (ignite stops it)."""
        if self.bar is not None:
            self.bar.close()
        raise error
