"""The pretrained networks: how to build each, and what it needs (lessons 00, 01 and 03)."""

import collections
import dataclasses
import functools
import os
import pathlib
import re
import warnings
from collections.abc import Callable
from typing import Any

import h5py
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
        preprocessing: in words, what it turns raw pixels into.
        cut_points: where the freeze boundary can be put, from shallow to deep, as ``freezing.unfreeze_from``
            takes them. Nothing jumps across one: cut there, the frozen part hands on a single tensor.
        fine_tune_from: the cut point that suits a few labelled images: tried out for GlyphNet and MobileNetV2
            (see ``comparison``), the last stage of the others.
        licence: of the weights.
        paper: where the network was published.
        weights: the names of its pretrained weights, the default first.
        image_size: ``(height, width)`` it was pretrained on.
        least_size: the smallest side in pixels that it accepts.
        options: the names of the options that ``build`` takes.
    """

    name: str
    build: Callable[..., keras.KerasTensor]
    preprocessing: str
    cut_points: tuple[str, ...]
    fine_tune_from: str
    licence: str
    paper: str
    weights: tuple[str, ...] = ("imagenet",)
    image_size: tuple[int, int] = (224, 224)
    least_size: int = 32
    options: tuple[str, ...] = ()


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


def build_from_keras(
    network: Callable[..., keras.Model],
    preprocess: Callable[[keras.KerasTensor], keras.KerasTensor],
    image: keras.KerasTensor,
    weights: str | None = "imagenet",
    **options: float,
) -> keras.KerasTensor:
    """A network of ``keras.applications`` on raw pixels.

    Args:
        network: such as ``keras.applications.VGG16``.
        preprocess: what it was trained behind; see below.
        image: raw RGB 0..255 ``(batch, height, width, 3)``.
        weights: ``"imagenet"``, or None for random numbers.
        options: passed to ``network``: ``alpha`` is MobileNetV2's width, one of those that Keras publishes
            weights for, 0.35 to 1.4.

    Raises:
        OSError: if the weights are neither on this machine nor to be had from the network, or are damaged.
    """
    pixels = keras.Input(image.shape[1:])
    try:
        with warnings.catch_warnings():
            # MobileNetV2 has weights for five square sizes. Keras warns that any other gets those for 224
            # pixels; convolutions fit every size, and the other networks have one set of weights anyway.
            warnings.filterwarnings("ignore", message="`input_shape` is undefined or non-square")
            base = network(
                input_tensor=preprocess(pixels),
                input_shape=image.shape[1:],
                include_top=False,
                weights=weights,
                **options,
            )
    except Exception as error:  # Keras raises no narrower one where a download fails
        if found := re.search(r"URL fetch failure on (\S+): ", str(error)):
            raise OSError(missing_weights_message(found[1])) from error
        if isinstance(error, OSError) or "corrupted file" in str(error):
            raise OSError(unreadable_weights_message(error)) from error
        raise
    return flatten(base, image)


def flatten(base: keras.Model, image: keras.KerasTensor) -> keras.KerasTensor:
    """The output of a copy of ``base`` on ``image``, weights included, its nested models opened.

    ConvNeXt holds ``keras.Sequential`` models, in which no boundary could be put. And the layers that Keras
    left unnamed carry numbers that count through the session, ``rescaling_7``: here they start anew.
    """
    copies: list[tuple[Any, Any]] = []
    unnamed: collections.Counter[str] = collections.Counter()

    def copy(operation: Any) -> Any:  # a layer, or an operation such as x + y
        if isinstance(operation, keras.Sequential):
            return operation
        config = operation.get_config()
        kind = re.sub(r"_\d+$", "", operation.name)
        if kind.replace("_", "") == type(operation).__name__.lower():
            config["name"] = f"{kind}_{unnamed[kind]}" if unnamed[kind] else kind
            unnamed[kind] += 1
        copies.append((operation, type(operation).from_config(config)))
        return copies[-1][1]

    def call(operation: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(operation, keras.Sequential):
            return operation(*args, **kwargs)
        (x,) = args
        for layer in operation.layers:
            x = copy(layer)(x)
        return x

    inputs = keras.tree.map_structure(lambda _: image, base.input)
    outputs = keras.models.clone_model(base, inputs, clone_function=copy, call_function=call).output
    for original, twin in copies:
        for weight, value in zip(getattr(twin, "weights", []), getattr(original, "weights", []), strict=True):
            weight.assign(value)
    return outputs


def minus_one_to_one(image: keras.KerasTensor) -> keras.KerasTensor:
    """Pixels from -1 to 1."""
    return keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)


def caffe(image: keras.KerasTensor) -> keras.KerasTensor:
    """Blue, green, red, each less its mean over ImageNet: VGG and ResNet were first trained in Caffe."""
    centred = keras.layers.Rescaling(1.0, offset=[-123.68, -116.779, -103.939], name="subtract_mean")(image)
    # No layer turns channels round. This operation is saved by its name and its axis, loads in safe mode, and
    # has no weights, as a 1x1 convolution would. Indexing, [..., ::-1], is saved as a slice, less legibly.
    return keras.ops.flip(centred, axis=-1)


def unchanged(image: keras.KerasTensor) -> keras.KerasTensor:
    """Nothing: Keras builds the preprocessing of its newer networks into them."""
    return image


def mobilenet_v2_url() -> str:
    """Where Keras publishes the weights of the default photo backbone: MobileNetV2, its width and size."""
    return (
        "https://storage.googleapis.com/tensorflow/keras-applications/mobilenet_v2/"
        "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224_no_top.h5"
    )


def weights_folder() -> pathlib.Path:
    """Where Keras keeps downloaded weights: as Keras decides it, which has no public function for it."""
    home = pathlib.Path(os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras")))  # noqa: PTH111
    writable = os.access(home if home.exists() else home.parent, os.W_OK)
    return (home if writable else pathlib.Path("/tmp/.keras")) / "models"


def photo_weights_available(url: str = "") -> bool:
    """Whether ImageNet weights, MobileNetV2's unless told, are on this machine or can be downloaded."""
    url = url or mobilenet_v2_url()
    return (weights_folder() / pathlib.PurePosixPath(url).name).exists() or environment.can_reach(url)


