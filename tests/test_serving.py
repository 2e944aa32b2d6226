"""SavedModels: the same answers as Keras, the same pixels as photos.read, nothing half-written."""

import io
import os
import pathlib
import struct
from collections.abc import Callable

import keras
import numpy as np
import pictures
import PIL
import PIL.Image
import pytest
import serving_clients
import small_models
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2
from tensorflow_serving.apis import prediction_log_pb2

from finetune_lib import classifier, decoding, evaluation, photos, served_model, serving

layers = keras.layers
FILES = serving_clients.files(6)
PILLOW = int(PIL.__version__.split(".")[0])


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return serving_clients.model(0)


@pytest.fixture(scope="module")
def folder(model: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    path = tmp_path_factory.mktemp("served") / "digits"
    serving.export_savedmodel(model, path, serving_clients.NAMES, warm_up=FILES[:2])
    return path


@pytest.fixture(scope="module")
def signatures(folder: pathlib.Path) -> dict[str, Callable]:
    loaded = tf.saved_model.load(str(folder / "1"))
    signatures = dict(loaded.signatures.items())
    signatures["kept alive"] = loaded
    return signatures


def test_both_signatures_answer_as_keras_does(model: keras.Model, signatures: dict[str, Callable]) -> None:
    images = np.stack([photos.read(content, serving_clients.SIZE) for content in FILES]).astype("float32")
    expected = evaluation.to_probabilities(model, model.predict(images, verbose=0))
    assert len(set(expected.argmax(axis=-1))) > 1, "the images are told apart"
    of_pixels = signatures["serving_default"](image=tf.constant(images))
    of_files = signatures["encoded"](image=tf.constant(FILES))
    for answers in (of_pixels, of_files):
        assert set(answers) == {"probabilities", "classes"}
        assert np.allclose(answers["probabilities"], expected, atol=1e-6)
        assert np.allclose(tf.reduce_sum(answers["probabilities"], axis=-1), 1, atol=1e-6)
        names = [name.decode() for name in answers["classes"].numpy()]
        assert names == [serving_clients.NAMES[best] for best in expected.argmax(axis=-1)]
    assert np.array_equal(of_pixels["probabilities"], of_files["probabilities"]), "the same pixels"


def binary(activation: str | None) -> keras.Model:
    image = keras.Input((8, 8, 3))
    x = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(1, activation=activation)(x))


def with_softmax_layer() -> keras.Model:
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Flatten(), layers.Dense(3), layers.Softmax()])


def vgg() -> keras.Model:
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(32, 32, 3), pooling="avg")
    return keras.Model(base.input, layers.Dense(3, activation="softmax")(base.output))


