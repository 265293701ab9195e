"""Reports a training with Keras: `model.fit(x, y, callbacks=[milepost.keras.Progress()])`. Needs the package keras."""

from __future__ import annotations

from typing import Any, Optional

try:
    from keras.callbacks import Callback
except ModuleNotFoundError as error:
    raise ImportError("milepost.keras needs the package keras: `pip install keras`") from error

from ._training import Given, Training

__all__ = ["Progress"]


class Progress(Callback):  # type: ignore[misc]
    """Shows the training of a model: its epochs and batches, and the metrics of each epoch as metadata.

    The training belongs to `job`, if that is a job of `milepost.job()`, otherwise to the job in whose `with` block this
    code runs. Outside of a block, it is a job of its own, with `job` as the id, that completes with the training. Keras
    does not pass exceptions to its callbacks. In a `with` block of a job, an exception fails the job at once.
    """

    def __init__(self, job: Given = None, name: str = "train") -> None:
        super().__init__()
        self._training = Training(job, name)
        self._epoch = 0
        self._batches: Optional[int] = None

    def on_train_begin(self, logs: Any = None) -> None:
        known = self.params or {}
        self._batches = known.get("steps")
        epochs = known.get("epochs") or 0
        self._training.begin(epochs * (self._batches or 0) or epochs, "batches" if self._batches else "epochs", "train")

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self._batches:
            self._training.at(self._epoch * self._batches + batch + 1)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self._training.metrics({"epoch": epoch + 1, **(logs or {})})
        if not self._batches:
            self._training.at(epoch + 1)

    def on_train_end(self, logs: Any = None) -> None:
        self._training.end()
