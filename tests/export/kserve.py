"""A small server of the KServe v2 protocol over HTTP in front of a Python model.

What it understands is what `tritonclient.http` sends: metadata, configuration, and inference with
binary tensors.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

DTYPES = {"FP32": "<f4", "UINT32": "<u4", "UINT64": "<u8"}
Answer = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


@contextmanager
def serve(name: str, metadata: dict, config: dict, answer: Answer) -> Iterator[str]:
    """Serves one model; gives the address.

    Args:
        answer: arrays by name → float32 outputs; an exception becomes the error's text.
    """

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            known = {f"/v2/models/{name}": metadata, f"/v2/models/{name}/config": config}
            if self.path in known:
                self._send(200, known[self.path])
            else:
                self._send(400, {"error": f"unknown model {self.path}"})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            arrays = _arrays(body, int(self.headers["Inference-Header-Content-Length"]))
            try:
                found = answer(arrays)
            except Exception as error:
                self._send(400, {"error": str(error)})
                return
            outputs = [
                {
                    "name": output,
                    "datatype": "FP32",
                    "shape": list(array.shape),
                    "parameters": {"binary_data_size": array.nbytes},
                }
                for output, array in found.items()
            ]
            content = b"".join(array.tobytes() for array in found.values())
            self._send(200, {"model_name": name, "outputs": outputs}, content)

        def _send(self, status: int, message: dict[str, Any], binary: bytes = b"") -> None:
            header = json.dumps(message).encode()
            self.send_response(status)
            if binary:
                self.send_header("Inference-Header-Content-Length", str(len(header)))
            self.send_header("Content-Length", str(len(header) + len(binary)))
            self.end_headers()
            self.wfile.write(header + binary)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _arrays(body: bytes, header_length: int) -> dict[str, np.ndarray]:
    arrays, position = {}, header_length
    for value in json.loads(body[:header_length])["inputs"]:
        size = value["parameters"]["binary_data_size"]
        data = np.frombuffer(body[position : position + size], DTYPES[value["datatype"]])
        arrays[value["name"]] = data.reshape(value["shape"])
        position += size
    return arrays
