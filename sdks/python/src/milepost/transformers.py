"""Reports a training with Hugging Face's Trainer: `Trainer(…, callbacks=[milepost.transformers.Progress()])`. Needs the
package transformers."""

from __future__ import annotations

from typing import Any

try:
    from transformers import TrainerCallback
except ModuleNotFoundError as error:
    raise ImportError("milepost.transformers needs the package transformers: `pip install transformers`") from error

from ._training import Given, Training

__all__ = ["Progress"]


class Progress(TrainerCallback):  # type: ignore[misc]
    """Shows the training of a model: its steps, and what is logged as metadata. Of several processes the first reports.

    The training belongs to `job`, if that is a job of `milepost.job()`, otherwise to the job in whose `with` block this
    code runs. Outside of a block, it is a job of its own, with `job` as the id, that completes with the training. The
    Trainer does not pass exceptions to its callbacks. In a `with` block of a job, an exception fails the job at
    once.
    """

    def __init__(self, job: Given = None, name: str = "train") -> None:
        self._training = Training(job, name)

    def on_train_begin(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        if state.is_world_process_zero:
            self._training.begin(state.max_steps, "steps", "train")
            self._training.at(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._training.at(state.global_step)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._training.stage("evaluate")

    def on_evaluate(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._training.stage("train")

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **named: Any) -> None:
        self._training.metrics(logs)

    def on_train_end(self, args: Any, state: Any, control: Any, **named: Any) -> None:
        self._training.end()
