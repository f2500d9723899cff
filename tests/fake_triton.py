"""A stand-in for a Triton Inference Server with one model, which holds requests to its configuration as Triton does."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from file_server import Quiet

HEADER_LENGTH = "Inference-Header-Content-Length"
TYPES = {"UINT8": np.uint8, "UINT16": np.uint16, "INT32": np.int32, "FP32": np.float32}


class FakeTriton(ThreadingHTTPServer):
    """Serves a network under `/v2/models/NAME`."""

    daemon_threads = True

    def __init__(self, network: Path, config: dict[str, Any]) -> None:
        """Load a network, and take the fields of its `ModelConfig`."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.config = config
        self.session = onnxruntime.InferenceSession(network)

    @property
    def url(self) -> str:
        """Address of the model."""
        return f"http://127.0.0.1:{self.server_port}/v2/models/{self.config['name']}"

    def infer(self, header: dict[str, Any], data: bytes) -> tuple[list[dict[str, Any]], bytes]:
        """Compute the answer to a request: a description of the outputs, and their bytes."""
        inputs, start = {}, 0
        declared = {field["name"]: field for field in self.config["input"]}
        assert {given["name"] for given in header["inputs"]} == set(declared)
        for given in header["inputs"]:
            field, (batch, *dims) = declared[given["name"]], given["shape"]
            assert batch <= self.config["max_batch_size"] and dims == field["dims"]
            assert field["data_type"] == f"TYPE_{given['datatype']}"
            end = start + given["parameters"]["binary_data_size"]
            shape = field.get("reshape", {"shape": dims})["shape"]
            array = np.frombuffer(data[start:end], TYPES[given["datatype"]])
            inputs[given["name"]], start = array.reshape(batch, *shape), end
        assert start == len(data) and header["parameters"]["binary_data_output"]
        described, parts = [], []
        names = [field["name"] for field in self.config["output"]]
        for field, array in zip(self.config["output"], self.session.run(names, inputs), strict=True):
            assert list(array.shape[1:]) == field.get("reshape", {"shape": field["dims"]})["shape"]
            kind = field["data_type"].removeprefix("TYPE_")
            assert array.dtype == TYPES[kind]
            size = {"binary_data_size": array.nbytes}
            shape = [len(array), *field["dims"]]
            described.append({"name": field["name"], "datatype": kind, "shape": shape, "parameters": size})
            parts.append(array.tobytes())
        return described, b"".join(parts)


class _Handler(Quiet, BaseHTTPRequestHandler):
    server: FakeTriton

    def do_GET(self) -> None:
        config = self.server.config
        if self.path != f"/v2/models/{config['name']}/config":
            self._answer(404, json.dumps({"error": f"unknown model {self.path}"}).encode(), {})
            return
        # In JSON, a map of protocol buffers is an object.
        parameters = {entry["key"]: entry["value"] for entry in config["parameters"]}
        self._answer(200, json.dumps({**config, "parameters": parameters}).encode(), {})

    def do_POST(self) -> None:
        assert self.path == f"/v2/models/{self.server.config['name']}/infer"
        content = self.rfile.read(int(self.headers["Content-Length"]))
        length = int(self.headers[HEADER_LENGTH])
        outputs, data = self.server.infer(json.loads(content[:length]), content[length:])
        header = json.dumps({"model_name": self.server.config["name"], "outputs": outputs}).encode()
        self._answer(200, header + data, {HEADER_LENGTH: str(len(header))})

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
