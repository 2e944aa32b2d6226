"""Controls in a notebook: sliders to explore with (lessons 02a and 02b), photos handed over (lesson 00)."""

import base64
import functools
import html
import io
import json
import re
from collections.abc import Callable
from typing import Any

import IPython.display
import ipywidgets
import keras
import matplotlib.figure
import numpy as np

from finetune_lib import convergence, cost, environment, explorers

WIDE = {"width": "36em"}
LABELLED = {"description_width": "initial"}

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


class Explorer:
    """Controls, a picture and a read-out; shown where it is the last value of a cell (lessons 02a and 02b).

    Where controls cannot work (on GitHub, in a PDF, under nbval) the picture of their first values stands.

    Attributes:
        controls: by name; each shows its own label and can be moved with the arrow keys.
        picture: HTML with the figure; its alternative text is the read-out.
        readout: HTML with the text, which screen readers announce when it changes.
        box: all of them.
    """

    def __init__(
        self,
        draw: Callable[..., tuple[matplotlib.figure.Figure, str]],
        controls: dict[str, ipywidgets.Widget],
    ) -> None:
        """``draw`` is called with the controls' values by name, at once and whenever one changes."""
        self.draw, self.controls = draw, controls
        self.picture, self.readout = ipywidgets.HTML(), ipywidgets.HTML()
        self.box = ipywidgets.VBox([*controls.values(), self.readout, self.picture])
        for control in controls.values():
            control.observe(self.redraw, names="value")
        self.redraw()

    def redraw(self, change: object = None) -> None:
        """Draw for the controls' present values."""
        values = {name: control.value for name, control in self.controls.items()}
        figure, self.text = self.draw(**values)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
        self.png = buffer.getvalue()
        source = base64.b64encode(self.png).decode()
        words = html.escape(self.text)
        self.picture.value = (
            f'<img alt="{words}" src="data:image/png;base64,{source}" style="max-width: 100%">'
        )
        self.readout.value = (
            f'<pre role="status" style="white-space: pre-wrap; line-height: 1.4">{words}</pre>'
        )

    def _ipython_display_(self) -> None:
        if environment.on_colab():  # which might prefer the picture that follows to the controls
            IPython.display.display(self.box)
            return
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        IPython.display.display(
            {
                "application/vnd.jupyter.widget-view+json": view,
                "image/png": self.png,
                "text/plain": self.text,
            },
            raw=True,
            metadata={"image/png": {"alt": self.text}},
        )


def one_parameter_explorer(dark: np.ndarray, wanted: np.ndarray) -> Explorer:
    """The learning rate of a single weight (lesson 02a): see ``explorers.one_parameter``."""
    limit = 2 / float(np.mean(dark**2))
    return Explorer(
        functools.partial(explorers.one_parameter, dark, wanted),
        {"learning_rate": slider("learning rate", 0.1 * limit, 0.02 * limit, 1.2 * limit, 0.02 * limit)},
    )


def descent_explorer(quadratic: convergence.Quadratic) -> Explorer:
    """Learning rate and momentum on a loss of two weights: see ``explorers.learning_rate_and_momentum``."""
    limit = 2 / float(np.linalg.eigvalsh(quadratic.hessian)[-1])
    return Explorer(
        functools.partial(explorers.learning_rate_and_momentum, quadratic),
        {
            "learning_rate": slider("learning rate", 0.2 * limit, 0.02 * limit, 1.2 * limit, 0.02 * limit),
            "momentum": slider("momentum", 0.0, 0.0, 0.98, 0.02),
            "nesterov": ipywidgets.Checkbox(value=False, description="Nesterov", indent=False),
        },
    )


def condition_explorer() -> Explorer:
    """The condition number, and the learning rate as a part of its limit: see ``explorers``."""
    return Explorer(
        explorers.condition_number,
        {
            "number": slider("condition number", 10, 1, 100, 1),
            "part_of_limit": slider("learning rate, as a part of its limit", 0.8, 0.05, 1.1, 0.01),
        },
    )


def mini_batch_explorer(inputs: np.ndarray, targets: np.ndarray) -> Explorer:
    """Batch size and learning rate with noisy gradients: see ``explorers.mini_batch``."""
    sizes = [2**power for power in range(len(targets).bit_length()) if 2**power < len(targets)]
    limit = 2 / float(np.linalg.eigvalsh(inputs.T @ inputs / len(targets))[-1])
    return Explorer(
        functools.partial(explorers.mini_batch, inputs, targets),
        {
            "batch_size": ipywidgets.SelectionSlider(
                options=[*sizes, len(targets)],
                value=1,
                description="batch size",
                continuous_update=False,
                layout=WIDE,
                style=LABELLED,
            ),
            "learning_rate": slider("learning rate", 0.1 * limit, 0.01 * limit, 0.6 * limit, 0.01 * limit),
        },
    )


def freeze_explorer(model: keras.Model) -> Explorer:
    """Which blocks learn, and what a step then costs: see ``explorers.freezing_cost``.

    Args:
        model: flat, as ``classifier.build`` makes it. A block is what its layers' names begin with.
    """
    counted = cost.layers(model)
    starts = (re.match(r"block_?\d+|[^_]+", layer.name) for layer in counted if layer.parameters)
    blocks = list(dict.fromkeys(start[0] for start in starts if start))
    boxes = {
        block: ipywidgets.Checkbox(value=block == blocks[-1], description=f"{block} learns", indent=False)
        for block in blocks
    }
    sizes = ipywidgets.Dropdown(
        options=[1, 8, 16, 32, 64, 128], value=32, description="batch size", style=LABELLED
    )

    def draw(batch_size: int, **ticked: bool) -> tuple[matplotlib.figure.Figure, str]:
        return explorers.freezing_cost(counted, [block for block in blocks if ticked[block]], batch_size)

    return Explorer(draw, {**boxes, "batch_size": sizes})


def slider(label: str, value: float, least: float, most: float, step: float) -> ipywidgets.FloatSlider:
    """A slider that reports where it was let go, or where an arrow key moved it."""
    return ipywidgets.FloatSlider(
        value=value,
        min=least,
        max=most,
        step=step,
        description=label,
        continuous_update=False,
        readout_format=".3",  # d3's: three digits, no zeros at the end
        layout=WIDE,
        style=LABELLED,
    )
