# Copyright (c) MedSegDiff-MONAI contributors
# SPDX-License-Identifier: Apache-2.0

import io
import logging
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.config import PathLike
from monai.engines import Evaluator
from torch import nn

from medsegdiff_monai.utils import (
    InputError,
    check_writable,
    is_main_process,
    is_on,
    printable,
    replace_atomically,
    typed_text,
)

__all__ = ["BestModelSaver", "FineTune", "LoadWeights", "ResumableCheckpoint", "load_checkpoint", "load_weights"]

logger = logging.getLogger(__name__)


def load_checkpoint(path: PathLike) -> dict[str, Any]:
    """Content of a checkpoint file, read without running any code in it, onto the CPU.

    Raises:
        InputError: when the file is missing, damaged or not a checkpoint.
    """
    if not Path(path).is_file():
        raise InputError(f"The checkpoint {path} does not exist: train first or give the path of an existing one.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch.load raises whatever its zip, pickle and storage readers raise
        raise InputError(f"The checkpoint {path} is damaged or not a PyTorch checkpoint: give another one.") from e
    if not isinstance(content, dict):
        raise InputError(f"The checkpoint {path} holds no state dictionary: give another one.")
    return content


def load_weights(network: nn.Module, path: PathLike, key: str | None = None) -> None:
    """Load the weights of a checkpoint file, or those under a key of it, into a network: all of them or none.

    Raises:
        InputError: when the checkpoint cannot be read, or is that of another architecture.
    """
    content = load_checkpoint(path)
    weights = content if key is None else content.get(key)
    if not isinstance(weights, dict):
        raise InputError(f"The checkpoint {path} has no entry {key!r}; it has {', '.join(map(str, content))}.")
    own = network.state_dict()
    missing = [k for k in own if k not in weights]
    unexpected = [k for k in weights if k not in own]
    shapes = [k for k in own if k in weights and getattr(weights[k], "shape", None) != own[k].shape]
    if missing or unexpected or shapes:
        first = (missing + unexpected + shapes)[0]
        raise InputError(
            f"The checkpoint {path} was made for another architecture ({len(missing)} weights missing, "
            f"{len(unexpected)} unexpected, {len(shapes)} of another shape, the first is {first}): set the network as "
            "it was trained or give another checkpoint."
        )
    network.load_state_dict(weights)


class LoadWeights:
    """Load a network's weights from a file when an engine starts, strictly."""

    def __init__(self, network: nn.Module, path: PathLike) -> None:
        self.network = network
        self.path = typed_text(path, "checkpoint")

    def attach(self, engine: Engine) -> None:
        """Attach to an engine."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights."""
        load_weights(self.network, self.path)
        logger.info("Loaded weights from %s", printable(self.path))


class FineTune:
    """Start training from weights that another run ended with.

    Args:
        path: file of the weights; None loads nothing.
        networks: the networks that get them: the one in training and the one around the averaged weights.
        resume: whether the run goes on where an earlier one ended, which has weights of its own.

    Raises:
        InputError: when there is no such file.
    """

    def __init__(self, path: PathLike | None, networks: Sequence[nn.Module], resume: bool = False) -> None:
        self.path = None if is_on(resume, "resume") else path
        self.networks = list(networks)
        if self.path is not None and not Path(self.path).is_file():
            raise InputError(f"There are no weights to start from: {self.path} does not exist.")

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, before what resumes a run."""
        engine.add_event_handler(Events.STARTED, self)

    def __call__(self, engine: Engine) -> None:
        """Load the weights."""
        if self.path is not None:
            for network in self.networks:
                load_weights(network, self.path)
            logger.info("Fine-tuning from %s", printable(self.path))


def _write(content: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint at once or not at all, in the main process."""
    if is_main_process():
        buffer = io.BytesIO()  # into a file on a full disk, PyTorch fails in ways that cannot all be caught
        torch.save(content, buffer)
        replace_atomically(path, lambda partial: partial.write_bytes(buffer.getbuffer()))


class BestModelSaver:
    """Save a network whenever the key metric of its validation is the best so far.

    Attached to the evaluator. The best value is part of its state, so a resumed run never replaces a better network.

    Args:
        path: the file, holding the network's state dictionary and nothing else.
        network: the network, such as one around the averaged weights.
        better: whether a value is better than another: ``operator.gt``, or ``operator.lt`` for a distance.

    Raises:
        InputError: when the folder cannot be written to.
    """

    def __init__(
        self, path: PathLike, network: nn.Module, better: Callable[[float, float], bool] = operator.gt
    ) -> None:
        self.path = Path(path)
        self.network = network
        self.better = better
        self.best = -math.inf if better(math.inf, -math.inf) else math.inf
        check_writable(self.path.parent)

    def attach(self, engine: Engine) -> None:
        """Attach to an evaluator that has a key metric."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Evaluator) -> None:
        """Save the network where the metric is better than before."""
        name = str(engine.state.key_metric_name)
        value = float(engine.state.metrics[name])
        if self.better(value, self.best):
            self.best = value
            _write(self.network.state_dict(), self.path)
            logger.info("Best %s so far: %.4f, saved to %s", name, value, printable(self.path))

    def state_dict(self) -> dict[str, float]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Go on from the best value of another run."""
        self.best = float(state["best"])


class ResumableCheckpoint:
    """State of a training run, written after each epoch, and read again on request.

    Attach it last, so that all that belongs to the epoch (validation, learning rate) is in it. A run that is killed at
    any moment loses at most the epoch it was in.

    Args:
        path: the file.
        objects: parts of the state by name, each with ``state_dict`` and ``load_state_dict``.
        resume: whether to go on from the file when the trainer starts.

    Attributes:
        is_of_this_run: whether the file is one that this run has written or has gone on from.

    Raises:
        InputError: when the folder cannot be written to, or there is nothing to resume from.
    """

    def __init__(self, path: PathLike, objects: Mapping[str, Any], resume: bool = False) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.resume = is_on(resume, "resume")
        self.is_of_this_run = False
        check_writable(self.path.parent)
        if self.resume and not self.path.is_file():
            raise InputError(f"There is no run to resume: {self.path} does not exist; start without --resume.")

    def attach(self, engine: Engine) -> None:
        """Attach to a trainer, whose own state is saved as well."""
        if self.resume:
            engine.add_event_handler(Events.STARTED, self._load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._save)

    def _all_objects(self, engine: Engine) -> dict[str, Any]:
        """The objects and, where the trainer has one, the loss scale of mixed precision, which a run starts anew."""
        scaler = getattr(engine, "scaler", None)
        return self.objects if scaler is None else {**self.objects, "scaler": scaler}

    def _save(self, engine: Engine) -> None:
        states = {name: item.state_dict() for name, item in self._all_objects(engine).items()}
        _write({**states, "trainer": dict(engine.state_dict())}, self.path)
        self.is_of_this_run = True

    def _load(self, engine: Engine) -> None:
        content = load_checkpoint(self.path)
        objects = self._all_objects(engine)
        absent = [name for name in (*objects, "trainer") if name not in content]
        if absent:
            raise InputError(f"{self.path} is not a checkpoint to resume from: it has no {', '.join(absent)}.")
        if content["trainer"]["epoch_length"] != engine.state.epoch_length:
            raise InputError(
                f"{self.path} is of a run with {content['trainer']['epoch_length']} iterations an epoch, this one has "
                f"{engine.state.epoch_length}: resume with the same data and batch size, or start without --resume."
            )
        max_epochs = engine.state.max_epochs
        for name, item in objects.items():
            if isinstance(item, nn.Module):
                load_weights(item, self.path, name)
            else:
                item.load_state_dict(content[name])
        engine.load_state_dict(content["trainer"])
        engine.state.max_epochs = max_epochs
        self.is_of_this_run = True
        logger.info("Resumed from %s after epoch %d", printable(self.path), engine.state.epoch)
