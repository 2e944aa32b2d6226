"""Activations on disk: found again only by what they were computed from, whole, and safe between programs."""

import functools
import os
import pathlib
import resource
import signal
import subprocess
import sys
import textwrap
import threading
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from finetune_lib import activation_cache, augmentation, classifier, data, freezing, store
from finetune_lib.activation_cache import Cache, NoRoom

layers = keras.layers
COUNT, BATCH = 20, 8
TESTS = pathlib.Path(__file__).parent


@functools.cache
def pixels() -> np.ndarray:
    """Some wild digits, float32 ``(20, 32, 32, 3)``."""
    digits = data.load("digits_wild", labels_per_class=2)
    return np.stack([image for image, _ in digits.train.as_numpy_iterator()]).astype("float32")


def stream(images: np.ndarray | None = None) -> tf.data.Dataset:
    return tf.data.Dataset.from_tensor_slices(pixels() if images is None else images)


def glyphnet(**options) -> keras.Model:
    """GlyphNet's frozen part: up to the pooling before the head."""
    model = classifier.build("GlyphNet", [str(digit) for digit in range(10)], **options)
    return freezing.split(freezing.freeze(model))[0]


prefix_of_all = functools.cache(glyphnet)  # for the tests that leave it as it is


def run(folder: pathlib.Path, prefix: keras.Model | None = None, images=None, **options):
    """``stored`` with defaults. Options of Cache are told from its own by their name."""
    settings = {name: options.pop(name) for name in list(options) if name in Cache.__dataclass_fields__}
    options = {"count": COUNT, "batch_size": BATCH} | options
    examples = (stream() if images is None else images).map(lambda image: (image, 0))
    cache = Cache(folder, **settings)
    return activation_cache.stored(prefix or prefix_of_all(), examples, cache=cache, **options)[0]


def expected(prefix: keras.Model, images: np.ndarray | None = None) -> list[np.ndarray]:
    images = pixels() if images is None else images
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    results = [keras.tree.flatten(prefix(batch, training=False)) for batch in batches]
    return [np.concatenate([x.numpy() for x in parts]) for parts in zip(*results, strict=True)]


def right(stored, prefix: keras.Model | None = None, images: np.ndarray | None = None) -> bool:
    """Whether the rows are what the prefix gives, bit for bit."""
    wanted = expected(prefix or prefix_of_all(), images)
    found = stored.rows(np.arange(stored.count))
    return all(
        x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
        for x, y in zip(found, wanted, strict=True)
    )