@pytest.mark.parametrize(
    ("build", "classes"),
    [
        (small_models.plain, 3),
        (small_models.sequential, 3),
        (with_softmax_layer, 3),
        (vgg, 3),
        (lambda: binary("sigmoid"), 2),
        (lambda: binary(None), 2),
    ],
    ids=["plain", "sequential", "softmax layer", "VGG16", "sigmoid", "one logit"],
)
def test_every_kind_of_classifier(build: Callable, classes: int, tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    model, names = build(), ["a", "b", "c"][:classes]
    images = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype("float32")
    version = serving.export_savedmodel(model, tmp_path / "any", names)
    loaded = tf.saved_model.load(str(version))
    answers = loaded.signatures["serving_default"](image=tf.constant(images))
    expected = evaluation.to_probabilities(model, model.predict(images, verbose=0))
    assert answers["probabilities"].shape == (4, classes)
    assert np.allclose(answers["probabilities"], expected, atol=1e-5)
    assert np.allclose(tf.reduce_sum(answers["probabilities"], axis=-1), 1, atol=1e-6)


def headed(shape: tuple, *ends: keras.layers.Layer, batch: int | None = None) -> keras.Model:
    x = image = keras.Input(shape, batch_size=batch)
    for layer in ends:
        x = layer(x)
    return keras.Model(image, x, name="strange")


def tiny() -> keras.Model:
    return headed((8, 8, 3), layers.GlobalAveragePooling2D(), layers.Dense(3))


def two_inputs() -> keras.Model:
    first, second = keras.Input((8, 8, 3)), keras.Input((8, 8, 3))
    return keras.Model([first, second], layers.Dense(3)(layers.GlobalAveragePooling2D()(first + second)))


POOL = layers.GlobalAveragePooling2D
NO_CLASSIFIERS = {
    "not built": (lambda: keras.Sequential([layers.Dense(3)]), TypeError, "no graph of layers"),
    "two inputs": (two_inputs, ValueError, "one input, colour images"),
    "open size": (lambda: headed((None, None, 3), POOL(), layers.Dense(3)), ValueError, "one size"),
    "grey": (lambda: headed((8, 8, 1), POOL(), layers.Dense(3)), ValueError, "colour images"),
    "one at a time": (lambda: headed((8, 8, 3), POOL(), layers.Dense(3), batch=1), ValueError, "any number"),
    "no image": (lambda: headed((8,), layers.Dense(3)), ValueError, "colour images"),
    "a map": (lambda: headed((8, 8, 3), layers.Conv2D(3, 1)), ValueError, "ends in 'linear' of shape"),
    "relu": (lambda: headed((8, 8, 3), POOL(), layers.Dense(3, "relu")), ValueError, "ends in 'relu'"),
    "several labels": (
        lambda: headed((8, 8, 3), POOL(), layers.Dense(3, "sigmoid")), ValueError, "ends in 'sigmoid'"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NO_CLASSIFIERS)
def test_what_is_no_classifier_of_images_is_refused(kind: str, tmp_path: pathlib.Path) -> None:
    build, error, words = NO_CLASSIFIERS[kind]
    with pytest.raises(error, match=words):
        serving.export_savedmodel(build(), tmp_path / "any", ["a", "b", "c"])
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a", "b"], "has 3 classes, but there are 2"),
        (["a", "b", "a"], "'a' is empty, has several lines, or is there twice"),
        (["a", "b", "c\nd"], "several lines"),
        (["a", "b", "c\n"], "several lines"),
        (["a", "b", "c\r"], "several lines"),
        (["a", "b", "c\u2028d"], "several lines"),
        (["a", "b", " "], "is empty"),
        (["a", "b", "\ud800"], "UTF-8"),
        (["a", "b", 3], "a list of names"),
        ("abc", "a list of names"),
    ],
)
def test_class_names_that_do_not_fit_are_refused(names: list, words: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=words):
        serving.export_savedmodel(small_models.plain(), tmp_path / "any", names)
    assert not any(tmp_path.iterdir())


def test_names_are_kept_as_they_are(tmp_path: pathlib.Path) -> None:
    names = [" leading space", "\u4e2d\u6587", "a\tb, \u00e9\u20ac"]
    model = tiny()  # its logits are the mean red, green and blue
    model.layers[-1].set_weights([np.eye(3), np.zeros(3)])
    version = serving.export_savedmodel(model, tmp_path / "any", names)
    loaded = tf.saved_model.load(str(version))
    pure = np.broadcast_to(np.eye(3)[:, np.newaxis, np.newaxis], (3, 8, 8, 3)).astype("float32")
    answers = loaded.signatures["serving_default"](image=tf.constant(pure))
    assert [name.decode() for name in answers["classes"].numpy()] == names
    assert (version / "assets" / "classes.txt").read_text(encoding="utf-8").split("\n")[:-1] == names


SAME_FILES = {f"PNG {mode}": ("PNG", mode) for mode in ["RGB", "RGBA", "L", "LA", "1", "P", "I;16"]}
SAME_FILES |= {f"JPEG {mode}": ("JPEG", mode) for mode in ["RGB", "L", "CMYK"]}


@pytest.mark.parametrize("name", SAME_FILES)
def test_a_file_of_the_models_size_has_the_same_pixels(name: str) -> None:
    kind, mode = SAME_FILES[name]
    content = serving_clients.picture_file(mode, kind)
    assert np.array_equal(decoding.decode(tf.constant(content), (32, 48)), photos.read(content, (32, 48)))


