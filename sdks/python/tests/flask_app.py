"""A web service that starts jobs, with Flask."""

from __future__ import annotations

from flask import Flask, Response, current_app, request
from web_work import fail, render

import milepost
from milepost.flask import accepted, start

app = Flask(__name__)


@app.post("/videos")
def videos() -> Response:
    return start(milepost.job("video", queued=True), render, 4, gate=request.args["gate"])


@app.post("/failing")
def failing() -> Response:
    return start(milepost.job("video", queued=True), fail)


@app.post("/context")
def context() -> Response:
    return start(milepost.job("video", queued=True), lambda job: current_app.name)


@app.post("/elsewhere")
def elsewhere() -> Response:
    app.config["MILEPOST_PUBLIC_URL"] = "https://progress.example.com/"
    return accepted("video-7", "Somebody else renders it")
