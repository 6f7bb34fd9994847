"""What a monitoring system asks the node, on 127.0.0.1 alone: /healthz, /readyz, /metrics."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from mri2pet.errors import UsageError
from mri2pet.pacs.database import Database
from mri2pet.pacs.jobs import STATES
from mri2pet.pacs.settings import NodeSettings
from mri2pet.pacs.spool import Spool

FRESH_S = 90
Processes = Callable[[], dict[str, int | None]]
"""Process name → its id, None where it does not run."""


class Health:
    """The answers, from the queue and what the processes noted in it."""

    def __init__(
        self, settings: NodeSettings, spool: Spool, database: Database, processes: Processes
    ) -> None:
        self._settings, self._spool, self._database = settings, spool, database
        self._processes = processes

    def healthy(self) -> dict[str, bool]:
        """Whether each process runs."""
        return {name: pid is not None for name, pid in self._processes().items()}

    def ready(self) -> dict[str, bool]:
        """Whether images are taken, the model is loaded, and the destination answers."""
        worker = self._database.noted("worker")
        pid = self._processes().get("worker")
        gib = float(1 << 30)
        return {
            "receiving": self._fresh("room") == 1
            and self._spool.free_bytes() >= self._settings.min_free_gib * gib,
            "model": worker is not None and pid is not None and worker[0] == pid,
            "destination": self._fresh("destination") == 1,
        }

    def _fresh(self, name: str) -> float | None:
        noted = self._database.noted(name)
        return None if noted is None or time.time() - noted[1] > FRESH_S else noted[0]

    def metrics(self) -> str:
        """Prometheus' text form."""
        states = dict.fromkeys(STATES, 0)
        for row in self._database.rows("SELECT state, count(*) AS n FROM job GROUP BY state"):
            states[row["state"]] = row["n"]
        oldest = self._database.row("SELECT min(entered) AS at FROM job WHERE state = 'ready'")
        waited = 0.0 if oldest is None or oldest["at"] is None else time.time() - oldest["at"]
        counters = {r["name"]: r["value"] for r in self._database.rows("SELECT * FROM counter")}
        lines = ["# TYPE mri2pet_jobs gauge"]
        lines += [f'mri2pet_jobs{{state="{state}"}} {n}' for state, n in states.items()]
        for name, kind, value in (
            ("oldest_ready_job_seconds", "gauge", round(max(0.0, waited), 3)),
            ("free_bytes", "gauge", self._spool.free_bytes()),
            ("instances_received_total", "counter", int(counters.get("instances", 0))),
            ("synthesis_seconds_sum", "counter", counters.get("synthesis_seconds", 0.0)),
            ("synthesis_seconds_count", "counter", int(counters.get("syntheses", 0))),
        ):
            lines += [f"# TYPE mri2pet_{name} {kind}", f"mri2pet_{name} {value}"]
        for kind in ("refused", "failed", "undelivered"):
            lines.append(f"# TYPE mri2pet_{kind}_total counter")
            for name, value in sorted(counters.items()):
                group, _, reason = name.partition(":")
                if group == kind:
                    lines.append(f'mri2pet_{kind}_total{{reason="{reason}"}} {int(value)}')
        return "\n".join(lines) + "\n"

    def serve(self) -> ThreadingHTTPServer:
        """Answers on a thread of its own; `shutdown` ends it.

        Raises:
            UsageError: the port is taken.
        """
        health = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                if self.path == "/metrics":
                    self._answer(200, "text/plain; version=0.0.4", health.metrics())
                elif self.path in ("/healthz", "/readyz"):
                    state = health.healthy() if self.path == "/healthz" else health.ready()
                    code = 200 if all(state.values()) else 503
                    self._answer(code, "application/json", json.dumps(state) + "\n")
                else:
                    self._answer(404, "text/plain", "there are /healthz, /readyz and /metrics\n")

            def _answer(self, code: int, kind: str, text: str) -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text.encode())))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: object) -> None:
                pass

        port = self._settings.health_port
        try:
            server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except OSError as error:
            text = f"cannot listen on 127.0.0.1, health_port {port} ({error.strerror})"
            raise UsageError(text) from None
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return server