def missing_weights_message(url: str) -> str:
    """What to do without a network: which file, where it comes from, where it belongs."""
    return (
        f"The pretrained weights {pathlib.PurePosixPath(url).name} are not on this machine and could not be "
        f"downloaded. With a network, run this again. Without one, download {url} on another machine and put "
        f"the file into {weights_folder()}. GlyphNet needs no download."
    )


def unreadable_weights_message(error: Exception) -> str:
    """What to do where a weights file is damaged, or its download broke off; names a file that is damaged."""
    damaged = []
    for file in sorted(weights_folder().glob("*.h5")):
        try:
            h5py.File(file).close()
        except OSError:
            damaged.append(str(file))
    cause = str(error).rstrip(".")
    advice = f"Delete {' and '.join(damaged)}, which cannot be read, and run" if damaged else "Run"
    return f"The pretrained weights could not be downloaded or read: {cause}. {advice} this again."


CAFFE = "BGR, less ImageNet's mean: -124 to 151"
STANDARDISED = "RGB, ImageNet's mean 0, deviation 1: -2.1 to 2.6"

VGG16 = Backbone(
    name="VGG16",
    build=functools.partial(build_from_keras, keras.applications.VGG16, caffe),
    preprocessing=CAFFE,
    cut_points=("block1", "block2", "block3", "block4", "block5"),
    fine_tune_from="block5",
    licence="CC BY 4.0",
    paper="Simonyan and Zisserman, arXiv 1409.1556",
)

# From the fewest weights to the most.
ALL = (
    Backbone(
        name="GlyphNet",
        build=build_glyphnet,
        preprocessing="RGB: -1 to 1",
        cut_points=("block1", "block2", "block3", "block4"),
        fine_tune_from="block1",
        licence="Apache-2.0",
        paper="none: made for this course",
        weights=("glyphs", "textures"),
        image_size=glyphnet.IMAGE_SIZE,
        least_size=16,
    ),
    Backbone(
        name="MobileNetV2",
        # The default width is the smallest, 1.7 MB, which a laptop fine-tunes in minutes.
        build=functools.partial(
            build_from_keras, keras.applications.MobileNetV2, minus_one_to_one, alpha=0.35
        ),
        preprocessing="RGB: -1 to 1",
        # Between the inverted residual blocks.
        cut_points=tuple(f"block_{number}_expand" for number in (3, 6, 10, 13, 16)),
        fine_tune_from="block_6_expand",
        licence="Apache-2.0",
        paper="Sandler et al., arXiv 1801.04381",
        options=("alpha",),
    ),
    Backbone(
        name="EfficientNetV2B0",
        build=functools.partial(build_from_keras, keras.applications.EfficientNetV2B0, unchanged),
        preprocessing=STANDARDISED,
        cut_points=("stem", "block2a", "block3a", "block4a", "block5a", "block6a", "top"),
        fine_tune_from="block6a",
        licence="Apache-2.0",
        paper="Tan and Le, arXiv 2104.00298",
    ),
    VGG16,
    dataclasses.replace(
        VGG16, name="VGG19", build=functools.partial(build_from_keras, keras.applications.VGG19, caffe)
    ),
    Backbone(
        name="ResNet50",
        build=functools.partial(build_from_keras, keras.applications.ResNet50, caffe),
        preprocessing=CAFFE,
        cut_points=("conv1", "conv2", "conv3", "conv4", "conv5"),
        fine_tune_from="conv5",
        licence="MIT",
        paper="He et al., arXiv 1512.03385",
    ),
    Backbone(
        name="ConvNeXtTiny",
        build=functools.partial(build_from_keras, keras.applications.ConvNeXtTiny, unchanged),
        preprocessing=STANDARDISED,
        cut_points=("convnext_tiny_stem", *(f"convnext_tiny_stage_{number}" for number in (1, 2, 3))),
        fine_tune_from="convnext_tiny_stage_3",
        licence="MIT",
        paper="Liu et al., arXiv 2201.03545",
    ),
)