def names(folder: pathlib.Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# What is stored


def test_rows_are_what_the_prefix_gives_bit_for_bit(tmp_path):
    seen = []
    first = run(tmp_path, progress=seen.append)
    assert not first.was_there and seen == [8, 8, 4]
    again = run(tmp_path, progress=seen.append)
    assert again.was_there and seen == [8, 8, 4], "a hit computes nothing"
    assert first.key == again.key and names(tmp_path) == {first.key}
    assert right(first) and right(again)
    order = np.array([19, 3, 3, 0])
    (some,) = again.rows(order)
    assert some.tobytes() == expected(prefix_of_all())[0][order].tobytes()
    assert again.shapes == ((128,),) and again.dtypes == (np.dtype("float32"),) and again.count == COUNT
    needed = activation_cache.needed_bytes(prefix_of_all(), COUNT)
    assert first.bytes == needed == COUNT * 128 * 4
    with pytest.raises(IndexError):
        again.rows(np.array([COUNT]))
    again.close()
    with pytest.raises(ValueError, match="closed"):
        again.rows(order)


def test_float16_is_half_as_large_and_near(tmp_path):
    stored = run(tmp_path, storage="float16")
    (exact,), (found,) = expected(prefix_of_all()), stored.rows(np.arange(COUNT))
    assert found.dtype == np.float32 == stored.dtypes[0]
    assert found.tobytes() == exact.astype("float16").astype("float32").tobytes()
    assert stored.bytes == COUNT * 128 * 2 == activation_cache.needed_bytes(prefix_of_all(), COUNT, "float16")


def test_float16_refuses_what_it_cannot_hold(tmp_path):
    image = keras.Input((32, 32, 3))
    large = keras.Model(image, layers.Rescaling(1000.0)(image))
    with pytest.raises(OverflowError, match=r"2\.5\de\+05, but float16 ends at 65504"):
        run(tmp_path, large, storage="float16")
    assert not names(tmp_path)
    assert right(run(tmp_path, large), large)


def test_bfloat16_is_near_and_leaves_the_prefix_alone(tmp_path):
    prefix = glyphnet()
    stored = run(tmp_path, prefix, prefix_dtype="bfloat16")
    (exact,), (found,) = expected(prefix), stored.rows(np.arange(COUNT))
    error = np.abs(found - exact).max() / np.abs(exact).max()
    assert 1e-5 < error < 0.03 and found.dtype == np.float32
    assert {layer.dtype_policy.name for layer in prefix.layers} == {"float32"}
    assert right(run(tmp_path, prefix), prefix), "under another key"
    assert len(activation_cache.entries(tmp_path)) == 2


def test_bfloat16_reaches_nested_layers_and_copies_their_state(tmp_path, monkeypatch):
    normalize = layers.Normalization(name="normalize")
    normalize.adapt(pixels())
    image = keras.Input((32, 32, 3))
    inner = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3), layers.BatchNormalization()])
    twice = layers.Dense(4, activation="tanh")
    x = layers.TimeDistributed(layers.Conv1D(4, 3))(inner(normalize(image)))
    x = twice(twice(x)) * np.arange(4, dtype="float32")
    prefix = keras.Model(image, keras.ops.flip(x, axis=1))
    for weight in prefix.get_layer(inner.name).layers[1].weights:
        weight.assign(weight + 0.5)
    policies = set()
    copy = activation_cache._in_bfloat16(prefix)
    for layer in copy._flatten_layers():
        if layer.weights and not isinstance(layer, keras.Model):
            policies.add(layer.dtype_policy.name)
    assert policies == {"mixed_bfloat16"}
    assert [weight.dtype for weight in copy.weights] == [weight.dtype for weight in prefix.weights]
    (exact,), (found,) = (
        expected(prefix),
        run(tmp_path, prefix, prefix_dtype="bfloat16").rows(np.arange(COUNT)),
    )
    assert 1e-5 < np.abs(found - exact).max() / np.abs(exact).max() < 0.05
    # The same copy, in float32: nothing of the layers' state is missing.
    monkeypatch.setattr(activation_cache, "_with_bfloat16", lambda config: config)
    activation_cache._compiled.cache_clear()
    assert right(run(tmp_path / "exact", prefix, prefix_dtype="bfloat16"), prefix)


def test_several_tensors_cross(tmp_path):
    image = keras.Input((32, 32, 3), name="image")
    start = layers.Conv2D(4, 3, padding="same", name="start")(image)
    wide = layers.Conv2D(8, 3, padding="same", name="wide")(start)
    long = layers.Conv2D(8, 1, name="long")(start)
    model = keras.Model(image, layers.GlobalAveragePooling2D()(layers.add([wide, long])))
    prefix, suffix = freezing.split(freezing.unfreeze_from(model, "long"))
    assert len(prefix.outputs) == 2
    stored = run(tmp_path, prefix)
    assert right(stored, prefix) and right(run(tmp_path, prefix), prefix)
    assert set(stored.shapes) == {(32, 32, 4), (32, 32, 8)}
    assert stored.bytes == activation_cache.needed_bytes(prefix, COUNT) == COUNT * 32 * 32 * 12 * 4
    batch = np.arange(BATCH)
    assert suffix(stored.rows(batch)).numpy().tobytes() == model(pixels()[:BATCH]).numpy().tobytes()
    (entry,) = activation_cache.entries(tmp_path)
    assert entry.description.endswith("20 images 32x32 -> (32, 32, 4) float32, (32, 32, 8) float32")


def test_a_tensor_that_is_no_small_float_is_kept_as_it_is(tmp_path):
    image = keras.Input((32, 32, 3))
    strongest = keras.ops.argmax(layers.GlobalAveragePooling2D()(image), axis=-1)
    precise = layers.GlobalAveragePooling2D(dtype="float64")(image)
    half = layers.GlobalMaxPooling2D(dtype="float16")(image)
    prefix = keras.Model(image, [strongest, precise, half])
    stored = run(tmp_path, prefix)
    assert [dtype.name for dtype in stored.dtypes] == [prefix.outputs[0].dtype, "float64", "float32"]
    for found, wanted in zip(stored.rows(np.arange(COUNT)), expected(prefix), strict=True):
        assert np.array_equal(found, wanted)


