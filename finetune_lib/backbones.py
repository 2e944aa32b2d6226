"""The pretrained networks: how to build each, and what it needs (lessons 00 and 01)."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import keras

from finetune_lib import environment, glyphnet


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A network without its head.

    Attributes:
        name: what ``get`` finds it by.
        build: ``build(image, weights, **options)`` takes raw RGB 0..255 ``(batch, height, width, 3)`` to
            features ``(batch, rows, columns, channels)``; its own preprocessing comes first, as plain Keras
            layers. ``weights`` is one of ``weights``, or None for random numbers.
        weights: the names of its pretrained weights, the default first.
        image_size: ``(height, width)`` it was pretrained on.
        least_size: the smallest side in pixels that it accepts.
        cut_points: where the freeze boundary can be put, from shallow to deep, as ``freezing.unfreeze_from``
            takes them.
        fine_tune_from: the cut point that suits a few labelled images.
        licence: of the weights.
    """

    name: str
    build: Callable[..., keras.KerasTensor]
    weights: tuple[str, ...]
    image_size: tuple[int, int]
    least_size: int
    cut_points: tuple[str, ...]
    fine_tune_from: str
    licence: str


def get(name: str) -> Backbone:
    """The backbone called ``name``.

    Raises:
        ValueError: if there is none; the message lists those there are.
    """
    for backbone in ALL:
        if backbone.name == name:
            return backbone
    raise ValueError(f"There is no backbone called {name!r}. There are: {', '.join(b.name for b in ALL)}.")


def build_glyphnet(image: keras.KerasTensor, weights: str | None = "glyphs") -> keras.KerasTensor:
    """GlyphNet on raw pixels (see ``glyphnet``)."""
    features = glyphnet.layers(keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image))
    if weights is not None:
        glyphnet.load_weights(keras.Model(image, features), weights)
    return features


def build_mobilenet_v2(
    image: keras.KerasTensor, weights: str | None = "imagenet", alpha: float = 0.35
) -> keras.KerasTensor:
    """MobileNetV2 (Sandler et al., arXiv 1801.04381) on raw pixels.

    Args:
        alpha: the width, 0.35 to 1.4 as Keras publishes weights for. The default is the smallest, 1.7 MB,
            which a laptop fine-tunes in a minute.

    Raises:
        OSError: if the weights are neither on this machine nor to be had from the network.
    """
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    try:
        base = keras.applications.MobileNetV2(
            input_tensor=scaled, alpha=alpha, include_top=False, weights=weights
        )
    except Exception as error:  # Keras raises no narrower one where a download fails
        if "URL fetch failure" not in str(error):
            raise
        raise OSError(missing_weights_message(mobilenet_v2_url(image.shape[1], alpha))) from error
    return base.output


def mobilenet_v2_url(side: int | None = 224, alpha: float = 0.35) -> str:
    """Where Keras publishes MobileNetV2's weights; as Keras does, 224 pixels for a side without its own."""
    rows = side if side in (96, 128, 160, 192, 224) else 224
    return (
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
        f"mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{rows}_no_top.h5"
    )


def weights_folder() -> pathlib.Path:
    """Where Keras keeps downloaded weights: as Keras decides it, which has no public function for it."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras")))  # noqa: PTH111
    writable = os.access(home if home.exists() else home.parent, os.W_OK)
    return (home if writable else pathlib.Path("/tmp/.keras")) / "models"


def photo_weights_available() -> bool:
    """Whether MobileNetV2's ImageNet weights are on this machine or can be downloaded."""
    url = mobilenet_v2_url()
    return (weights_folder() / pathlib.PurePosixPath(url).name).exists() or environment.can_reach(url)


def missing_weights_message(url: str) -> str:
    """What to do without a network: which file, where it comes from, where it belongs."""
    return (
        f"The pretrained weights {pathlib.PurePosixPath(url).name} are not on this machine and could not be "
        f"downloaded. With a network, run this again. Without one, download {url} on another machine and put "
        f"the file into {weights_folder()}. GlyphNet needs no download."
    )


ALL = (
    Backbone(
        name="GlyphNet",
        build=build_glyphnet,
        weights=("glyphs", "textures"),
        image_size=glyphnet.IMAGE_SIZE,
        least_size=16,
        cut_points=("block1", "block2", "block3", "block4"),
        fine_tune_from="block1",
        licence="Apache-2.0",
    ),
    Backbone(
        name="MobileNetV2",
        build=build_mobilenet_v2,
        weights=("imagenet",),
        image_size=(224, 224),
        least_size=32,
        # Between the inverted residual blocks; nothing jumps across these.
        cut_points=(
            "block_3_expand",
            "block_6_expand",
            "block_10_expand",
            "block_13_expand",
            "block_16_expand",
        ),
        fine_tune_from="block_13_expand",
        licence="Apache-2.0",
    ),
)
