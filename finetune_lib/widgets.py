"""Controls in a notebook: where a learner hands over photos (lesson 00)."""

import base64
import json
from typing import Any

import IPython.display
import ipywidgets

from finetune_lib import environment

# Asks the browser for its camera, shows the picture, and takes one photo when the button is pressed.
CAMERA_SCRIPT = """
(async (wanted) => {
  const box = document.createElement("div");
  const video = document.createElement("video");
  const button = document.createElement("button");
  button.textContent = "Take: " + wanted;
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
})(%s)
"""


def photo_box(name: str) -> ipywidgets.FileUpload | list[bytes]:
    """Ask for image files from the learner's computer; ``photos_in`` gets them out.

    On Colab, where an upload widget loses files of a megabyte (jupyter-widgets/ipywidgets#3452), Colab's own
    dialogue waits for the files. Elsewhere a button is shown at once. Jupyter's servers take 10 MB in one go,
    so the button says so.
    """
    if environment.on_colab():
        import google.colab.files as colab_files

        print(f"Choose all photos of: {name}")
        return list(colab_files.upload().values())
    box = ipywidgets.FileUpload(
        accept="image/*",
        multiple=True,
        description=f"{name} (up to 10 MB together)",
        layout=ipywidgets.Layout(width="30em"),
    )
    IPython.display.display(box)
    return box


def photos_in(box: ipywidgets.FileUpload | list[bytes]) -> list[bytes]:
    """The contents of the files that were put into a ``photo_box``, in the order given."""
    if isinstance(box, list):
        return box
    # ipywidgets 7 keeps a dictionary by file name, ipywidgets 8 a tuple.
    files = list(box.value.values()) if isinstance(box.value, dict) else list(box.value)
    return [bytes(file["content"]) for file in files]


def take_photo(wanted: str) -> bytes:
    """One photo from the webcam, as a JPEG file's contents; Colab only, where the browser asks first.

    Args:
        wanted: what the button says, for example ``"cup, photo 3 of 6"``.

    Raises:
        OSError: outside Colab, or if the camera is refused.
    """
    try:
        import google.colab.output as colab_output  # only there on Colab
    except ImportError:
        raise OSError("The webcam works on Colab only. Here, upload image files instead.") from None
    try:
        answer: Any = colab_output.eval_js(CAMERA_SCRIPT % json.dumps(wanted))
    except Exception as error:  # what Colab raises for a refusal in the browser has no public type
        raise OSError(f"The browser gave no photo ({error}). Allow the camera, or upload files.") from error
    return base64.b64decode(answer.split(",", 1)[1])