def test_a_prefix_for_images_of_any_size(tmp_path):
    image = keras.Input((None, None, 3))
    prefix = keras.Model(image, layers.Conv2D(4, 3)(image))
    assert activation_cache.needed_bytes(prefix, 2, "float16", image_size=(10, 12)) == 2 * 8 * 10 * 4 * 2
    with pytest.raises(ValueError, match=r"say image_size=\(height, width\)"):
        activation_cache.needed_bytes(prefix, 2)
    large, small = pixels(), pixels()[:, :16]
    stored = run(tmp_path, prefix), run(tmp_path, prefix, stream(small))
    assert right(stored[0], prefix, large) and right(stored[1], prefix, small)
    assert stored[0].key != stored[1].key


def test_images_that_are_missing_too_many_or_of_any_size(tmp_path):
    for count in (COUNT - 1, COUNT + 1):
        with pytest.raises(ValueError, match=f"{count} images were announced, but (more|20) came"):
            run(tmp_path, count=count)
    with pytest.raises(ValueError, match="There must be images"):
        run(tmp_path, count=0)
    unknown = tf.data.Dataset.from_generator(
        lambda: iter(pixels()), output_signature=tf.TensorSpec((None, None, 3), tf.float32)
    )
    with pytest.raises(ValueError, match="of one known size"):
        run(tmp_path, images=unknown)
    assert not names(tmp_path)
    for wrong in ({"storage": "int8"}, {"prefix_dtype": "float16"}):
        with pytest.raises(ValueError, match="one of float32"):
            Cache(**wrong)


# The key


def rename(prefix: keras.Model) -> keras.Model:
    def renamed(layer):
        return type(layer).from_config(layer.get_config() | {"name": f"other_{layer.name}"})

    copy = keras.models.clone_model(prefix, clone_function=renamed)
    copy.set_weights(prefix.get_weights())
    return copy


def test_names_trainability_and_an_earlier_model_leave_the_key_alone(tmp_path):
    prefix = glyphnet()
    key = run(tmp_path, prefix).key
    other = rename(prefix)
    assert {x.name for x in prefix.layers[1:]}.isdisjoint(x.name for x in other.layers[1:])
    for same in (glyphnet(), other, keras.models.clone_model(prefix, clone_function=lambda layer: layer)):
        stored = run(tmp_path, same)
        assert stored.was_there and stored.key == key
    prefix.trainable = not prefix.trainable
    assert run(tmp_path, prefix).key == key


def unnamed(units: int = 4) -> keras.Model:
    """Layers without names, which Keras then numbers through the session."""
    keras.utils.set_random_seed(1)
    image = keras.Input((32, 32, 3))
    inner = keras.Sequential([keras.Input((32, 32, 3)), layers.Conv2D(4, 3), layers.Dropout(0.1)])
    x = layers.TimeDistributed(layers.Conv1D(4, 3))(inner(image))
    return keras.Model(image, layers.Dense(units)(x)[..., ::-1])


def test_the_same_network_built_twice_has_one_key(tmp_path):
    first, second = unnamed(), unnamed()
    assert first.layers[-1].name != second.layers[-1].name
    assert run(tmp_path, first).key == run(tmp_path, second).key != run(tmp_path, unnamed(units=5)).key


def test_one_bit_of_one_weight(tmp_path):
    prefix = glyphnet()
    key = run(tmp_path, prefix).key
    for weight in (prefix.weights[0], prefix.weights[-1]):
        before = weight.numpy()
        after = before.copy()
        after.reshape(-1).view(np.uint32)[-1] ^= 1
        weight.assign(after)
        changed = run(tmp_path, prefix)
        assert changed.key != key and right(changed, prefix)
        weight.assign(before)
        assert run(tmp_path, prefix).key == key


@functools.cache
def preprocessed(kind: str, number: float) -> keras.Model:
    image = keras.Input((32, 32, 3))
    centre = np.array([number, 116.8, 103.9], "float32")
    x = {
        "layer": lambda: layers.Rescaling(1.0, offset=centre.tolist())(image),
        "array": lambda: image - centre,
        "tensor": lambda: image - tf.constant(centre),
        "argument": lambda: keras.ops.clip(image, 0.0, number),
        "slice": lambda: image[:, : int(number) - 100],
        "axis": lambda: keras.ops.flip(image, axis=1 if number > 123.68 else 2),
    }[kind]()
    return keras.Model(image, x)


