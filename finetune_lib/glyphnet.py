"""GlyphNet: a small VGG-style network that the project pretrains itself, on two sources (lessons 00 and 01).

The good source is printed glyphs, drawn in the fonts that ship with matplotlib: letters, Greek, symbols, no
digit. The bad source is textures: noise with a direction and a grain, and no shape at all. Both sets of
weights ship with the package. To make them anew: ``python -m finetune_lib.glyphnet glyphs --output FOLDER``.
"""

import argparse
import hashlib
import json
import os
import pathlib
import time

import keras
import matplotlib
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
import tensorflow as tf

from finetune_lib import augmentation

FONT_FOLDER = pathlib.Path(matplotlib.get_data_path()) / "fonts" / "ttf"
WEIGHTS_FOLDER = pathlib.Path(__file__).parent / "weights"
BLOCK_WIDTHS = (16, 32, 64, 128)
IMAGE_SIZE = (32, 32)
BATCH_SIZE = 256

# No digit is among them, and of letters that differ only in size (c and C) there is one.
GLYPHS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    "abdefghijmnqrty"
    "αβγδεζηθλμξπρστφχψω"
    "ΓΔΘΛΞΠΣΦΨΩ"
    "&@#%$?!+=<>()[]{}/\\*~^§¶€£¥©∂∇∞∫√∈∀∃∪∩±÷≠≤←↑→↓"
)
TRAINING_FONTS = (
    "DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique", "DejaVuSansMono-Bold",
    "DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-BoldItalic", "STIXGeneral", "STIXGeneralBol",
    "STIXGeneralBolIta", "cmb10", "cmss10", "cmti10", "cmtt10",
)  # fmt: skip
HELD_OUT_FONTS = ("DejaVuSansMono", "DejaVuSerif-Italic", "STIXGeneralItalic", "cmr10")
# The Computer Modern files keep symbols at other places than Unicode says, so only their letters are used.
LETTERS_ONLY_FONTS = ("cmb10", "cmss10", "cmti10", "cmtt10", "cmr10")

TEXTURE_DIRECTIONS, TEXTURE_GRAINS = 8, 4


def layers(inputs: keras.KerasTensor) -> keras.KerasTensor:
    """Four blocks of two 3x3 convolutions and a 2x2 max pooling: VGG16's pattern, a fiftieth its size.

    Args:
        inputs: ``(batch, height, width, 3)``, scaled to -1..1; at least 16x16 pixels.

    Returns:
        ``(batch, height // 16, width // 16, 128)``. The layers are called ``block1_conv1``, ``block1_conv2``,
        ``block1_pool`` and so on to ``block4_pool``.
    """
    outputs = inputs
    for number, width in enumerate(BLOCK_WIDTHS, start=1):
        for convolution in (1, 2):
            outputs = keras.layers.Conv2D(
                width,
                3,
                padding="same",
                activation="relu",
                kernel_initializer="he_normal",
                name=f"block{number}_conv{convolution}",
            )(outputs)
        outputs = keras.layers.MaxPooling2D(name=f"block{number}_pool")(outputs)
    return outputs


def load_weights(model: keras.Model, source: str) -> None:
    """Give a model's GlyphNet layers (and its ``source_logits`` layer, if it has one) the shipped weights.

    Args:
        model: any model whose layers came from ``layers``; its other layers are left alone.
        source: ``"glyphs"`` or ``"textures"``.

    Raises:
        ValueError: for an unknown source, or if the file is not the one that was published (SHA-256).
    """
    cards = model_cards()
    if source not in cards:
        raise ValueError(f"GlyphNet has no weights called {source!r}; it has {', '.join(cards)}, or None.")
    path = WEIGHTS_FOLDER / cards[source]["file"]
    if hashlib.sha256(path.read_bytes()).hexdigest() != cards[source]["sha256"]:
        raise ValueError(
            f"{path} is damaged: its SHA-256 is not the published one. Install the package again."
        )
    with np.load(path) as arrays:
        for layer in model.layers:
            if f"{layer.name}/kernel" in arrays:
                layer.set_weights([arrays[f"{layer.name}/kernel"], arrays[f"{layer.name}/bias"]])


