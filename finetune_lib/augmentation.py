"""Changes of an image that keep its label, each a function of the image and a seed alone (lessons 00 and 03).

Every function here has the signature of ``tf.image.stateless_random_*``, which can stand in its place: the
same seed gives the same result whatever ran before, which Keras' random layers cannot promise.
"""

import keras
import numpy as np
import tensorflow as tf


def distort(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Photograph a drawing badly: turn, scale, shift, fade, invert every other one, add noise.

    Args:
        image: float32 ``(height, width, 3)``, 0..255, on a black ground.
        seed: int32 ``(2,)``. The same seed gives the same distortion.

    Returns:
        float32 ``(height, width, 3)``, 0..255.
    """
    return _photograph(image, seed, zoom=(0.7, 1.1), contrast=(0.4, 1.0), fill_mode="constant")


def drawings(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A fresh look at a drawn or written shape: like ``distort``, but on any ground, which is continued.

    Args and returns: as ``distort``.
    """
    return _photograph(image, seed, zoom=(0.75, 1.25), contrast=(0.5, 1.2), fill_mode="nearest")


def _photograph(
    image: tf.Tensor,
    seed: tf.Tensor,
    *,
    zoom: tuple[float, float],
    contrast: tuple[float, float],
    fill_mode: str,
) -> tf.Tensor:
    draw = tf.random.stateless_uniform((8,), seed)
    image = affine(
        tf.cast(image, tf.float32),
        degrees=40 * draw[0] - 20,
        zoom=zoom[0] + (zoom[1] - zoom[0]) * draw[1],
        shift=(draw[2:4] - 0.5) * 0.25,
        fill_mode=fill_mode,
    )
    image = 127.5 + (image - 127.5) * (contrast[0] + (contrast[1] - contrast[0]) * draw[4])
    image += (draw[5] - 0.5) * 40
    image = tf.where(draw[6] < 0.5, 255 - image, image)
    image += 0.06 * 255 * tf.random.stateless_normal((*image.shape[:2], 1), seed + 1)
    return tf.clip_by_value(image, 0, 255)


def photos(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A fresh look at a photo: mirrored or not, a little turned, nearer or shifted, brighter or darker.

    Args and returns: as ``distort``.
    """
    draw = tf.random.stateless_uniform((6,), seed)
    image = affine(
        tf.cast(image, tf.float32),
        degrees=20 * draw[0] - 10,
        zoom=1.0 + 0.3 * draw[1],
        shift=(draw[2:4] - 0.5) * 0.15,
        fill_mode="nearest",
    )
    image = tf.where(draw[4] < 0.5, image[:, ::-1], image)
    return tf.clip_by_value(image * (0.8 + 0.4 * draw[5]), 0, 255)


def affine(
    images: tf.Tensor, *, degrees: tf.Tensor, zoom: tf.Tensor, shift: tf.Tensor, fill_mode: str
) -> tf.Tensor:
    """Rotate about the centre, zoom and shift, with bilinear interpolation.

    Args:
        images: float32 ``(height, width, channels)`` or ``(count, height, width, channels)``.
        degrees: anticlockwise rotation, ``()`` or ``(count,)``.
        zoom: magnification, the same shape; above 1 the content grows.
        shift: ``(2,)`` or ``(count, 2)``: right and down, as a share of the width and height.
        fill_mode: what lies outside: ``"constant"`` (black) or ``"nearest"`` (the edge continued).

    Returns:
        float32, the shape of ``images``.
    """
    height, width = images.shape[-3], images.shape[-2]
    centre_x, centre_y = (width - 1) / 2, (height - 1) / 2
    angle = degrees * (np.pi / 180)
    # Keras wants the map from each output pixel back to the input pixel it shows.
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    right, down = centre_x + shift[..., 0] * width, centre_y + shift[..., 1] * height
    zero = tf.zeros_like(cosine)
    transform = tf.stack(
        [
            cosine, -sine, centre_x - cosine * right + sine * down,
            sine, cosine, centre_y - sine * right - cosine * down,
            zero, zero,
        ],
        axis=-1,
    )  # fmt: skip
    return keras.ops.image.affine_transform(
        images, transform, interpolation="bilinear", fill_mode=fill_mode, data_format="channels_last"
    )
