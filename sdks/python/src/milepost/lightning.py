"""Reports a training with Lightning: `Trainer(…, callbacks=[milepost.lightning.Progress()])`. Needs the package
lightning or pytorch-lightning."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

from ._training import Given, Training

__all__ = ["Progress"]


def _package() -> Any:
    # A program that has both packages has imported the one that it uses.
    names = sorted(("lightning.pytorch", "pytorch_lightning"), key=lambda name: name not in sys.modules)
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            pass
    raise ImportError("milepost.lightning needs the package lightning: `pip install lightning`")


class Progress(_package().Callback):  # type: ignore[misc]
    """Shows the training of a model: its steps, and the metrics that it logs as metadata. Of several processes the
    first reports.

    The training belongs to `job`, if that is a job of `milepost.job()`, otherwise to the job in whose `with` block this
    code runs. Outside of a block, it is a job of its own, with `job` as the id, that ends with the training: as failed
    after an exception, as cancelled after Ctrl-C.
    """

    def __init__(self, job: Given = None, name: str = "train") -> None:
        super().__init__()
        self._training = Training(job, name)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        if trainer.is_global_zero:
            self._training.begin(trainer.estimated_stepping_batches, "steps", "train")
            self._training.at(trainer.global_step)

    def on_train_batch_end(self, trainer: Any, module: Any, *more: Any) -> None:
        self._training.at(trainer.global_step)

    def on_train_epoch_end(self, trainer: Any, module: Any) -> None:
        self._training.metrics({"epoch": trainer.current_epoch + 1, **trainer.callback_metrics})

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self._training.stage("validate")

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self._training.metrics(trainer.callback_metrics)
        self._training.stage("train")

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self._training.end(exception)

    def on_train_end(self, trainer: Any, module: Any) -> None:
        self._training.end()
