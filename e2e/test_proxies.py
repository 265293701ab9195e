"""Milepost below a prefix of somebody else's site, behind the proxies that people have."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import tempfile
import time
import unittest
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
from websockets.asyncio.client import connect

from binary import PATIENCE, Server, free_port

# unittest makes asyncio log every slow step, and on a busy machine many are slow.
logging.getLogger("asyncio").setLevel(logging.ERROR)

NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{
        default upgrade;
        ''      '';
    }}
    server {{
        listen 127.0.0.1:{port};
        location /progress/ {{
            proxy_pass http://127.0.0.1:{upstream}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 75s;
            client_max_body_size 8m;
        }}
    }}
}}
"""

HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 75s
    timeout server 75s
    timeout tunnel 75s
frontend site
    bind 127.0.0.1:{port}
    http-request redirect code 308 location /progress/ if {{ path /progress }}
    http-request replace-path ^/progress/(.*) /\\1
    option forwardfor
    default_backend milepost
backend milepost
    server milepost 127.0.0.1:{upstream}
"""

# With compression, as many sites have it for all that they serve.
APACHE = """
ServerRoot {folder}
DefaultRuntimeDir {folder}
ServerName localhost
Listen 127.0.0.1:{port}
PidFile {folder}/apache.pid
ErrorLog {folder}/apache.log
User www-data
Group www-data
Mutex sem
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule filter_module {modules}/mod_filter.so
LoadModule deflate_module {modules}/mod_deflate.so
LoadModule proxy_module {modules}/mod_proxy.so
LoadModule proxy_http_module {modules}/mod_proxy_http.so
ProxyPreserveHost On
ProxyTimeout 75
ProxyPass /progress/ http://127.0.0.1:{upstream}/ upgrade=websocket
<Location /progress/>
    SetOutputFilter DEFLATE