@pytest.mark.parametrize("kind", ["layer", "array", "tensor", "argument", "slice", "axis"])
def test_a_number_of_the_preprocessing(tmp_path, kind):
    first, second = (run(tmp_path, preprocessed(kind, number)) for number in (123.68, 124.68))
    assert first.key != second.key and not second.was_there
    assert right(first, preprocessed(kind, 123.68)) and right(second, preprocessed(kind, 124.68))


def test_statistics_that_copied_weights_do_not_bring_along(tmp_path):
    normalize = layers.Normalization(name="normalize")
    normalize.adapt(pixels())
    model = keras.Sequential([keras.Input((32, 32, 3)), normalize])
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())  # its mean and variance are still 0 and 1
    run(tmp_path, copy)
    assert not run(tmp_path, model).was_there


def test_the_wiring(tmp_path):
    def build(how: str) -> keras.Model:
        image = keras.Input((32, 32, 3))
        a, b = layers.Dense(3, kernel_initializer="ones"), layers.Dense(3, kernel_initializer="ones")
        x = a(image)
        y = a(x) if how == "shared" else b(x)
        return keras.Model(
            image, {"less": x - y, "more": y - x, "two": [x, y], "owt": [y, x]}.get(how, x - y)
        )

    assert len({run(tmp_path, build(how)).key for how in ("less", "more", "two", "owt", "shared")}) == 5


def test_the_image_size(tmp_path):
    small = glyphnet(image_size=(16, 16))
    assert small.count_params() == prefix_of_all().count_params()
    halved = stream(pixels()[:, ::2, ::2])
    assert run(tmp_path).key != run(tmp_path, small, halved).key


def test_a_pixel_the_order_and_the_number_of_images(tmp_path):
    images, changed = pixels(), pixels().copy()
    changed[7, 5, 5, 2] += 1
    turned = images[::-1].copy()
    keys = [run(tmp_path, images=stream(each)).key for each in (images, changed, turned)]
    keys.append(run(tmp_path, images=stream(images[:-1]), count=COUNT - 1).key)
    assert len(set(keys)) == 4
    assert right(run(tmp_path, images=stream(turned)), images=turned)


def test_the_seed_of_a_view(tmp_path):
    def view(seed: int) -> tf.data.Dataset:
        return (
            stream()
            .enumerate()
            .map(
                lambda index, image: augmentation.drawings(image, tf.stack([seed, tf.cast(index, tf.int32)]))
            )
        )

    first, second, again = (run(tmp_path, images=view(seed)) for seed in (0, 1, 0))
    assert first.key == again.key != second.key and again.was_there
    assert right(second, images=np.stack(list(view(1).as_numpy_iterator())))


def test_images_that_differ_at_each_reading_are_never_found(tmp_path):
    readings = []

    def read():
        readings.append(1)
        yield from pixels() + len(readings)

    images = tf.data.Dataset.from_generator(read, output_signature=tf.TensorSpec((32, 32, 3), tf.float32))
    for number in (1, 3):  # read again in between, to look the key up
        stored = run(tmp_path, images=images)
        assert not stored.was_there and right(stored, images=pixels() + number)
        assert run(tmp_path, images=stream(pixels() + number)).was_there


@pytest.mark.parametrize(
    "change",
    [{"storage": "float16"}, {"prefix_dtype": "bfloat16"}, {"batch_size": BATCH + 1}],
)
def test_storage_prefix_dtype_and_batch_size(tmp_path, change):
    assert run(tmp_path).key != run(tmp_path, **change).key


@pytest.mark.parametrize("name", ["tensorflow", "keras"])
def test_versions(tmp_path, name, monkeypatch):
    key = run(tmp_path).key
    monkeypatch.setattr(sys.modules[name], "__version__", "2.99.1")
    assert run(tmp_path).key != key


def test_devices_and_how_they_compute(tmp_path, monkeypatch):
    keys = [run(tmp_path).key]
    monkeypatch.setattr(activation_cache.environment, "gpu_names", lambda: ["Tesla T4"])
    keys.append(run(tmp_path).key)
    monkeypatch.setattr(activation_cache.environment, "processor", lambda: "x86_64 flags: avx2")
    keys.append(run(tmp_path).key)
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    keys.append(run(tmp_path).key)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2, 3, 4}, raising=False)
    keys.append(run(tmp_path).key)
    assert len(set(keys)) == 5


# Code that is not Keras'


