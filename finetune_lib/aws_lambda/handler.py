"""An image classifier as an AWS Lambda function: an image file goes in, its class and probabilities come out.

It needs NumPy, Pillow and ai-edge-litert, but no TensorFlow. Lambda imports this file once, when it starts a
copy of the function (a cold start), and then calls ``handler`` for one request after another. So what every
request needs, the model above all, is loaded outside of ``handler``. Requests that come at the same time go
to different copies. That is why one interpreter is enough, although threads could not share it.
"""

import base64
import hashlib
import io
import json
import logging
import pathlib
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
from ai_edge_litert import interpreter

# Pillow has many more decoders. What nobody needs is not left open to strangers.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
TYPES = [f"image/{name.lower()}" for name in FORMATS]
# Lambda takes events of 6 MB, and base64 makes 4 bytes of 3.
MOST_BYTES = 4_500_000
# A small file may hold a huge image, which takes up to 20 bytes of memory a pixel. This many are usual for
# phones, and template.yaml has the memory. And a JPEG may come in thousands of scans of 60 bytes, each of
# which goes over all of its pixels; ten are usual.
MOST_PIXELS, MOST_SCANS = 25_000_000, 100
ADVICE = "Send the bytes of one image file: curl -H 'Content-Type: image/jpeg' --data-binary @photo.jpg URL"

FOLDER = pathlib.Path(__file__).parent
LABELS = json.loads((FOLDER / "labels.json").read_text(encoding="utf-8"))
CONTENT = (FOLDER / "model.tflite").read_bytes()
VERSION = hashlib.sha256(CONTENT).hexdigest()[:12]  # stands in every answer: which model has said so?
# Lambda gives a whole processor only from 1,769 MB of memory on: a second thread would wait for the first.
MODEL = interpreter.Interpreter(model_content=CONTENT, num_threads=1)
MODEL.allocate_tensors()
(INPUT,), (OUTPUT,) = MODEL.get_input_details(), MODEL.get_output_details()


class Refused(Exception):
    """A request that cannot be answered: HTTP's number for why, and in words what to do about it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer one HTTP request, as function URLs and API Gateway describe it: see event.json."""
    try:
        return reply(200, classify(read(image_file(event))))
    except Refused as refusal:
        return reply(refusal.status, {"error": str(refusal)})
    except Exception:  # the log gets the details, the sender does not
        logging.exception("The request failed.")
        return reply(500, {"error": "Something unforeseen went wrong. The function's log says what."})


def reply(status: int, content: dict[str, Any]) -> dict[str, Any]:
    """An HTTP response with a body of JSON."""
    headers = {"Content-Type": "application/json"} | ({"Allow": "POST"} if status == 405 else {})
    return {"statusCode": status, "headers": headers, "body": json.dumps(content, allow_nan=False)}


def image_file(event: Any) -> bytes:
    """The body of a POST request, in API Gateway's format 2.0 or 1.0 (of REST APIs).

    It is the file itself. In JSON it would have to be base64 once more, which leaves less room for it.
    """
    try:
        method = event["requestContext"].get("http", {}).get("method") or event["httpMethod"]
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        kind = headers.get("content-type", "").split(";")[0].strip().lower()
        kind = kind.replace("image/jpg", "image/jpeg")  # no official name, but a frequent one
        body = (event.get("body") or "").encode("ascii", "replace")
        is_base64 = event.get("isBase64Encoded")
    except (AttributeError, KeyError, TypeError):
        raise Refused(400, "The event is no HTTP request; event.json shows what one looks like.") from None
    if method != "POST":
        raise Refused(405, f"Only POST is answered. {ADVICE}")
    if kind not in (*TYPES, "application/octet-stream"):
        taken = f"{', '.join(TYPES)} are taken"
        raise Refused(415, f"The Content-Type is {kind[:60] or 'missing'}; {taken}. {ADVICE}")
    if not body:
        raise Refused(400, f"The request has no body. {ADVICE}")
    if not is_base64:  # a REST API must be told the types that are not text: binaryMediaTypes
        raise Refused(400, f"The body came as text, which no image survives. {ADVICE}")
    if len(body) * 3 // 4 > MOST_BYTES:
        raise Refused(413, f"The file has more than {MOST_BYTES:,} bytes. Scale the image down, and send it.")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError:
        raise Refused(400, f"The body is no valid base64. {ADVICE}") from None


def read(content: bytes) -> np.ndarray:
    """Decode an image file as it was done in training: upright, as RGB, the largest centred cut, scaled.

    These are the steps of the course's ``photos.read``, and so are the pixels, uint8 ``(height, width, 3)``.
    With others the model would be wrong more often, without any error.
    """
    height, width = LABELS["image_size"]
    try:
        with PIL.Image.open(io.BytesIO(content), formats=FORMATS) as photo:
            # Nothing but the size is decoded yet. The two bytes begin a scan.
            scans = content.count(b"\xff\xda") if photo.format in ("JPEG", "MPO") else 1
            if photo.width * photo.height > MOST_PIXELS or scans > MOST_SCANS:
                raise PIL.Image.DecompressionBombError
            # A JPEG can be decoded at a half, a quarter or an eighth of its size, which is faster.
            photo.draft(photo.mode, (2 * max(height, width), 2 * max(height, width)))
            upright = PIL.ImageOps.exif_transpose(photo)
            if upright.mode.startswith("I;16"):
                upright = PIL.Image.fromarray((np.asarray(upright) >> 8).astype("uint8"))
            return np.asarray(PIL.ImageOps.fit(upright.convert("RGB"), (width, height)))
    except PIL.Image.DecompressionBombError:  # ours, or Pillow's own while it opens the file
        raise Refused(
            413, f"It has over {MOST_PIXELS:,} pixels, or {MOST_SCANS} scans. Scale it down."
        ) from None
    except PIL.UnidentifiedImageError:
        raise Refused(400, f"The body is no {', '.join(FORMATS)} file. {ADVICE}") from None
    except Exception:  # damaged files make Pillow's decoders raise almost anything
        raise Refused(400, "The image file is damaged or cut short. Save it anew, and send that.") from None


def classify(image: np.ndarray) -> dict[str, Any]:
    """What the model says of an image, uint8 ``(height, width, 3)``."""
    pixels, (scale, zero_point) = image[np.newaxis], INPUT["quantization"]
    if scale:  # an int8 file: a whole number stands for scale * (number - zero_point)
        pixels = np.clip(np.rint(pixels / scale) + zero_point, 0, 255)
    MODEL.set_tensor(INPUT["index"], pixels.astype(INPUT["dtype"]))
    MODEL.invoke()
    (numbers,), (scale, zero_point) = MODEL.get_tensor(OUTPUT["index"]), OUTPUT["quantization"]
    if scale:
        numbers = (numbers.astype("float32") - zero_point) * np.float32(scale)
    if len(numbers) == 1:  # it speaks of the second of two classes
        numbers = np.append(0 if LABELS["logits"] else 1 - numbers, numbers)
    if LABELS["logits"]:
        numbers = np.exp(numbers - numbers.max())
        numbers /= numbers.sum()
    names = LABELS["class_names"]
    return {
        "class": names[numbers.argmax()],
        "probabilities": {name: float(number) for name, number in zip(names, numbers, strict=True)},
        "model": VERSION,
    }
