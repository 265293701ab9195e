"""Callbacks of training libraries. The libraries are large, so these run where they are installed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live_server import LiveServer
from reported import history, until

import milepost
from milepost._training import Training


@pytest.fixture(autouse=True)
def reporting(server: LiveServer) -> Iterator[None]:
    reporter = milepost.configure(server.url)
    yield
    reporter.close()


def test_a_training_is_a_job(server: LiveServer, job_id: str) -> None:
    training = Training(job_id, "train")
    training.begin(10, "steps", "train")
    training.metrics({"loss": 0.5, "model": object(), "nan": float("nan")})
    training.at(4)
    found = until(server, job_id, current=4)
    assert (found["progress"], found["unit"], found["stage"], found["name"]) == (0.4, "steps", "train", "train")
    assert found["metadata"]["loss"] == 0.5
    assert not {"model", "nan"} & set(found["metadata"])
    training.end()
    until(server, job_id, status="completed")


def test_a_training_inside_of_a_job_belongs_to_it(server: LiveServer, job_id: str) -> None:
    with milepost.job(id=job_id) as job:
        training = Training(None, "train")
        training.begin(None, "steps", "train")
        assert training.job is job
        training.end()
        assert not job.has_ended


def test_a_training_that_fails(server: LiveServer, job_id: str) -> None:
    training = Training(job_id, "train")
    training.begin(0, "steps", "train")
    training.end(ValueError("no"))
    assert until(server, job_id, status="failed")["error"] == "ValueError: no"


def test_what_the_library_passes_wrongly_harms_nothing(warnings: Callable[[], list[str]]) -> None:
    training = Training(None, "train")
    training.at(1)
    training.metrics([1])  # type: ignore[arg-type]
    training.begin("many", "steps", "train")
    training.metrics([1])  # type: ignore[arg-type]
    training.end()
    assert warnings() == ["Training.metrics reports nothing: AttributeError: 'list' object has no attribute 'items'"]


@pytest.mark.filterwarnings("ignore")
def test_keras(server: LiveServer, job_id: str) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    keras: Any = pytest.importorskip("keras")
    import numpy as np

    from milepost.keras import Progress

    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(loss="mse", optimizer="sgd")
    data = np.zeros((40, 2)), np.zeros((40, 1))
    model.fit(*data, epochs=2, batch_size=10, verbose=0, callbacks=[Progress(job=job_id)])
    end = until(server, job_id, status="completed")
    assert (end["current"], end["total"], end["unit"]) == (8, 8, "batches")
    assert end["metadata"]["epoch"] == 2
    assert "loss" in end["metadata"]


@pytest.mark.filterwarnings("ignore")
def test_transformers(server: LiveServer, job_id: str) -> None:
    pytest.importorskip("transformers")
    from transformers.trainer_callback import CallbackHandler, TrainerControl, TrainerState

    from milepost.transformers import Progress

    callbacks = CallbackHandler([Progress(job=job_id)], None, None, None, None)
    state, control, arguments = TrainerState(max_steps=3, is_world_process_zero=True), TrainerControl(), object()
    callbacks.on_train_begin(arguments, state, control)
    for step in range(3):
        state.global_step = step + 1
        callbacks.on_step_end(arguments, state, control)
    callbacks.on_log(arguments, state, control, {"loss": 0.25})
    callbacks.on_prediction_step(arguments, state, control)
    assert milepost.flush(60)
    callbacks.on_evaluate(arguments, state, control, {})
    callbacks.on_train_end(arguments, state, control)
    end = until(server, job_id, status="completed")
    assert (end["current"], end["total"], end["metadata"]["loss"]) == (3, 3, 0.25)
    assert "evaluate" in {each.get("stage") for each in history(server, job_id)}


@pytest.mark.filterwarnings("ignore")  # Lightning's own
@pytest.mark.parametrize("fails", [False, True])
def test_lightning(server: LiveServer, job_id: str, fails: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    try:
        from milepost.lightning import Progress, _package
    except ImportError:
        pytest.skip("Lightning is not installed")
    package = _package()

    base: Any = package.LightningModule

    class Model(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(2, 1)

        def training_step(self, batch: Any, number: int) -> Any:
            if fails and number == 2:
                raise RuntimeError("CUDA OOM")
            loss = self.layer(batch).sum()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, number: int) -> None:
            self.log("accuracy", torch.tensor(0.5))

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.1)

    batches = torch.utils.data.DataLoader(torch.ones(8, 2), batch_size=2)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    trainer = package.Trainer(
        max_epochs=3,
        accelerator="cpu",
        callbacks=[Progress(job_id)],
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        **quiet,
    )
    if fails:
        with pytest.raises(RuntimeError, match="CUDA OOM"):
            trainer.fit(Model(), batches, batches)
        error = until(server, job_id, status="failed", current=2)["error"]
        assert error.startswith("RuntimeError: CUDA OOM")
        return
    trainer.fit(Model(), batches, batches)
    end = until(server, job_id, status="completed")
    assert (end["current"], end["total"], end["unit"]) == (12, 12, "steps")
    assert end["metadata"]["epoch"] == 3
    assert end["metadata"]["accuracy"] == 0.5
    assert "validate" in {each.get("stage") for each in history(server, job_id)}