LAYER = """
    import keras

    FACTOR = 2.0

    @keras.saving.register_keras_serializable(package={package!r})
    class Scale(keras.layers.Layer):
        def call(self, x):
            return helper(x) * {factor}

    def helper(x):
        return x * FACTOR

    def activation(x):
        return {activation}
"""


def module(tmp_path, monkeypatch, name="own_layers", factor="3.0", activation="x + 1"):
    """Import a module anew that was just written, as after an edit."""
    source = textwrap.dedent(LAYER).format(factor=factor, activation=activation, package=name)
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop(name, None)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # its time stamp may miss a change
    return __import__(name)


def with_layer(layer: keras.layers.Layer) -> keras.Model:
    image = keras.Input((32, 32, 3))
    return keras.Model(image, layers.GlobalAveragePooling2D()(layer(image)))


def test_the_source_of_a_custom_layer(tmp_path, monkeypatch):
    def key(**changes) -> str:
        own = module(tmp_path, monkeypatch, **changes)
        stored = run(tmp_path / "cache", model := with_layer(own.Scale()))
        assert right(stored, model)
        return stored.key

    first, again, changed = key(), key(), key(factor="(3.0 + 0)")
    assert first == again != changed, "even where the results are the same"


def test_what_a_custom_layer_calls(tmp_path, monkeypatch):
    own = module(tmp_path, monkeypatch)
    model = with_layer(own.Scale())
    first = run(tmp_path / "cache", model)
    assert run(tmp_path / "cache", model).was_there
    monkeypatch.setattr(own, "FACTOR", 5.0)
    second = run(tmp_path / "cache", model)
    assert first.key != second.key and right(second, model)


def test_another_saved_program_under_the_same_path(tmp_path):
    stored = []
    for factor in (1.0, 2.0):
        program = tf.Module()
        signature = [tf.TensorSpec((None, 32, 32, 3))]
        program.serve = tf.function(lambda x, factor=factor: x * factor, input_signature=signature)
        tf.saved_model.save(program, tmp_path / "program")
        layer = keras.layers.TFSMLayer(tmp_path / "program", call_endpoint="serve", name="program")
        stored.append(run(tmp_path / "cache", with_layer(layer)))
    assert stored[0].key != stored[1].key


@pytest.mark.parametrize("kind", ["activation", "lambda layer", "wrapped"])
def test_functions_of_the_user(tmp_path, monkeypatch, kind):
    def key(activation: str) -> str:
        own = module(tmp_path, monkeypatch, activation=activation)
        layer = {
            "activation": lambda: layers.Activation(own.activation),
            "lambda layer": lambda: layers.Lambda(own.activation),
            "wrapped": lambda: layers.TimeDistributed(layers.Activation(own.activation)),
        }[kind]()
        return run(tmp_path / "cache", with_layer(layer)).key

    first, again, changed = key("x + 1"), key("x + 1"), key("x + 1.0")
    assert first != changed, "even where the results are the same"
    assert (first == again) == (kind != "wrapped"), "what cannot be read is never taken for the same"


def test_a_class_without_source_is_the_same_only_while_it_lives(tmp_path):
    def define() -> type:  # as in a notebook, where the class of a cell has no file
        space = {"__name__": "cell", "keras": keras}
        exec("class Twice(keras.layers.Layer):\n    def call(self, x):\n        return 2 * x", space)
        return space["Twice"]

    first, second = define(), define()
    keys = [run(tmp_path, with_layer(kind())).key for kind in (first, first, second)]
    assert keys[0] == keys[1] != keys[2]


# Killed, damaged, evicted, full


SCRIPT = """
import pathlib, sys, time
import numpy as np
import test_activation_cache as tests

folder, what = pathlib.Path(sys.argv[1]), sys.argv[2]

def meet(done):  # both programs are in the middle of writing before either goes on
    (folder / f"ready-{what}").touch()
    while len(list(folder.glob("ready-*"))) < 2:
        time.sleep(0.01)

def hang(done):
    print("writing", flush=True)
    time.sleep(600)

if what == "hang":
    tests.run(folder / "cache", progress=hang)
for images in (tests.pixels(), tests.pixels() + int(what)):  # the same in both programs; each its own
    stored = tests.run(folder / "cache", images=tests.stream(images), progress=meet)
    assert tests.right(stored, images=images)
    print(stored.key, stored.was_there)
"""


