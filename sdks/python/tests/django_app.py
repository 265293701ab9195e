"""A web service that starts jobs, with Django."""

from __future__ import annotations

from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from web_work import fail, render

import milepost
from milepost.django import accepted, start

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "database.sqlite3"}},
    ROOT_URLCONF=__name__,
    SECRET_KEY="none",
    USE_TZ=True,
)
django.setup()
used: list[Any] = []


def videos(request: HttpRequest) -> HttpResponse:
    return start(milepost.job("video", queued=True), render, 4, gate=request.GET["gate"])


def failing(request: HttpRequest) -> HttpResponse:
    return start(milepost.job("video", queued=True), fail)


def ask(job: milepost.Job) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    used.append(connection.connection)


def context(request: HttpRequest) -> HttpResponse:
    return start(milepost.job("video", queued=True), ask)


async def elsewhere(request: HttpRequest) -> HttpResponse:
    settings.MILEPOST_PUBLIC_URL = "https://progress.example.com/"
    return accepted("video-7", "Somebody else renders it")


def closed(request: HttpRequest) -> HttpResponse:
    """Whether the work has left no connection open."""
    try:
        used[-1].execute("select 1")
    except Exception as error:
        return JsonResponse({"error": str(error)})
    return JsonResponse({"error": None})


urlpatterns = [path(view.__name__, view) for view in (videos, failing, context, elsewhere, closed)]
application = get_wsgi_application()
