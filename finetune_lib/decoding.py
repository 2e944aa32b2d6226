"""Image files decoded inside a TensorFlow graph, as ``photos.read`` does it outside (lesson 07)."""

import functools
import re
from collections.abc import Callable

import tensorflow as tf

LARGEST_IMAGE = 50_000_000  # pixels: three bytes each when decoded
# A JPEG may come in thousands of scans of 60 bytes, each of which goes over all of its pixels; ten are usual.
MOST_SCANS = 100
EXIF_REACH = 2**16  # where in a file its EXIF entry may stand


def decode(content: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Decode an image file: upright, as RGB, the largest centred cut of the wanted shape, scaled.

    JPEG and PNG only. TensorFlow cannot read WebP, TIFF or HEIC, takes a BMP's colour numbers for greys, and
    unpacks all pictures of a GIF, which from a megabyte can be gigabytes.

    Each step is one of ``photos.read``: a JPEG is decoded at a half, a quarter or an eighth of its size where
    that is enough, turned as its EXIF entry says, and scaled by the same filter, first across and then down,
    with whole numbers in between. So both give the same pixels, but for a few that are one off. (From
    version 13 on, Pillow scales tall pictures down before across, see python-pillow/Pillow#9549: there a
    fifth of the numbers differ, by one or two; by up to 20 where a picture of hard edges is made larger.)

    Args:
        content: string ``()``.
        size: ``(height, width)``.

    Returns:
        float32 ``(*size, 3)``: whole numbers 0..255.

    Raises:
        tf.errors.InvalidArgumentError: if it is none of these, is damaged, or has over 50 million pixels
            or 100 scans.
    """
    return _decoder(tuple(size))(content)


def reason(error: Exception) -> str:
    """What an error says, without TensorFlow's words on where in a graph."""
    text = getattr(error, "message", None) or str(error) or type(error).__name__
    text = text.split("<stack traces unavailable>\n")[-1].split("\n\t [[")[0]
    return re.sub(r"^\{\{.*?\}\} ", "", text)


@functools.lru_cache
def _decoder(size: tuple[int, int]) -> Callable[[tf.Tensor], tf.Tensor]:
    """Traced once, which takes half a second."""
    signature = [tf.TensorSpec((), tf.string)]
    return tf.function(lambda content: _decode(content, size), input_signature=signature, autograph=False)


def _decode(content: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    image = _pixels(content, 2 * max(size))
    shape, wanted = tf.cast(tf.shape(image)[:2], tf.float32), tf.constant(size, tf.float32)
    scale = tf.reduce_max(wanted / shape)
    translation = (wanted - scale * shape) / 2
    across = _resample(image, (tf.shape(image)[0], size[1]), (1.0, scale), (0.0, translation[1]))
    return _resample(across, size, (scale, 1.0), (translation[0], 0.0))


def _resample(image: tf.Tensor, size: tuple, scale: tuple, translation: tuple) -> tf.Tensor:
    # As Pillow's bicubic filter: with a = -1/2, and wider where the image is made smaller.
    scaled = tf.raw_ops.ScaleAndTranslate(
        images=image[tf.newaxis], size=tf.stack(size), scale=tf.stack(scale),
        translation=tf.stack(translation), kernel_type="keyscubic", antialias=True,
    )[0]  # fmt: skip
    return tf.clip_by_value(tf.floor(scaled + 0.5), 0, 255)


def _pixels(content: tf.Tensor, enough: int) -> tf.Tensor:
    """The image upright, uint8; its shape is looked at before anything is decoded."""
    head = _bytes(content, 24)

    def begins(text: bytes) -> tf.Tensor:
        return tf.reduce_all(head[: len(text)] == list(text))

    def jpeg() -> tf.Tensor:
        shape = tf.image.extract_jpeg_shape(content)
        with tf.control_dependencies([_require_few(shape[0], shape[1]), _require_few_scans(content)]):
            times = tf.minimum(shape[0] // enough, shape[1] // enough)
        halvings = tf.reduce_sum(tf.cast(times >= [2, 4, 8], tf.int32))
        image = tf.switch_case(halvings, [lambda ratio=ratio: reduced(ratio) for ratio in (1, 2, 4, 8)])
        return _upright(image, content)

    def reduced(ratio: int) -> tf.Tensor:
        return tf.io.decode_jpeg(content, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE")

    def png() -> tf.Tensor:
        with tf.control_dependencies([_require_few(_number(head[20:24]), _number(head[16:20]))]):
            return tf.io.decode_png(content, channels=3)

    def other() -> tf.Tensor:
        with tf.control_dependencies([tf.debugging.Assert(False, ["It is no JPEG or PNG file."])]):
            return tf.zeros((1, 1, 3), tf.uint8)

    kinds = [(begins(b"\xff\xd8\xff"), jpeg), (begins(b"\x89PNG\r\n\x1a\n"), png)]
    return tf.ensure_shape(tf.case(kinds, default=other), (None, None, 3))


def _require_few(height: tf.Tensor, width: tf.Tensor) -> tf.Operation:
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    problem = f"The image has too many pixels; {LARGEST_IMAGE:,} is the most. It has"
    return tf.debugging.Assert(pixels <= LARGEST_IMAGE, [problem, pixels])


def _require_few_scans(content: tf.Tensor) -> tf.Operation:
    every = tf.io.decode_raw(content, tf.uint8)
    scans = tf.math.count_nonzero((every[:-1] == 0xFF) & (every[1:] == 0xDA))  # the two bytes begin a scan
    return tf.debugging.Assert(scans <= MOST_SCANS, [f"The JPEG has over {MOST_SCANS} scans. It has", scans])


def _upright(image: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    """Undo how a camera was turned: EXIF's orientation (CIPA DC-008, tag 0x0112), 1 to 8."""
    orientation = _orientation(_bytes(content, EXIF_REACH))
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    down = tf.reduce_any(orientation == [3, 4, 7, 8])
    across = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(down, lambda: image[::-1], lambda: image)
    return tf.cond(across, lambda: image[:, ::-1], lambda: image)


def _orientation(head: tf.Tensor) -> tf.Tensor:
    """1, unless the EXIF entry says otherwise."""
    mark = b"Exif\0\0"
    found = [head[place : place - len(mark)] == each for place, each in enumerate(mark)]
    starts = tf.where(tf.reduce_all(tf.stack(found), axis=0))[:, 0]
    start = tf.reduce_min(tf.concat([starts, [EXIF_REACH]], axis=0)) + len(mark)
    little = tf.gather(tf.pad(head, [(0, 2 * EXIF_REACH)]), start) == ord("I")

    def number(place: tf.Tensor, length: int) -> tf.Tensor:
        places = tf.minimum(place[..., tf.newaxis] + tf.range(length, dtype=tf.int64), EXIF_REACH - 1)
        parts = tf.gather(head, places)
        return _number(tf.transpose(tf.cond(little, lambda: parts[..., ::-1], lambda: parts)))

    entries = start + number(start + 4, 4)
    places = entries + 2 + 12 * tf.range(number(entries, 2))
    values = tf.boolean_mask(number(places + 8, 2), number(places, 2) == 0x0112)
    known = tf.concat([tf.where((values >= 1) & (values <= 8), values, 1), [1]], axis=0)
    return known[0]


def _bytes(content: tf.Tensor, count: int) -> tf.Tensor:
    """The first bytes, int64, with zeros where there are no more."""
    return tf.cast(tf.io.decode_raw(content, tf.uint8, fixed_length=count), tf.int64)


def _number(digits: tf.Tensor) -> tf.Tensor:
    """What bytes stand for, of which the first is worth most."""
    powers = 256 ** tf.range(tf.shape(digits, tf.int64)[0])[::-1]
    return tf.tensordot(powers, digits, 1)