def program(folder: pathlib.Path, what: str) -> subprocess.Popen:
    paths = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    environ = os.environ | {"PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), what],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_leaves_nothing_that_is_trusted(tmp_path):
    killed = program(tmp_path, "hang")
    assert killed.stdout.readline() == "writing\n", killed.stderr.read()
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    folder = tmp_path / "cache"
    (left,) = folder.iterdir()
    assert left.name.startswith(".writing-") and (left / "0.bin").stat().st_size == BATCH * 128 * 4
    assert activation_cache.entries(folder) == []
    stored = run(folder)
    assert not stored.was_there and right(stored)
    assert left.exists(), "it might still be written"

    def age(seconds: float) -> None:
        for path in (left, *left.iterdir()):
            os.utime(path, (time.time() - seconds,) * 2)

    age(23 * 3600)
    assert run(folder).was_there and left.exists()
    age(25 * 3600)
    (left / "0.bin").touch()
    assert run(folder).was_there and left.exists(), "something was written just now"
    age(25 * 3600)
    assert run(folder).was_there and not left.exists()
    assert names(folder) == {stored.key}


def test_two_programs_at_once(tmp_path):
    running = [program(tmp_path, what) for what in ("1", "2")]
    outputs = [process.communicate(timeout=120) for process in running]
    assert [process.returncode for process in running] == [0, 0], outputs
    lines = [output.splitlines() for output, _ in outputs]
    assert lines[0][0] == lines[1][0] != lines[0][1] != lines[1][1]
    assert lines[0][0].endswith("False"), "both computed it"
    keys = {line.split()[0] for output in lines for line in output}
    assert names(tmp_path / "cache") == keys and len(keys) == 3
    mine = run(tmp_path / "cache")
    assert mine.was_there and right(mine), "a program finds what another one stored"


@pytest.mark.parametrize(
    "damage",
    [
        lambda entry: os.truncate(entry / "0.bin", 100),
        lambda entry: os.truncate(entry / "0.bin", COUNT * 128 * 4 + 1),
        lambda entry: (entry / "0.bin").unlink(),
        lambda entry: (entry / "entry.json").unlink(),
        lambda entry: (entry / "entry.json").write_text('{"key": '),
        lambda entry: (entry / "entry.json").write_bytes(b"\xff\x00"),
        lambda entry: (entry / "entry.json").write_text("[1, 2]"),
        lambda entry: (entry / "entry.json").write_text("7"),
        lambda entry: (entry / "entry.json").write_text("{}"),
        lambda entry: edit(entry, '"count": 20', '"count": 10'),
        lambda entry: edit(entry, '"<f4"', '"<f2"'),
        lambda entry: edit(entry, entry.name, entry.name[::-1]),
    ],
)
def test_a_damaged_entry_is_computed_anew(tmp_path, damage):
    key = run(tmp_path).key
    damage(tmp_path / key)
    assert len(activation_cache.entries(tmp_path)) == 1, "it can be listed all the same"
    stored = run(tmp_path)
    assert not stored.was_there and stored.key == key and right(stored)
    assert run(tmp_path).was_there and names(tmp_path) == {key}


def edit(entry: pathlib.Path, old: str, new: str) -> None:
    text = (entry / "entry.json").read_text()
    assert old in text
    (entry / "entry.json").write_text(text.replace(old, new))


def numbered(number: int) -> tf.data.Dataset:
    return stream(pixels() + number)


ENTRY_BYTES = COUNT * 128 * 4 + 1024  # with entry.json, and some air


def test_the_least_recently_used_goes_first(tmp_path):
    limit = int(2.5 * ENTRY_BYTES)
    first, second = (run(tmp_path, images=numbered(i), limit_bytes=limit) for i in (1, 2))
    for stored, hours in ((first, 2), (second, 1)):
        os.utime(tmp_path / stored.key / "entry.json", (time.time() - hours * 3600,) * 2)
    assert [entry.key for entry in activation_cache.entries(tmp_path)] == [first.key, second.key]
    assert run(tmp_path, images=numbered(1), limit_bytes=limit).was_there  # now the second is the oldest
    third = run(tmp_path, images=numbered(3), limit_bytes=limit)
    assert names(tmp_path) == {first.key, third.key}
    assert right(second, images=pixels() + 2), "it is still open"
    assert not run(tmp_path, images=numbered(2), limit_bytes=limit).was_there


def test_more_than_the_limit(tmp_path):
    kept = run(tmp_path, images=numbered(1)).key
    with pytest.raises(NoRoom, match=r"take 10\.00 KiB, but the cache's limit is 9\.96 KiB") as caught:
        run(tmp_path, limit_bytes=10_200)
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == {kept}, "nothing was removed in vain, and nothing is left behind"


def test_the_limit_holds_after_another_program_wrote(tmp_path):
    limit = int(1.5 * ENTRY_BYTES)
    others = []

    def meanwhile(done: int) -> None:
        if not others:
            others.append(run(tmp_path, images=numbered(1), limit_bytes=limit))

    mine = run(tmp_path, progress=meanwhile, limit_bytes=limit)
    assert names(tmp_path) == {mine.key} and right(mine) and right(others[0], images=pixels() + 1)


def test_an_entry_that_vanishes_between_its_name_and_its_opening(tmp_path, monkeypatch):
    opened = store._open

    def too_late(path, *args, **kwargs):
        store._remove(path)
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(store, "_open", too_late)
    with pytest.raises(NoRoom, match="Another run has removed"):
        run(tmp_path)
    assert not names(tmp_path)


def test_a_damaged_entry_that_appears_while_another_is_written(tmp_path):
    key = run(tmp_path).key
    activation_cache.clear(tmp_path)

    def meanwhile(done: int) -> None:
        (tmp_path / key).mkdir(exist_ok=True)
        (tmp_path / key / "0.bin").write_bytes(b"12345")

    stored = run(tmp_path, progress=meanwhile)
    assert names(tmp_path) == {key} and right(stored) and run(tmp_path).was_there


def test_a_miss_removes_nothing(tmp_path, monkeypatch):
    layout = store.Layout(1, ((1,),), (np.dtype("float32"),))
    removed = []
    monkeypatch.setattr(store, "_remove", removed.append)
    assert store.find(tmp_path / "absent", layout) is None
    assert not removed, "another program may have stored it in the meantime"


def test_a_full_disk(tmp_path):
    kept = run(tmp_path, images=numbered(1)).key
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))  # a part of the last batch can be written
    try:
        with pytest.raises(
            NoRoom, match=r"cannot be stored in .*: File too large\. Free some disk"
        ) as caught:
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert names(tmp_path) == {kept}
    assert right(run(tmp_path))


