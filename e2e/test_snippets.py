"""The snippets of docs/security.md that sign tokens, as they stand there, with their frameworks."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import os
import re
import subprocess
import tempfile
import time
import types
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

import httpx

from binary import PATIENCE, Server

ROOT = Path(__file__).parent.parent
SECRET = "a secret of at least thirty-two bytes, for tests"
USER = "42"


def snippet(name: str, language: str) -> str:
    text = (ROOT / "docs/security.md").read_text()
    found = re.search(rf"^### {re.escape(name)}\n\n```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    if not found:
        raise AssertionError(f"docs/security.md has no {language} under {name}")
    return found[1]


def with_node(before: str, code: str, after: str) -> dict[str, str]:
    command = ["node", "--input-type=module", "--eval", f"{before}\n{code}\n{after}"]
    environment = {**os.environ, "MILEPOST_TOKEN_SECRET": SECRET}
    # Where the packages are that the snippets import.
    output = subprocess.check_output(command, cwd=ROOT / "e2e", env=environment, text=True, timeout=PATIENCE)
    result: dict[str, str] = json.loads(output)
    return result


class Snippets(unittest.TestCase):
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="milepost-e2e-")
        cls.addClassCleanup(folder.cleanup)
        cls.server = Server(
            Path(folder.name), "--set", f"token_secret={SECRET}", "--set", "key=a key that is long enough"
        )
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)

    def check(self, token: str) -> None:
        """The server lets its holder watch the user's jobs, and nobody else's, for a quarter of an hour."""
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        self.assertEqual(claims["sub"], USER)
        self.assertAlmostEqual(claims["exp"], time.time() + 900, delta=60)
        key = {"Authorization": "Bearer a key that is long enough"}
        for user, expected in ((USER, 200), ("7", 404)):
            url = f"{self.server.url}/jobs/user:{user}:render"
            self.assertEqual(httpx.post(url, content=b"{}", headers=key, timeout=PATIENCE).status_code, 200)
            watched = httpx.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE)
            self.assertEqual(watched.status_code, expected, watched.text)

    def test_django(self) -> None:
        importlib.import_module("django.conf").settings.configure(
            MILEPOST_TOKEN_SECRET=SECRET, USE_I18N=False
        )
        scope: dict[str, Any] = {}
        exec(snippet("Django", "python"), scope)
        request = importlib.import_module("django.test").RequestFactory().get("/progress-token")
        request.user = types.SimpleNamespace(is_authenticated=True, pk=int(USER))
        self.check(json.loads(scope["progress_token"](request).content)["token"])

    def test_fastapi(self) -> None:
        class User:
            id = int(USER)

        app = importlib.import_module("fastapi").FastAPI()
        scope: dict[str, Any] = {"app": app, "User": User, "current_user": User}
        with mock.patch.dict(os.environ, MILEPOST_TOKEN_SECRET=SECRET):
            exec(snippet("FastAPI", "python"), scope)

            async def ask() -> httpx.Response:
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                    return await client.get("/progress-token")

            self.check(asyncio.run(ask()).json()["token"])

    def test_rails(self) -> None:
        before = """
            require 'jwt'; require 'active_support/all'; require 'json'
            class ApplicationController
              def self.before_action(*) = nil
              def current_user = Struct.new(:id).new(42)
              def render(json:) = puts(JSON.generate(json))
            end
        """
        code = f"{before}\n{snippet('Rails', 'ruby')}\nProgressTokensController.new.show"
        environment = {**os.environ, "MILEPOST_TOKEN_SECRET": SECRET}
        output = subprocess.check_output(["ruby", "-e", code], env=environment, text=True, timeout=PATIENCE)
        self.check(json.loads(output)["token"])

    def test_express(self) -> None:
        before = (
            "const routes = {}, requireUser = () => {};"
            "const app = { get: (path, guard, handler) => { routes[path] = handler; } };"
        )
        after = (
            "const response = { json: (body) => console.log(JSON.stringify(body)) };"
            "routes['/progress-token']({ user: { id: 42 } }, response);"
        )
        self.check(with_node(before, snippet("Express", "js"), after)["token"])

    def test_next(self) -> None:
        after = "console.log(JSON.stringify(await (await GET()).json()));"
        self.check(
            with_node("const currentUser = async () => ({ id: 42 });", snippet("Next.js", "ts"), after)[
                "token"
            ]
        )


if __name__ == "__main__":
    unittest.main()