</Location>
"""

CADDY = """
{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    encode gzip
    redir /progress /progress/ 308
    handle_path /progress/* {{
        reverse_proxy 127.0.0.1:{upstream}
    }}
}}
"""

# HTTP/2 without TLS to the server (h2c), for many event streams. WebSockets keep HTTP/1.1.
HAPROXY_H2C = HAPROXY.replace("127.0.0.1:{upstream}", "127.0.0.1:{upstream} proto h2 ws h1")

# Caddy has one transport for all that it forwards, so WebSockets have a matcher of their own.
CADDY_H2C = CADDY.replace(
    "        reverse_proxy 127.0.0.1:{upstream}",
    """        @socket header Connection *Upgrade*
        reverse_proxy @socket 127.0.0.1:{upstream}
        reverse_proxy h2c://127.0.0.1:{upstream}""",
)

PROXY_PROTOCOL = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 75s
    timeout server 75s
frontend site
    bind 127.0.0.1:{port}
    default_backend milepost
backend milepost
    server milepost 127.0.0.1:{upstream} {send}
"""


async def line_with(lines: AsyncIterator[str], text: str) -> None:
    async for line in lines:
        if text in line:
            return
    raise AssertionError(f"the stream ended without {text}")


class Proxies(unittest.IsolatedAsyncioTestCase):
    folder: Path

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="milepost-e2e-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def serve(self, *options: str) -> Server:
        server = Server(self.folder, *options)
        server.start()
        self.addCleanup(server.stop)
        return server

    def proxy(self, command: list[str], port: int) -> None:
        with (self.folder / "proxy.log").open("ab") as log:
            # Where Caddy would keep what it remembers.
            places = {"XDG_CONFIG_HOME": str(self.folder), "XDG_DATA_HOME": str(self.folder)}
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **places}
            )
        self.addCleanup(process.wait, PATIENCE)
        self.addCleanup(process.terminate)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", timeout=5)
                return
            except httpx.HTTPError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    text = (self.folder / "proxy.log").read_text()
                    raise AssertionError(f"the proxy does not start:\n{text}") from error
                time.sleep(0.02)

    def nginx(self, upstream: int) -> str:
        return self.configured("nginx", NGINX, upstream, ["nginx", "-p", str(self.folder), "-c"])

    def haproxy(self, upstream: int, text: str = HAPROXY) -> str:
        return self.configured("haproxy", text, upstream, ["haproxy", "-db", "-f"])

    def apache(self, upstream: int) -> str:
        # Its worker processes belong to another user.
        self.folder.chmod(0o755)
        text = APACHE.replace("{modules}", "/usr/lib/apache2/modules")
        return self.configured("apache", text, upstream, ["apache2", "-DFOREGROUND", "-f"])

    def caddy(self, upstream: int, text: str = CADDY) -> str:
        command = ["caddy", "run", "--adapter", "caddyfile", "--config"]
        return self.configured("caddy", text, upstream, command)

    def configured(self, name: str, text: str, upstream: int, command: list[str]) -> str:
        port = free_port()
        program = shutil.which(command[0]) or f"/usr/sbin/{command[0]}"
        file = self.folder / f"{name}.cfg"
        file.write_text(text.format(port=port, upstream=upstream, folder=self.folder))
        self.proxy([program, *command[1:], str(file)], port)
        return f"127.0.0.1:{port}/progress"

    async def check(self, base: str) -> None:
        """Pages, modules, reports, polls, event streams and WebSockets, all below the prefix."""
        async with httpx.AsyncClient(base_url=f"http://{base}", timeout=PATIENCE) as client:
            page = await client.get("/")
            self.assertEqual(page.status_code, 200)
            # A page names its parts relative to itself.
            for part in ("look.css", "index.js", "milepost.js", "job-progress.js", "try", "openapi.json"):
                self.assertEqual((await client.get(f"/{part}")).status_code, 200, part)
            self.assertNotIn('src="/', page.text)
            self.assertNotIn('href="/', page.text)

            report = await client.post("/jobs/a%2Fb", content=b'{"progress":0.25}')
            # A slash is in no job's id, whether the proxy decodes it or not.
            self.assertIn(report.status_code, (400, 404))
            report = await client.post("/jobs/a", content=b'{"progress":0.25}')
            self.assertEqual(report.status_code, 200, report.text)
            etag = report.headers["etag"]
            held = asyncio.create_task(client.get("/jobs/a?wait=30", headers={"If-None-Match": etag}))
            async with connect(f"ws://{base}/ws/jobs/a") as socket:
                self.assertEqual(json.loads(await socket.recv())["type"], "connected")
                self.assertEqual(json.loads(await socket.recv())["progress"], 0.25)
                async with client.stream("GET", "/jobs/a/events") as events:
                    lines = events.aiter_lines()
                    await asyncio.wait_for(line_with(lines, '"progress":0.25'), PATIENCE)
                    await client.post("/jobs/a", content=b'{"progress":0.5}')
                    # Not held back until the stream ends.
                    await asyncio.wait_for(line_with(lines, '"progress":0.5'), PATIENCE)
                self.assertEqual(json.loads(await socket.recv())["progress"], 0.5)
            self.assertEqual((await held).json()["progress"], 0.5)

    async def test_nginx_below_a_prefix(self) -> None:
        await self.check(self.nginx(self.serve().port))

    async def test_haproxy_below_a_prefix(self) -> None:
        await self.check(self.haproxy(self.serve().port))

    async def test_apache_below_a_prefix_with_compression(self) -> None:
        base = self.apache(self.serve().port)
        await self.check(base)
        async with httpx.AsyncClient(base_url=f"http://{base}", timeout=PATIENCE) as client:
            state = await client.get("/jobs/a")
            self.assertEqual(state.headers["content-encoding"], "gzip")
            tag = state.headers["etag"]
            self.assertTrue(tag.endswith('-gzip"'), tag)
            unchanged = await client.get("/jobs/a", headers={"If-None-Match": tag})
            self.assertEqual(unchanged.status_code, 304)

    async def test_caddy_below_a_prefix_with_compression(self) -> None:
        base = self.caddy(self.serve().port)
        await self.check(base)
        async with httpx.AsyncClient(base_url=f"http://{base}", timeout=PATIENCE) as client:
            page = await client.get("/")
            self.assertEqual(page.headers["content-encoding"], "gzip")
            unchanged = await client.get("/", headers={"If-None-Match": page.headers["etag"]})
            self.assertEqual(unchanged.status_code, 304)

    async def test_haproxy_and_caddy_with_http2_to_the_server(self) -> None:
        for proxy, text in ((self.haproxy, HAPROXY_H2C), (self.caddy, CADDY_H2C)):
            with self.subTest(proxy.__name__):
                await self.check(proxy(self.serve().port, text))

    def test_haproxy_names_its_client_by_the_proxy_protocol(self) -> None:
        for send in ("send-proxy", "send-proxy-v2"):
            with self.subTest(send):
                options = ("proxy_protocol=true", "trusted_proxies=127.0.0.1")
                server = Server(self.folder, *(part for o in options for part in ("--set", o)))
                port = free_port()
                file = self.folder / f"{send}.cfg"
                text = PROXY_PROTOCOL.format(port=port, upstream=server.port, send=send)
                file.write_text(text)
                program = shutil.which("haproxy") or "/usr/sbin/haproxy"
                # It is ready once it answers through the proxy: nobody else may connect.
                server.url = f"http://127.0.0.1:{port}"
                log = (self.folder / "proxy.log").open("ab")
                proxy = subprocess.Popen([program, "-db", "-f", str(file)], stdout=log, stderr=log)
                try:
                    server.start()
                    self.assertEqual(server.report("a", {"progress": 0.5})["job_id"], "a")
                    with self.assertRaises(httpx.HTTPError):
                        httpx.get(f"http://127.0.0.1:{server.port}/livez", timeout=PATIENCE)
                finally:
                    server.stop()
                    proxy.terminate()
                    proxy.wait(PATIENCE)
                    log.close()


if __name__ == "__main__":
    unittest.main()