def test_a_disk_known_to_be_too_small(tmp_path, monkeypatch):
    usage = type(store.shutil.disk_usage(tmp_path))
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: usage(10**6, 10**6 - 9000, 9000))
    computed = []
    with pytest.raises(NoRoom, match=r"take 10\.00 KiB, but only 8\.79 KiB are free in"):
        run(tmp_path, progress=computed.append)
    assert not computed and not names(tmp_path)
    monkeypatch.undo()
    old = run(tmp_path, images=numbered(1)).key
    monkeypatch.setattr(store.shutil, "disk_usage", lambda folder: usage(10**6, 10**6 - 9000, 9000))
    assert names(tmp_path) == {old} != {run(tmp_path).key}
    assert old not in names(tmp_path), "older entries make way, as for the limit"


def test_what_cannot_be_a_folder(tmp_path, monkeypatch):
    (tmp_path / "home").write_text("a file")
    with pytest.raises(NoRoom, match=r"cannot be stored in .*: Not a directory\..* FINETUNE_CACHE"):
        run(tmp_path / "home" / "cache")
    with pytest.raises(NoRoom, match=r"cannot be stored in .*: File exists"):
        run(tmp_path / "home")
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "home" / "cache"))
    with pytest.raises(NoRoom):
        run(None)
    assert activation_cache.entries(tmp_path / "home" / "cache") == []
    assert activation_cache.clear(tmp_path / "home") == 0


def test_a_folder_that_can_only_be_read(tmp_path, monkeypatch):
    if os.geteuid():
        key = run(tmp_path).key
        (tmp_path / key).chmod(0o500)
        tmp_path.chmod(0o500)
    else:  # nothing stops the administrator
        key = run(tmp_path).key

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        for function in ("mkdir", "rename"):
            monkeypatch.setattr(pathlib.Path, function, refuse)
        monkeypatch.setattr(os, "utime", refuse)
        monkeypatch.setattr(store, "prepare", lambda folder: None)
    try:
        assert run(tmp_path).was_there, "what is there can be used"
        with pytest.raises(NoRoom, match="Permission denied"):
            run(tmp_path, images=numbered(1))
    finally:
        monkeypatch.undo()
        tmp_path.chmod(0o700)
        (tmp_path / key).chmod(0o700)
    assert names(tmp_path) == {key}


