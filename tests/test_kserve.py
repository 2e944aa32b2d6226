"""Our SavedModel under KServe's Python server, by the REST call that TensorFlow Serving takes.

KServe and the course's packages want different protobufs, so KServe gets an environment of its own. KSERVE
names its folder; it is made if need be.
"""

import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np
import pytest
import requests
import serving_clients

from finetune_lib import evaluation, model_server, photos, serving

pytestmark = pytest.mark.own_environment

FILES = serving_clients.files(8)
TENSORFLOW = "tensorflow-cpu" if (sys.platform, platform.machine()) == ("linux", "x86_64") else "tensorflow"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Python, with KServe and a TensorFlow."""
    folder = pathlib.Path(os.environ.get("KSERVE") or tmp_path_factory.mktemp("kserve") / "environment")
    found = folder / "bin" / "python"
    if not found.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        words = [found, "-m", "pip", "install", "-q", "kserve>=0.15", TENSORFLOW]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
    return found


@pytest.fixture(scope="module")
def model() -> object:
    return serving_clients.model(0)


@pytest.fixture(scope="module")
def server(
    python: pathlib.Path, model: object, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[model_server.Server]:
    version = serving.export_savedmodel(
        model, tmp_path_factory.mktemp("served") / "digits", serving_clients.NAMES
    )
    (port,) = model_server._free_ports(1)
    program = pathlib.Path(__file__).with_name("kserve_model.py")
    address = f"http://127.0.0.1:{port}/v1/models/digits"
    with tempfile.TemporaryFile() as log:
        words = [python, program, "digits", version, str(port)]
        process = subprocess.Popen(words, stdout=log, stderr=log)
        try:
            end = time.monotonic() + 120
            while '"ready":' not in serving_clients._state(address):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    pytest.fail(log.read().decode(errors="replace")[-3000:])
                time.sleep(0.2)
            yield model_server.Server("kserve", address, "", "digits")
        finally:
            process.kill()
            process.wait()


def test_kserve_gives_the_answers_of_keras(server: model_server.Server, model: object) -> None:
    images = np.stack([photos.read(content, serving_clients.SIZE) for content in FILES]).astype("float32")
    expected = evaluation.to_probabilities(model, model.predict(images, verbose=0))
    probabilities, classes = serving_clients.by_rest(server, FILES)
    assert np.allclose(probabilities, expected, atol=1e-6)
    assert classes == [serving_clients.NAMES[best] for best in expected.argmax(axis=-1)]
    answer = requests.post(f"{server.rest}:predict", json={"instances": images.tolist()}, timeout=60).json()
    of_pixels = np.array([row["probabilities"] for row in answer["predictions"]])
    assert np.allclose(of_pixels, expected, atol=1e-6)


def test_kserve_refuses_what_is_no_image(server: model_server.Server) -> None:
    answer = serving_clients.ask_rest(server, [b"no image"])
    assert answer.status_code == 400 and "no JPEG or PNG" in answer.text
    assert serving_clients.ask_rest(server, FILES[:1]).status_code == 200
