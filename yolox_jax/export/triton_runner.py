"""Asks a Triton Inference Server with a YOLOX network from yolox_jax. Needs only numpy and opencv-python.

Copy this file and yolox_detection.py to where images are. They can be run as a program:

    python triton_runner.py http://localhost:8000/v2/models/yolox_s street.jpg --output drawn.jpg

    from triton_runner import TritonDetector
    detector = TritonDetector("http://localhost:8000/v2/models/yolox_s")
    boxes, scores, classes = detector(cv2.imread("street.jpg"))
"""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import numpy as np

if __package__ == "yolox_jax.export":
    from yolox_jax.export.yolox_detection import ExportedDetector, ModelFileError, command_line, run
else:  # a copy, with a copy of yolox_detection.py beside it
    from yolox_detection import ExportedDetector, ModelFileError, command_line, run  # type: ignore

TYPES = {"UINT8": "u1", "UINT16": "<u2", "INT32": "<i4", "FP32": "<f4"}
"""Element types of the protocol, and of NumPy."""
HEADER_LENGTH = "Inference-Header-Content-Length"


class TritonDetector(ExportedDetector):
    """Finds objects in images of any size. The server makes batches of what its clients send at the same time."""

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        """Read the configuration of a model.

        Args:
            url: address of the model, such as http://localhost:8000/v2/models/yolox_s.
            timeout_s: time after which a server that does not answer is given up.

        Raises:
            ModelFileError: the server cannot be reached, has no such model, or yolox_jax did not export it.
        """
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        parameters = json.loads(self._ask("config")[0]).get("parameters", {})
        super().__init__(url, {name: entry["string_value"] for name, entry in parameters.items()})

    def detect(self, letterboxed: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Let the server run the network, and suppress what overlaps if it does not."""
        inputs = {"images": letterboxed[None]}
        if self.metadata["output"] == "predictions":
            return self.suppress(self.infer(inputs)["predictions"][0], ratio)
        found = self.infer({**inputs, "ratios": np.array([[ratio]], np.float32)})
        count = found["count"][0, 0]
        return found["boxes"][0, :count], found["scores"][0, :count], found["classes"][0, :count]

    def infer(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Send arrays by name, and return the outputs, in the protocol's binary form.

        Raises:
            ModelFileError: the server cannot be reached, or refuses.
        """
        names = {np.dtype(code): name for name, code in TYPES.items()}
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        described = [
            {
                "name": name,
                "shape": array.shape,
                "datatype": names[array.dtype],
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in arrays.items()
        ]
        header = json.dumps({"inputs": described, "parameters": {"binary_data_output": True}}).encode()
        body = b"".join([header, *(array.tobytes() for array in arrays.values())])
        answer, headers = self._ask("infer", body, {HEADER_LENGTH: str(len(header))})
        start = int(headers[HEADER_LENGTH])
        outputs = {}
        for output in json.loads(answer[:start])["outputs"]:
            end = start + output["parameters"]["binary_data_size"]
            values = np.frombuffer(answer[start:end], TYPES[output["datatype"]])
            outputs[output["name"]], start = values.reshape(output["shape"]), end
        return outputs

    def _ask(self, what: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> tuple[bytes, Any]:
        kind = {"Content-Type": "application/octet-stream"} if body is not None else {}
        url = f"{self._url}/{what}"
        try:
            request = urllib.request.Request(url, body, {**kind, **(headers or {})})
            with urllib.request.urlopen(request, timeout=self._timeout_s) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            reason = error.read().decode(errors="replace") or error.reason
            raise ModelFileError(f"{url}: {reason}") from error
        except (OSError, ValueError) as error:  # `URLError`, a timeout, or what is no address
            raise ModelFileError(f"{url} cannot be reached: {error}") from error


if __name__ == "__main__":
    options = command_line(None).parse_args()
    raise SystemExit(run(options, lambda: TritonDetector(options.model)))