def test_an_error_of_the_images_is_theirs(tmp_path):
    def read():
        yield from pixels()[:BATCH]
        raise OSError("a photo cannot be read")

    images = tf.data.Dataset.from_generator(read, output_signature=tf.TensorSpec((32, 32, 3), tf.float32))
    with pytest.raises(tf.errors.OpError, match="a photo cannot be read"):
        run(tmp_path, images=images)
    assert not names(tmp_path)


def test_ctrl_c_leaves_nothing_behind(tmp_path):
    def interrupt(done: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, progress=interrupt)
    assert not names(tmp_path)


# Reading, listing, clearing


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="Linux tells its memory this way")
def test_reading_takes_no_memory(tmp_path):
    def resident() -> int:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    count, width = 1600, 32 * 1024  # 200 MiB
    layout = store.Layout(count, ((width,),), (np.dtype("float32"),))
    block = np.ones((100, width), "float32")
    with store.Writer(tmp_path, layout) as writer:
        for number in range(0, count, 100):
            writer.append([block * number])
        stored = writer.publish("0" * 32 + "-" + "0" * 32, "large")
    del block
    generator, most = np.random.default_rng(0), 0
    before = resident()
    for _ in range(2):
        order = generator.permutation(count)
        for start in range(0, count, 32):
            (rows,) = stored.rows(order[start : start + 32])
            assert np.array_equal(rows[:, -1], order[start : start + 32] // 100 * 100)
            most = max(most, resident() - before)
    assert most < 24 * 2**20, f"{most / 2**20:.0f} MiB"


def test_reading_from_several_threads(tmp_path):
    stored, wanted, wrong = run(tmp_path), expected(prefix_of_all())[0], []

    def read(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(200):
            order = generator.integers(0, COUNT, 8)
            if stored.rows(order)[0].tobytes() != wanted[order].tobytes():
                wrong.append(seed)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_entries_and_clear(tmp_path):
    assert (
        activation_cache.entries(tmp_path / "nowhere") == []
        and activation_cache.clear(tmp_path / "nowhere") == 0
    )
    one, two = run(tmp_path), run(tmp_path, storage="float16")
    mine = tmp_path / "my notes.txt"
    mine.write_text("not ours")
    (tmp_path / "photos-2024").mkdir()
    first, second = activation_cache.entries(tmp_path)
    assert (first.key, second.key) == (one.key, two.key)
    assert first.description == "GlyphNet_prefix: 20 images 32x32 -> (128,) float32"
    assert second.description.endswith("-> (128,) float16")
    assert one.bytes < first.bytes < one.bytes + 1024
    assert abs(first.last_used.timestamp() - time.time()) < 60 and first.last_used.tzinfo
    live, dead = tmp_path / ".writing-1", tmp_path / ".writing-2"
    for path in (live, dead):
        path.mkdir()
        (path / "0.bin").write_bytes(b"12345")
    for path in (dead / "0.bin", dead):
        os.utime(path, (time.time() - 3600,) * 2)
    assert activation_cache.clear(tmp_path) == first.bytes + second.bytes + 5
    assert names(tmp_path) == {mine.name, "photos-2024", live.name}
    assert right(one), "an open entry can be read after it was cleared"


def test_where_the_cache_is(tmp_path, monkeypatch):
    monkeypatch.setenv("FINETUNE_CACHE", str(tmp_path / "mine"))
    assert activation_cache.default_folder() == tmp_path / "mine"
    stored = run(None)
    assert names(tmp_path / "mine") == {stored.key}
    monkeypatch.setenv("FINETUNE_CACHE", "~/mine")
    assert activation_cache.default_folder() == pathlib.Path.home() / "mine"
    monkeypatch.setenv("FINETUNE_CACHE", "")
    assert activation_cache.default_folder().parts[-2:] == ("finetune_lib", "activations")
    assert "~" not in str(activation_cache.default_folder())


def test_sizes_in_words():
    words = [activation_cache.in_words(size) for size in (0, 999, 1024, 3 * 2**19, 4 * 2**30)]
    assert words == ["0 bytes", "999 bytes", "1.00 KiB", "1.50 MiB", "4.00 GiB"]