def model_cards() -> dict[str, dict]:
    """What each set of shipped weights was trained on, how well it does there, its file and SHA-256."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(WEIGHTS_FOLDER.glob("*.json"))
    }


def source_classifier(classes: int) -> keras.Model:
    """GlyphNet with the head of its own source task: raw RGB 0..255 to logits, ``(batch, classes)``."""
    image = keras.Input((*IMAGE_SIZE, 3), name="image")
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1, name="rescaling")(image)
    features = keras.layers.GlobalAveragePooling2D(name="average_pool")(layers(scaled))
    return keras.Model(image, keras.layers.Dense(classes, name="source_logits")(features), name="GlyphNet")


def draw_glyphs(fonts: tuple[str, ...], size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Every glyph in every font that has it, white on black, filling 60% of the frame.

    Returns:
        images uint8 ``(count, size, size)`` and labels int64 ``(count,)``, the glyph's place in ``GLYPHS``.
    """
    images, labels = [], []
    for name in filter(is_here, fonts):
        font = PIL.ImageFont.truetype(FONT_FOLDER / f"{name}.ttf", size)
        missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
        for label, glyph in enumerate(GLYPHS):
            if name in LETTERS_ONLY_FONTS and not (glyph.isascii() and glyph.isalpha()):
                continue
            mask = font.getmask(glyph)
            if mask.getbbox() is None or (mask.getbbox(), bytes(mask)) == missing:
                continue
            drawing = PIL.Image.new("L", (3 * size, 3 * size))
            PIL.ImageDraw.Draw(drawing).text((size, size), glyph, fill=255, font=font)
            drawing = drawing.crop(drawing.getbbox())
            scale = 0.6 * size / max(drawing.size)
            drawing = drawing.resize([max(1, round(side * scale)) for side in drawing.size])
            frame = PIL.Image.new("L", (size, size))
            frame.paste(drawing, ((size - drawing.width) // 2, (size - drawing.height) // 2))
            images.append(np.asarray(frame))
            labels.append(label)
    return np.stack(images), np.array(labels)


def is_here(font: str) -> bool:
    """Whether this matplotlib ships the font: cmti10 came with 3.11, and the recipe goes on without it."""
    return (FONT_FOLDER / f"{font}.ttf").exists()


def photograph_glyphs(drawings: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Turn clean drawings into small, skewed, thick or thin, blurred, faded, inverted, noisy pictures.

    Args:
        drawings: float32 ``(batch, 64, 64, 1)``, 0..255.
        seed: int32 ``(2,)``; the same seed, the same pictures.

    Returns:
        float32 ``(batch, 32, 32, 3)``, 0..255.
    """
    batch = drawings.shape[0]
    draw = tf.random.stateless_uniform((11, batch, 1, 1, 1), seed)
    flat = draw[:, :, 0, 0, 0]
    # Squeeze or stretch by rotating, shrinking one axis, and rotating back: handwriting is rarely upright.
    pictures = squeeze(drawings, degrees=180 * flat[0], factor=0.75 + 0.25 * flat[1])
    pictures = augmentation.affine(
        pictures,
        degrees=50 * flat[2] - 25,
        zoom=1.0 + 0.8 * flat[3],
        shift=tf.stack([flat[4] - 0.5, flat[5] - 0.5], axis=-1) * 0.25,
        fill_mode="constant",
    )
    # A blurred glyph cut at a low level has thick strokes, at a high level thin ones.
    pictures = tf.nn.avg_pool2d(tf.nn.avg_pool2d(pictures, 5, 1, "SAME"), 3, 1, "SAME")
    pictures = 255 * tf.sigmoid((pictures / 255 - (0.12 + 0.33 * draw[6])) * 16)
    # A scan of 9 to 24 pixels, drawn up again, is what the digits are.
    small = tf.random.stateless_uniform((), seed + 1, 9, 25, tf.int32)
    pictures = tf.image.resize(pictures, tf.stack([small, small]), method="area")
    pictures = tf.clip_by_value(tf.image.resize(pictures, IMAGE_SIZE, method="bicubic"), 0, 255)
    pictures = 127.5 + (pictures - 127.5) * (0.4 + 0.6 * draw[7]) + (draw[8] - 0.5) * 40
    pictures = tf.where(draw[9] < 0.5, 255 - pictures, pictures)
    pictures += 0.08 * 255 * draw[10] * tf.random.stateless_normal(pictures.shape, seed + 2)
    return tf.repeat(tf.clip_by_value(pictures, 0, 255), 3, axis=-1)


def squeeze(images: tf.Tensor, *, degrees: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Shrink square images along the direction ``degrees`` to ``factor`` of it, both ``(batch,)``."""
    centre = (images.shape[1] - 1) / 2
    angle = degrees * (np.pi / 180)
    # The inverse map: identity plus (1/factor - 1) along the unit vector (cosine, sine).
    excess = 1 / factor - 1
    along_x, along_y = tf.cos(angle), tf.sin(angle)
    a, b, d = 1 + excess * along_x**2, excess * along_x * along_y, 1 + excess * along_y**2
    zero = tf.zeros_like(a)
    rows = [a, b, centre * (1 - a - b), b, d, centre * (1 - b - d), zero, zero]
    return keras.ops.image.affine_transform(
        images, tf.stack(rows, axis=-1), fill_mode="constant", data_format="channels_last"
    )


def glyph_stream(fonts: tuple[str, ...], steps: int, seed: int) -> tf.data.Dataset:
    """``steps`` batches of freshly photographed glyphs ``(256, 32, 32, 3)`` with labels ``(256,)``."""
    images, labels = draw_glyphs(fonts)
    drawings = tf.constant(images[..., np.newaxis])
    # Every class equally often, however many fonts have it.
    rows_of = tf.ragged.constant([np.flatnonzero(labels == label) for label in range(len(GLYPHS))], tf.int64)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = tf.stack([tf.constant(seed, tf.int32), 4 * tf.cast(step, tf.int32)])
        chosen = tf.random.stateless_uniform((BATCH_SIZE,), place, 0, len(GLYPHS), tf.int32)
        candidates = tf.gather(rows_of.row_lengths(), chosen)
        which = tf.random.stateless_uniform((BATCH_SIZE,), place + 1) * tf.cast(candidates, tf.float32)
        rows = tf.gather(rows_of.row_starts(), chosen) + tf.minimum(tf.cast(which, tf.int64), candidates - 1)
        clean = tf.cast(tf.gather(drawings, tf.gather(rows_of.values, rows)), tf.float32)
        return photograph_glyphs(clean, place + 2), chosen

    return tf.data.Dataset.range(steps).map(batch, num_parallel_calls=1).prefetch(4)


def texture_stream(steps: int, seed: int) -> tf.data.Dataset:
    """``steps`` batches of textures ``(256, 32, 32, 3)`` with labels ``(256,)``: which direction and grain.

    White noise through a filter that keeps one direction and one spatial frequency.
    """
    frequency = np.fft.fftfreq(IMAGE_SIZE[0])
    across, down = np.meshgrid(frequency, frequency)
    filters = []
    for grain in np.geomspace(0.06, 0.35, TEXTURE_GRAINS):
        for angle in np.arange(TEXTURE_DIRECTIONS) * np.pi / TEXTURE_DIRECTIONS:
            centre = grain * np.cos(angle), grain * np.sin(angle)
            peaks = [
                np.exp(
                    -((across - sign * centre[0]) ** 2 + (down - sign * centre[1]) ** 2) / (grain / 3) ** 2
                )
                for sign in (-1, 1)
            ]
            filters.append(sum(peaks))
    kept = tf.constant(np.stack(filters), tf.complex64)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        place = tf.stack([tf.constant(seed, tf.int32), 4 * tf.cast(step, tf.int32)])
        chosen = tf.random.stateless_uniform((BATCH_SIZE,), place, 0, len(filters), tf.int32)
        noise = tf.random.stateless_normal((BATCH_SIZE, *IMAGE_SIZE), place + 1)
        texture = tf.math.real(
            tf.signal.ifft2d(tf.signal.fft2d(tf.cast(noise, tf.complex64)) * tf.gather(kept, chosen))
        )
        texture /= tf.math.reduce_std(texture, axis=(1, 2), keepdims=True)
        contrast = 15 + 45 * tf.random.stateless_uniform((BATCH_SIZE, 1, 1), place + 2)
        image = tf.clip_by_value(127.5 + contrast * texture, 0, 255)
        return tf.repeat(image[..., tf.newaxis], 3, axis=-1), chosen

    return tf.data.Dataset.range(steps).map(batch, num_parallel_calls=1).prefetch(4)


def pretrain(source: str, folder: pathlib.Path, *, steps: int, seed: int = 0) -> dict:
    """Train GlyphNet on one source, measure it on held-out pictures, and write weights and model card.

    Adam (Kingma and Ba, arXiv 1412.6980) with a short warm-up and cosine decay to zero (Loshchilov and
    Hutter, arXiv 1608.03983), one pass over a stream in which no picture comes twice.

    Args:
        source: ``"glyphs"`` or ``"textures"``.
        folder: where ``SOURCE.npz`` and ``SOURCE.json`` are written, at the end.
        steps: batches of 256 pictures.

    Returns:
        The model card.
    """
    started = time.perf_counter()
    keras.utils.set_random_seed(seed)
    measured = min(steps, 40)
    if source == "glyphs":
        classes = len(GLYPHS)
        stream = glyph_stream(TRAINING_FONTS, steps, seed)
        held_out = {
            "glyphs in fonts never seen": glyph_stream(HELD_OUT_FONTS, measured, seed + 1),
            "new pictures of glyphs in the training fonts": glyph_stream(TRAINING_FONTS, measured, seed + 1),
        }
        fonts = sum(map(is_here, TRAINING_FONTS))
        saw = (
            f"{len(GLYPHS)} printed letters, Greek letters and symbols (no digit) in {fonts} fonts "
            "that ship with matplotlib, rotated, skewed, thickened, blurred, inverted and noisy"
        )
        limits = (
            "32x32 pictures of one drawn or written shape on an even ground. It has seen no photo and no "
            "handwriting. Fonts are printed: joined or very personal strokes are outside what it knows."
        )
    else:
        classes = TEXTURE_DIRECTIONS * TEXTURE_GRAINS
        stream = texture_stream(steps, seed)
        held_out = {"new textures": texture_stream(measured, seed + 1)}
        saw = (
            f"textures: noise of {TEXTURE_DIRECTIONS} directions and {TEXTURE_GRAINS} grains, no shape at all"
        )
        limits = "A counter-example on purpose: nothing in it helps to tell shapes apart."
    model = source_classifier(classes)
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=2e-3, warmup_steps=steps // 20)
        ),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    model.fit(stream, epochs=1, verbose=1)
    accuracy = {name: round(model.evaluate(part, verbose=0)[1], 4) for name, part in held_out.items()}
    arrays = {
        f"{layer.name}/{kind}": values
        for layer in model.layers
        for kind, values in zip(("kernel", "bias"), layer.get_weights(), strict=False)
    }
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{source}.partial.npz"
    np.savez(partial, **arrays)
    card = {
        "file": f"{source}.npz",
        "sha256": hashlib.sha256(partial.read_bytes()).hexdigest(),
        "licence": "Apache-2.0",
        "saw": saw,
        "pictures": steps * BATCH_SIZE,
        "classes": classes,
        "held_out_accuracy": accuracy,
        "limits": limits,
        "command": f"python -m finetune_lib.glyphnet {source} --steps {steps} --seed {seed} --output FOLDER",
        "made_with": f"TensorFlow {tf.__version__}, Keras {keras.__version__}, "
        f"matplotlib {matplotlib.__version__}, Pillow {PIL.__version__}",
        "minutes": round((time.perf_counter() - started) / 60, 1),
        "processor_cores": os.cpu_count(),
    }
    partial.replace(folder / f"{source}.npz")
    (folder / f"{source}.json").write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    return card


def main() -> None:
    """Pretrain on one source: ``python -m finetune_lib.glyphnet glyphs --output FOLDER``."""
    parser = argparse.ArgumentParser(prog="python -m finetune_lib.glyphnet", description=__doc__)
    parser.add_argument("source", choices=("glyphs", "textures"), help="what the network is trained on")
    parser.add_argument(
        "--output", type=pathlib.Path, required=True, help="folder for weights and model card"
    )
    parser.add_argument("--steps", type=int, help="batches of 256 pictures (default: as the shipped weights)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    steps = arguments.steps or {"glyphs": 8000, "textures": 1000}[arguments.source]
    print(
        json.dumps(pretrain(arguments.source, arguments.output, steps=steps, seed=arguments.seed), indent=2)
    )


if __name__ == "__main__":
    main()
