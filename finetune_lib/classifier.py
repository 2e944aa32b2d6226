"""A backbone with its preprocessing and a new head, as one flat Keras model (lessons 00 and 04)."""

from collections.abc import Sequence

import keras

from finetune_lib import backbones, catalog, environment


def build(
    backbone_name: str,
    class_names: Sequence[str],
    *,
    weights: str | None = "pretrained",
    image_size: tuple[int, int] | None = None,
    **options: float,
) -> keras.Model:
    """Put a new, untrained head on a pretrained backbone.

    The result is one flat functional model of plain Keras layers: ``image`` (raw RGB 0..255), the backbone's
    own preprocessing and layers, ``average_pool``, ``logits``. So ``get_layer``, saving, loading in safe mode
    and Grad-CAM work as in any Keras model.

    Args:
        backbone_name: one that ``backbones.get`` knows.
        class_names: at least two; output ``i`` is the logit of ``class_names[i]``.
        weights: ``"pretrained"`` for the backbone's default weights, the name of others, or None: random.
        image_size: ``(height, width)``; the default is what the backbone was pretrained on.
        options: passed to the backbone's builder: ``alpha=1.0`` for MobileNetV2's full width.

    Returns:
        An un-compiled model: float32 ``(batch, height, width, 3)`` to float32 logits ``(batch, classes)``.

    Raises:
        ValueError: for an unknown backbone, weights or option, fewer than two classes, or too small an image.
        OSError: if the weights cannot be had.
    """
    backbone = backbones.get(backbone_name)
    if len(class_names) < 2:
        raise ValueError(f"A classifier needs at least two classes; it was given {list(class_names)}.")
    height, width = image_size or backbone.image_size
    if min(height, width) < backbone.least_size:
        raise ValueError(
            f"{backbone.name} needs at least {backbone.least_size} pixels a side, not {height}x{width}."
        )
    if weights == "pretrained":
        weights = backbone.weights[0]
    elif weights is not None and weights not in backbone.weights:
        raise ValueError(
            f"{backbone.name} has no weights called {weights!r}, but: {', '.join(backbone.weights)}, or None."
        )
    if unknown := sorted(set(options) - set(backbone.options)):
        known = f"only {', '.join(backbone.options)}" if backbone.options else "it takes none"
        raise ValueError(f"{backbone.name} has no option {unknown[0]!r}: {known}.")
    image = keras.Input((height, width, 3), name="image")
    features = backbone.build(image, weights, **options)
    pooled = keras.layers.GlobalAveragePooling2D(name="average_pool")(features)
    # Logits rather than probabilities, in float32 whatever the rest computes in: the loss is then exact.
    # Zeros rather than random numbers: the features are large, and a random head starts out sure of nonsense
    # that it must first unlearn. (On wild digits this is worth several points at the same number of steps.)
    logits = keras.layers.Dense(len(class_names), kernel_initializer="zeros", dtype="float32", name="logits")(
        pooled
    )
    return keras.Model(image, logits, name=backbone.name)


def choose(data_name: str = "auto", backbone_name: str = "auto") -> tuple[str, str]:
    """Settle a lesson's form cell: which data and which backbone this machine can have.

    ``auto`` is photos (tf_flowers) with MobileNetV2's ImageNet weights where both are on this machine or can
    be downloaded, otherwise the embedded digits with GlyphNet. Under pytest it is always the embedded pair.

    Returns:
        ``(data_name, backbone_name)``, neither of them ``"auto"``. Says what was chosen and why.
    """
    if environment.under_test():
        data_name, backbone_name, reason = "digits_wild", "GlyphNet", "the notebook runs as a test"
    elif data_name != "auto" and backbone_name != "auto":
        reason = "you asked for them"
    else:
        wants_photos = data_name not in ("auto", "digits", "digits_wild") or backbone_name not in (
            "auto",
            "GlyphNet",
        )
        nothing_asked = data_name == backbone_name == "auto"
        if wants_photos:
            default, reason = ("tf_flowers", "MobileNetV2"), "these two go together"
        elif nothing_asked and catalog.flowers_available() and backbones.photo_weights_available():
            default, reason = ("tf_flowers", "MobileNetV2"), "photos and ImageNet weights can be had here"
        else:
            default, reason = ("digits_wild", "GlyphNet"), "they come with the course and need no download"
        data_name = default[0] if data_name == "auto" else data_name
        backbone_name = default[1] if backbone_name == "auto" else backbone_name
    print(f"Data: {data_name}. Backbone: {backbone_name}. ({reason[0].upper()}{reason[1:]}.)")
    return data_name, backbone_name