@pytest.mark.parametrize("stored", [(48, 32), (500, 300), (301, 607), (1200, 907), (24, 31)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_other_sizes_are_cut_and_scaled_alike(kind: str, stored: tuple[int, int]) -> None:
    content = serving_clients.picture_file("RGB", kind, stored)
    for size in ((32, 32), (32, 48), (48, 32)):
        found = decoding.decode(tf.constant(content), size).numpy()
        off = np.abs(found - photos.read(content, size))
        assert found.dtype == np.float32 and np.array_equal(found, np.clip(np.round(found), 0, 255))
        if stored[0] >= stored[1] or PILLOW < 13:  # else Pillow scales down first
            assert off.max() <= 2 and (off > 0).mean() < 0.02
        assert off.mean() < 0.5


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_photos_are_turned_upright(orientation: int, order: str) -> None:
    entry = PIL.Image.Exif()
    entry[0x10F], entry[0x112], entry[0x131] = "a maker", orientation, "a program"
    entry.endian = order
    content = serving_clients.picture_file("RGB", "JPEG", exif=entry)
    plain = serving_clients.picture_file("RGB", "JPEG")
    size = (48, 32) if orientation >= 5 else (32, 48)
    found = decoding.decode(tf.constant(content), size)
    assert np.array_equal(found, photos.read(content, size))
    assert (orientation == 1) == np.array_equal(found, decoding.decode(tf.constant(plain), size))


@pytest.mark.parametrize("kind", ["BMP", "GIF", "WEBP", "TIFF"])
def test_files_that_tensorflow_cannot_decode_rightly_are_refused(kind: str) -> None:
    content = serving_clients.picture_file("P" if kind in ("BMP", "GIF") else "RGB", kind)
    with pytest.raises(tf.errors.InvalidArgumentError, match="no JPEG or PNG"):
        decoding.decode(tf.constant(content), (32, 48))


def claiming(kind: str, width: int, height: int) -> bytes:
    """A small file that says it has so many pixels."""
    content = bytearray(serving_clients.picture_file("RGB", kind))
    if kind == "PNG":
        content[16:24] = struct.pack(">II", width, height)
    else:
        frame = content.index(b"\xff\xc0")
        content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_decompression_bomb_is_not_decoded(kind: str, signatures: dict[str, Callable]) -> None:
    side = 50_000
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"too many pixels.*2500000000"):
        signatures["encoded"](image=tf.constant([FILES[0], claiming(kind, side, side)]))
    for claimed in ((2**31 - 1, 2**31 - 1), (2**32 - 1, 2), (0, 0)) if kind == "PNG" else ((0, 0),):
        with pytest.raises(tf.errors.InvalidArgumentError):
            signatures["encoded"](image=tf.constant([claiming(kind, *claimed)]))


def test_a_jpeg_of_a_thousand_scans_is_not_decoded(signatures: dict[str, Callable]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"over 100 scans.*1010"):
        signatures["encoded"](image=tf.constant([FILES[0], pictures.of_many_scans(1000)]))
    assert np.isfinite(
        signatures["encoded"](image=tf.constant([pictures.of_many_scans(5)]))["probabilities"]
    ).all()


def test_a_large_picture_within_the_limit_is_decoded(signatures: dict[str, Callable]) -> None:
    buffer = io.BytesIO()
    PIL.Image.new("L", (5000, 4000), 77).save(buffer, "PNG")
    found = decoding.decode(tf.constant(buffer.getvalue()), serving_clients.SIZE)
    assert np.array_equal(found, np.full((32, 32, 3), 77))


def test_damaged_files_are_answered_or_refused(signatures: dict[str, Callable]) -> None:
    entry = PIL.Image.Exif()
    entry[0x112] = 6
    turned = pictures.encoded(pictures.picture(1), "JPEG", exif=entry)
    contents = serving_clients.damaged([*FILES[:3], *serving_clients.jpegs(3), turned], 400)
    refused = 0
    for content in [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", *contents]:
        try:
            answers = signatures["encoded"](image=tf.constant([content]))
        except tf.errors.InvalidArgumentError:
            refused += 1
        else:
            assert np.isclose(tf.reduce_sum(answers["probabilities"]), 1, atol=1e-5)
    assert 200 < refused < 400
    assert signatures["encoded"](image=tf.constant(FILES))["classes"].shape == len(FILES), "it still answers"


def test_the_warm_up_file_holds_requests_for_both_signatures(folder: pathlib.Path) -> None:
    path = folder / "1" / "assets.extra" / "tf_serving_warmup_requests"
    logs = [
        prediction_log_pb2.PredictionLog.FromString(record.numpy())
        for record in tf.data.TFRecordDataset(str(path))
    ]
    requests = [log.predict_log.request for log in logs]
    assert [request.model_spec.name for request in requests] == ["digits"] * 4
    assert [request.model_spec.signature_name for request in requests] == ["serving_default", "encoded"] * 2
    pixels, content = (tf.make_ndarray(request.inputs["image"]) for request in requests[2:])
    assert pixels.dtype == np.float32 and content.tolist() == [FILES[1]]
    assert np.array_equal(pixels[0], photos.read(FILES[1], serving_clients.SIZE))


def test_warm_up_files_must_be_images_and_few(model: keras.Model, tmp_path: pathlib.Path) -> None:
    for bad in (b"no image", FILES[0][:60], "text", None):
        with pytest.raises(ValueError, match=r"warm_up\[1\] cannot be decoded"):
            serving.export_savedmodel(model, tmp_path / "any", serving_clients.NAMES, warm_up=[FILES[0], bad])
    with pytest.raises(ValueError, match="500 is the most"):
        serving.export_savedmodel(model, tmp_path / "any", serving_clients.NAMES, warm_up=FILES[:1] * 501)
    assert not any(tmp_path.iterdir())


def batching_parameters() -> type:
    """The message of TensorFlow Serving's session_bundle_config.proto, which the package of stubs lacks."""
    file = descriptor_pb2.FileDescriptorProto(
        name="batching.proto", package="test", syntax="proto3", dependency=[wrappers_pb2.DESCRIPTOR.name]
    )
    message = file.message_type.add(name="BatchingParameters")
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    for number, name in enumerate(names, start=1):
        message.field.add(name=name, number=number, label=1, type=11, type_name=".google.protobuf.Int64Value")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("test.BatchingParameters"))


def test_the_batching_configuration_is_what_the_server_reads(
    folder: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    text = (folder / "batching.config").read_text(encoding="utf-8")
    message = text_format.Parse(text, batching_parameters()())
    numbers = {field.name: value.value for field, value in message.ListFields()}
    assert numbers == served_model.batching_numbers(text) and numbers["max_batch_size"] == 32
    (tmp_path / "batching.config").write_text("# mine\n", encoding="utf-8")
    serving.export_savedmodel(tiny(), tmp_path, ["a", "b", "c"])
    assert (tmp_path / "batching.config").read_text(encoding="utf-8") == "# mine\n", "it stays"
    with pytest.raises(ValueError, match="does not know"):
        served_model.batching_numbers("max_batch_size { value: many }")


def test_versions_are_numbered_on(tmp_path: pathlib.Path) -> None:
    model, names = tiny(), ["a", "b", "c"]
    assert serving.versions(tmp_path / "none") == []
    for name in ("9", "007", "x", "1.5"):
        (tmp_path / "any" / name).mkdir(parents=True)
    (tmp_path / "any" / "12").write_text("no folder")
    assert serving.export_savedmodel(model, str(tmp_path / "any"), names) == tmp_path / "any" / "10"
    assert serving.versions(tmp_path / "any") == [9, 10]
    before = {path.name for path in (tmp_path / "any").iterdir()}
    assert before == {"9", "007", "x", "1.5", "12", "10", "batching.config"}


def test_two_exports_at_once_get_two_numbers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, names = tiny(), ["a", "b", "c"]
    first = serving.export_savedmodel(model, tmp_path / "any", names)
    real, late = serving.versions, [[]]  # it has looked before the other was there
    monkeypatch.setattr(serving, "versions", lambda folder: late.pop() if late else real(folder))
    second = serving.export_savedmodel(model, tmp_path / "any", names)
    assert not late and (first.name, second.name) == ("1", "2")
    assert (first / "saved_model.pb").exists() and (second / "saved_model.pb").exists()


STOPPED = {
    "while it is written": (serving, "_write"),
    "before the warm-up": (tf.io.TFRecordWriter, "__init__"),
    "before the configuration": (pathlib.Path, "write_text"),
    "before it has its number": (pathlib.Path, "rename"),
}
FULL = OSError(28, "No space left on device")


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("while it is written", KeyboardInterrupt()),
        ("while it is written", FULL),
        ("before the warm-up", FULL),
        ("before the configuration", FULL),
        ("before it has its number", KeyboardInterrupt()),
    ],
)
def test_an_export_that_is_stopped_leaves_nothing(
    where: str, error: BaseException, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, folder = tiny(), tmp_path / "any"
    folder.mkdir()
    owner, name = STOPPED[where]
    real = getattr(owner, name)

    def stop(*args: object, **settings: object) -> None:
        if where == "while it is written":
            real(*args, **settings)
        raise error

    content = pictures.encoded(pictures.picture(0).resize((8, 8)))
    monkeypatch.setattr(owner, name, stop)
    words = r"any \(No space left on device\).*disk with room" if isinstance(error, OSError) else None
    with pytest.raises(OSError if words else KeyboardInterrupt, match=words):
        serving.export_savedmodel(model, folder, ["a", "b", "c"], warm_up=[content])
    assert not any(path for path in folder.iterdir() if path.name != "batching.config")


def test_a_folder_that_cannot_be_written_says_so(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "file", tmp_path / "file" / "model"):
        with pytest.raises(OSError, match=r"cannot be written to .* Choose a folder"):
            serving.export_savedmodel(tiny(), place, ["a", "b", "c"])
    with pytest.raises(ValueError, match="cannot be a model's name"):
        serving.export_savedmodel(tiny(), tmp_path / "a:b", ["a", "b", "c"])
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_killed_exports_have_left_goes(tmp_path: pathlib.Path) -> None:
    for name in (".writing-old", ".writing-new"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / ".writing-old", (0, 0))
    serving.export_savedmodel(tiny(), tmp_path, ["a", "b", "c"])
    assert {path.name for path in tmp_path.iterdir()} == {"1", ".writing-new", "batching.config"}


def test_commands_are_the_real_ones(tmp_path: pathlib.Path) -> None:
    words = serving.commands(tmp_path / "digits", rest=1, grpc=2, batching=True)
    assert words["docker"][:2] == ["docker", "run"] and "127.0.0.1:1:8501" in words["docker"]
    assert f"{tmp_path}/digits:/models/digits:ro" in words["docker"]
    assert words["docker"][-1] == "--batching_parameters_file=/models/digits/batching.config"
    assert words["tensorflow_model_server"][1:] == [
        "--rest_api_port=1", "--port=2", "--model_name=digits", f"--model_base_path={tmp_path}/digits",
        "--enable_batching=true", f"--batching_parameters_file={tmp_path}/digits/batching.config",
    ]  # fmt: skip
    plain = serving.commands(tmp_path / "digits")
    assert not any("batching" in word for command in plain.values() for word in command)


@pytest.mark.network
def test_photos_have_the_same_answers_but_for_rounding(tmp_path: pathlib.Path) -> None:
    import tensorflow_datasets as tfds

    builder = tfds.builder("tf_flowers")
    stream = builder.as_dataset(split="train[:64]", decoders={"image": tfds.decode.SkipDecoding()})
    contents = [example["image"].numpy() for example in stream]
    model = classifier.build("MobileNetV2", builder.info.features["label"].names, alpha=0.35)
    kernel, bias = model.get_layer("logits").get_weights()
    kernel = np.random.default_rng(0).normal(size=kernel.shape, scale=0.05)
    model.get_layer("logits").set_weights([kernel, bias])
    size = model.input_shape[1:3]
    version = serving.export_savedmodel(model, tmp_path / "flowers", builder.info.features["label"].names)
    loaded = tf.saved_model.load(str(version))
    images = np.stack([photos.read(content, size) for content in contents]).astype("float32")
    expected = evaluation.to_probabilities(model, model.predict(images, verbose=0))
    of_pixels = loaded.signatures["serving_default"](image=tf.constant(images))["probabilities"].numpy()
    of_files = loaded.signatures["encoded"](image=tf.constant(contents))["probabilities"].numpy()
    off = np.abs(np.stack([decoding.decode(tf.constant(content), size) for content in contents]) - images)
    skew = np.abs(of_files - of_pixels).max(axis=-1)
    print(
        f"\n{len(contents)} photos, MobileNetV2 0.35: of all numbers {(off > 0).mean():.2%} differ, by "
        f"{off.max():.0f} at most; probabilities by {np.median(skew):.1e} (median), {skew.max():.1e} (most)"
    )
    assert np.allclose(of_pixels, expected, atol=1e-5)
    assert off.mean() < 0.1 and np.median(skew) < 1e-3 and skew.max() < 0.05
    assert (of_files.argmax(axis=-1) == of_pixels.argmax(axis=-1)).mean() > 0.98
