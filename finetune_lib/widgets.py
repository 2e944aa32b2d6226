"""Controls in a notebook: where a learner hands over photos (lesson 00)."""

import base64
from typing import Any

import ipywidgets

# Asks the browser for its camera, shows the picture, and takes one photo when the button is pressed.
CAMERA_SCRIPT = """
(async () => {
  const box = document.createElement("div");
  const video = document.createElement("video");
  const button = document.createElement("button");
  button.textContent = "Take the photo";
  box.append(video, document.createElement("br"), button);
  document.body.append(box);
  const stream = await navigator.mediaDevices.getUserMedia({video: true});
  video.srcObject = stream;
  await video.play();
  google.colab.output.setIframeHeight(document.documentElement.scrollHeight, true);
  await new Promise((resolve) => { button.onclick = resolve; });
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  stream.getVideoTracks()[0].stop();
  box.remove();
  return canvas.toDataURL("image/jpeg", 0.9);
})()
"""


def photo_box(name: str) -> ipywidgets.FileUpload:
    """A button that takes image files from the learner's computer."""
    return ipywidgets.FileUpload(
        accept="image/*", multiple=True, description=f"Photos: {name}", layout=ipywidgets.Layout(width="20em")
    )


def photos_in(box: ipywidgets.FileUpload) -> list[bytes]:
    """The contents of the files that were put into a ``photo_box``, in the order given."""
    # ipywidgets 7 (Colab) keeps a dictionary by file name, ipywidgets 8 a tuple.
    files = list(box.value.values()) if isinstance(box.value, dict) else list(box.value)
    return [bytes(file["content"]) for file in files]


def take_photo() -> bytes:
    """One photo from the webcam, as a JPEG file's contents; Colab only, where the browser asks first.

    Raises:
        OSError: outside Colab, or if the camera is refused.
    """
    try:
        import google.colab.output as colab_output  # only there on Colab
    except ImportError:
        raise OSError("The webcam works on Colab only. Here, upload image files instead.") from None
    try:
        answer: Any = colab_output.eval_js(CAMERA_SCRIPT)
    except Exception as error:  # what Colab raises for a refusal in the browser has no public type
        raise OSError(f"The browser gave no photo ({error}). Allow the camera, or upload files.") from error
    return base64.b64decode(answer.split(",", 1)[1])
