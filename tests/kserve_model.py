"""KServe's Python server with one of our SavedModels; run in an environment of its own by test_kserve.py.

python kserve_model.py NAME FOLDER_OF_A_VERSION PORT
"""

import base64
import sys
from typing import Any

import kserve
import tensorflow as tf


class SavedModel(kserve.Model):
    """Answers as TensorFlow Serving's REST does, by rows."""

    def __init__(self, name: str, folder: str) -> None:
        super().__init__(name)
        self.loaded = tf.saved_model.load(folder)
        self.ready = True

    def predict(self, payload: dict[str, Any], *args: Any, **settings: Any) -> dict[str, Any]:
        signature = payload.get("signature_name", "serving_default")
        rows = payload["instances"]
        if signature == "encoded":
            image = tf.constant([base64.b64decode(row["b64"]) for row in rows])
        else:
            image = tf.constant(rows, tf.float32)
        try:
            answers = self.loaded.signatures[signature](image=image)
        except tf.errors.InvalidArgumentError as error:
            raise kserve.errors.InvalidInput(error.message) from error
        pairs = zip(answers["probabilities"].numpy().tolist(), answers["classes"].numpy(), strict=True)
        return {"predictions": [{"probabilities": each, "classes": name.decode()} for each, name in pairs]}


if __name__ == "__main__":
    name, folder, port = sys.argv[1:]
    server = kserve.ModelServer(http_port=int(port), enable_grpc=False, workers=1)
    server.start([SavedModel(name, folder)])
