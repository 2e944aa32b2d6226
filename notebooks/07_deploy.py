# %% [markdown]
# # Deploy: the model leaves the notebook, and its answers stay the same
#
# In this notebook, we turn a fine-tuned model into a server and into a cloud function, prove at every hop that the answers are still those of the notebook, and learn to notice when they are no longer worth much.
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/07_deploy.ipynb)
#
# **Time:** about 90 minutes to read and try: the code runs for 1 to 2 minutes with the digits and 4 to 6 with photos on a CPU with two cores, an estimated 3 minutes on a T4.
#
# ## Learning objectives
#
# After this notebook, you will be able to
#
# - name what a client must know besides the weights, and build it **into** what you deploy;
# - export a model for **TensorFlow Serving**, and talk to a server by REST and by gRPC;
# - replace a model **while requests run**, and go back;
# - say what **batching** gains, what it costs, and whom it can hurt;
# - build a function for **AWS Lambda** that needs no TensorFlow, and refuses bad input politely;
# - work out from your own measurements whether a server or a function is **cheaper**;
# - load **strangers' models** safely, or not at all;
# - **watch** a deployed model without labels, with a known rate of false alarms.
#
# It builds on [lesson 05](05_fine_tune.ipynb), whose model it deploys, and on [lesson 06](06_evaluate.ipynb) (calibration, shift).
#
# **Terms of this lesson**, in English and 中文: [training/serving skew](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#training-serving-skew), [SavedModel](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#savedmodel), [signature](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#signature), [REST](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#rest), [gRPC](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#grpc), [batching](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#batching), [throughput](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#throughput), [status code](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#status-code), [decompression bomb](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#decompression-bomb), [cloud function](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#cloud-function), [cold start](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#cold-start), [monitoring](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#monitoring), [false alarm](https://github.com/OWNER-PLACEHOLDER/finetune-course/blob/v0.1.0/notebooks/glossary.md#false-alarm).

# %% tags=["nbval-ignore-output"]
# On Colab: install the course's library, change nothing that is preinstalled. Everywhere: say what runs here.
import importlib.metadata
import sys

VERSION = "0.1.0"
PACKAGE = f"finetune-lib @ git+https://github.com/OWNER-PLACEHOLDER/finetune-course@v{VERSION}"
installed = [package.version for package in importlib.metadata.distributions(name="finetune-lib")]
if "google.colab" in sys.modules and VERSION not in installed:
    print("Installing, about half a minute ...")
    # %pip list --format=freeze --exclude finetune-lib --exclude tensorflow-metadata > /tmp/constraints.txt
    # %pip install -q -c /tmp/constraints.txt "{PACKAGE}"

from finetune_lib import environment

environment.report()

# %% [markdown]
# ## The model, and what a client sends
#
# As ever: `auto` takes photos and an ImageNet network if they can be had here, otherwise the digits and GlyphNet. Where the text speaks of digits and of writers, read flowers if you took those, and images.

# %%
# @title Which data, and which network? { display-mode: "form" }
data_name = "auto"  # @param ["auto", "digits_wild", "tf_flowers", "cats_vs_dogs"] {allow-input: true}
backbone_name = "auto"  # @param ["auto", "GlyphNet", "MobileNetV2", "EfficientNetV2B0", "VGG16"]

from finetune_lib import classifier

data_name, backbone_name = classifier.choose(data_name, backbone_name)
is_default = (data_name, backbone_name) == ("digits_wild", "GlyphNet")

# %% [markdown]
# `handover.receive` opens the model that you saved in lesson 05. If there is none, it trains one by the same recipe, a quarter of a minute with the digits.

# %% tags=["nbval-ignore-output"]
from finetune_lib import handover

received = handover.receive(data_name, backbone_name)
model, dataset, names = received.model, received.dataset, received.dataset.class_names
weights_at_the_start = model.get_weights()
print(f"{dataset}\n{received.origin}")

# %% [markdown]
# A client has no arrays. It has **files**. So we write images as PNG files, which lose nothing: whoever decodes one gets back the very pixels. Each *hop* of this lesson (each place where the model runs or a request passes: the exported file, the server, the function) gets the same files, and must answer what Keras answers here to the same pixels. We work with validation images. The test files wait until sections 10 and 11, where nothing is decided by them.

# %%
import io

import numpy as np
import PIL.Image


def as_file(image, kind="png", **options):
    """The contents of an image file; PNG keeps every pixel."""
    buffer = io.BytesIO()
    PIL.Image.fromarray(image).save(buffer, format=kind, **options)
    return buffer.getvalue()


def some_of(part):
    """Images uint8 of a part, and their labels; of photos, not more than a CPU is quick with."""
    pairs = list(part.take(1000 if is_default else 200).as_numpy_iterator())
    return np.stack([image for image, _ in pairs]), np.array([label for _, label in pairs])


images, labels = some_of(dataset.validation)
files = [as_file(image) for image in images]
for image, file in zip(images, files, strict=True):
    assert np.array_equal(np.asarray(PIL.Image.open(io.BytesIO(file))), image)
print("every file holds exactly the pixels: True")


# %% tags=["nbval-ignore-output"]
from finetune_lib import evaluation


def ask_keras(pixels):
    """Probabilities (images, classes) by the model in this notebook."""
    outputs = model.predict(pixels.astype("float32"), batch_size=32, verbose=0)
    return evaluation.to_probabilities(model, outputs)


reference = ask_keras(images)
print(f"{len(files)} files, {np.mean([len(file) for file in files]):,.0f} bytes each on average")
print(f"Keras is right on {np.mean(reference.argmax(axis=1) == labels):.1%} of them")

# %% [markdown]
# ## 1. What a server needs besides weights
#
# Suppose that you gave somebody only the network: numbers in, numbers out. Your colleague writes the client. Four ways to write it, each one with a reason:
#
# - pixels from **0 to 1**, "as networks like them";
# - pixels from **-1 to 1**, "as MobileNet likes them";
# - colours as **BGR**, as OpenCV reads them;
# - the **names in another order**: the classes' folders sorted by the alphabet. (For the digits: folders called *zero*, *one*, *two* ..., the first of which is then *eight*.)
#
# **Guess:** which of these raises an error? What becomes of the accuracy, and of the mean confidence?

# %% tags=["nbval-ignore-output"]
from finetune_lib import plots

written = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
folders = written if is_default else list(names)
in_order = np.argsort(folders)
skewed = {
    "as in training": reference,
    "0 to 1": ask_keras(images / 255),
    "-1 to 1": ask_keras(images / 127.5 - 1),
    "BGR": ask_keras(images[..., ::-1]),
}
said = {name: answers.argmax(axis=1) for name, answers in skewed.items()}
said["names sorted"] = in_order[said["as in training"]]
skewed["names sorted"] = reference
right = {name: 100 * np.mean(answer == labels) for name, answer in said.items()}
rows = [[name, f"{right[name]:.1f}", f"{100 * skewed[name].max(axis=1).mean():.0f}"] for name in said]
print(plots.table(["client", "accuracy (%)", "mean confidence (%)"], rows))

# %%
if is_default:
    assert right["as in training"] > 80
    assert max(right["0 to 1"], right["-1 to 1"], right["names sorted"]) < 20
    assert np.array_equal(skewed["BGR"], reference)
    print("three of the mistakes leave less than 20% right, and none raised an error: True")
    print("BGR changes nothing, since the digits are grey: True")

# %% [markdown]
# No error anywhere. The shapes fit, the types fit, ten probabilities come back and sum to one. This is called **training/serving skew**, and Google's [*Rules of Machine Learning*](https://developers.google.com/machine-learning/guides/rules-of-ml) give it a chapter (rules 29 to 37).
#
# Two lines deserve a second look. With the names in the wrong order the confidence is as high as ever: nothing about the *numbers* is wrong. And BGR does no harm to grey digits. So a test with digits would have passed, and the first coloured image would have been wrong: a test must contain what could go wrong.
#
# The remedy is not a better manual. What can be got wrong goes **into** what we deploy: the pixel range (our model takes raw 0 to 255, and its own first layers do the rest), the decoding of files, the softmax, and the class names, under a name for each input and output.
#
# ## 2. A SavedModel: the model and its contract
#
# TensorFlow Serving takes a **SavedModel**: a folder with the computation as a graph, without any Python. `serving.export_savedmodel` writes one with two **signatures**, that is, two ways to call it:
#
# - `serving_default` takes pixels, float32, 0 to 255;
# - `encoded` takes whole image files, JPEG or PNG, as bytes. Decoding, cutting and scaling are part of the graph.
#
# Both return `probabilities` and the name of the most probable of the `classes`. The server looks for *versions*, folders whose names are numbers. **Guess:** which two kinds of file must be in such a folder, and what did section 1 ask for besides?

# %% tags=["nbval-ignore-output"]
import pathlib
import tempfile

from finetune_lib import serving

temporary = tempfile.TemporaryDirectory(prefix="deploy_", ignore_cleanup_errors=True)
place = pathlib.Path(temporary.name)
folder = place / dataset.name
version = serving.export_savedmodel(model, folder, names, warm_up=files[:3])


def tour(folder):
    """The files of a folder, and their sizes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    rows = [[path.relative_to(folder).as_posix(), f"{path.stat().st_size:,}"] for path in found]
    print(plots.table(["file", "bytes"], rows))


tour(folder)

# %% [markdown]
# - `saved_model.pb` is the graph, `variables/` are the weights.
# - `assets/classes.txt` holds the names. They travel with the model, so no client can sort them.
# - `assets.extra/tf_serving_warmup_requests`: requests that the server answers to itself *before* it takes others. The first request through a graph is slow, and this way nobody waits for it.
# - `batching.config` is for section 5. It belongs to the server, so it lies beside the versions.
#
# What would a client learn from it? We load it as TensorFlow Serving does, without any of our code:

# %%
import tensorflow as tf

loaded = tf.saved_model.load(str(version))  # keep it: the functions live no longer than this object
for key in ("serving_default", "encoded"):
    signature = loaded.signatures[key]
    (takes,) = signature.structured_input_signature[1].items()
    gives = sorted(signature.structured_outputs.items())
    print(key)
    for direction, (name, spec) in [("takes", takes), *(("gives", pair) for pair in gives)]:
        print(f"  {direction} {name:14} {spec.dtype.name:8} {spec.shape}")

# %% [markdown]
# Now the first hop: does it answer what Keras answers? **Guess** how large the largest difference of a probability is: exactly 0, about one in a million, or about one in a thousand?


# %% tags=["nbval-ignore-output"]
def in_batches(ask, items, size=32):
    """The answers to many items, asked for a batch at a time."""
    return np.concatenate([ask(items[start : start + size]) for start in range(0, len(items), size)])


def ask_loaded(batch):
    """Probabilities by the SavedModel; from pixels, or from files."""
    if isinstance(batch, list):
        return loaded.signatures["encoded"](image=tf.constant(batch))["probabilities"].numpy()
    return loaded.signatures["serving_default"](image=tf.constant(batch, tf.float32))["probabilities"].numpy()


def difference(answers, to=reference):
    """The largest difference of a probability, and how many answers are another class."""
    changed = (answers.argmax(axis=1) != to.argmax(axis=1)).sum()
    return np.abs(answers - to).max(), int(changed)


hops = {
    "SavedModel, pixels": in_batches(ask_loaded, images),
    "SavedModel, files": in_batches(ask_loaded, files),
}
for name, answers in hops.items():
    largest, changed = difference(answers)
    print(f"{name}: differs by at most {largest:.1e}, {changed} other answers")

# %%
assert all(difference(answers)[0] < 1e-4 for answers in hops.values())
assert all(difference(answers)[1] == 0 for answers in hops.values()) or not is_default
print("the SavedModel gives Keras' probabilities within 0.0001: True")

# %% [markdown]
# The same operations, so the same answers; the last bits may differ, because sums are added up in another order. An answer that hangs on the last bits was no answer anyway.
#
# ### Larger files: whose resizing?
#
# Our files had the network's own size. Real ones are larger, lossy, and grainy. We draw the images up four times, add a camera's grain, save them as JPEG, and now there are several ways down again:
#
# - **Pillow**, as `photos.read` does it, which reads a folder of photos for training. Of a large JPEG it has only half of the detail decoded, which is faster, and then takes a bicubic filter. Beside it, **Pillow without** that shortcut;
# - **TensorFlow**, in the graph of `encoded`: in TensorFlow's operations;
# - **`tf.image.resize`** as it comes;
# - a client who takes every fourth pixel (**nearest neighbour**).
#
# **Guess:** does `encoded` give Pillow's pixels? What does it cost to leave out the shortcut, one of its steps? How many answers do the last two change?

# %% tags=["nbval-ignore-output"]
import PIL.ImageOps

from finetune_lib import decoding, photos

size, random = dataset.image_size, np.random.default_rng(0)


def as_photo(image):
    """A JPEG file with four times the height and width, and grain."""
    large = PIL.Image.fromarray(image).resize((4 * size[1], 4 * size[0]), PIL.Image.Resampling.BICUBIC)
    grainy = np.asarray(large) + 20 * random.normal(size=(*large.size[::-1], 1))
    return as_file(np.clip(grainy, 0, 255).astype("uint8"), "jpeg", quality=95)


readers = {
    "Pillow": lambda content: photos.read(content, size),
    "Pillow, no shortcut": lambda content: PIL.ImageOps.fit(PIL.Image.open(io.BytesIO(content)), size[::-1]),
    "TensorFlow": tf.function(lambda content: decoding.decode(content, size), [tf.TensorSpec((), tf.string)]),
    "tf.image.resize": lambda content: tf.image.resize(tf.io.decode_jpeg(content), size),
    "nearest": lambda content: PIL.Image.open(io.BytesIO(content)).resize(size[::-1], PIL.Image.NEAREST),
}
jpegs = [as_photo(image) for image in (images if is_default else images[:60])]
pixels = {
    name: np.stack([np.asarray(read(each), "float32") for each in jpegs]) for name, read in readers.items()
}

# %% tags=["nbval-ignore-output"]
answers = {name: ask_keras(each) for name, each in pixels.items()}
rows, skew = [], {}
for name, each in pixels.items():
    off = np.abs(each - pixels["Pillow"])
    skew[name] = (off.mean(), *difference(answers[name], answers["Pillow"]))
    correct = np.mean(answers[name].argmax(axis=1) == labels[: len(each)])
    cells = [f"{off.max():.0f}", f"{off.mean():.2f}", f"{skew[name][1]:.3f}", f"{skew[name][2]}"]
    rows.append([name, *cells, f"{correct:.1%}"])
header = ["against Pillow", "grey levels at most", "mean", "a probability", "other answers", "accuracy"]
print(plots.table(header, rows))
largest, changed = difference(in_batches(ask_loaded, jpegs), answers["TensorFlow"])
print(f"`encoded` against Keras on TensorFlow's pixels: {largest:.1e}, {changed} other answers")

# %%
pictures = [photos.read(jpegs[0], (4 * size[0], 4 * size[1])), *(each[0] for each in pixels.values())]
plots.show(
    plots.image_grid(
        pictures, ["the file", "Pillow", "no shortcut", "TensorFlow", "tf.resize", "nearest"], columns=6
    ),
    "One file, and what five ways of scaling it down make of it. The first three look alike; tf.image.resize and nearest "
    "neighbour keep the grain. By how much they differ, the table above says.",
)

# %%
assert largest < 1e-4
print("`encoded` gives Keras' probabilities for TensorFlow's pixels: True")
if is_default:
    assert skew["TensorFlow"][0] < 0.1 < 0.4 < skew["Pillow, no shortcut"][0]
    assert skew["TensorFlow"][1] < 0.01 and skew["TensorFlow"][2] <= 1
    assert all(skew[name][0] > 3 and skew[name][1] > 0.1 for name in ("tf.image.resize", "nearest"))
    assert skew["tf.image.resize"][2] >= 3 and skew["nearest"][2] >= 6
    print("`encoded` gives Pillow's pixels, but for a few one grey level off, and its answers: True")
    print(
        "one step left out costs more than that; other ways to scale change probabilities by over 0.1: True"
    )

# %% [markdown]
# "Bicubic" is not a definition. To get the same pixels, every step had to be repeated: the shortcut, the turning of photos by their EXIF entry, the order of the two directions, the rounding in between. Whoever writes `tf.image.resize` instead (it does not smooth before it leaves out pixels) gets a network that works, and **other answers**. No error, no log line, and not even the accuracy need fall, for other answers are not always worse ones. So let clients send **files**, decode in one place, and measure this table for your own chain.
#
# ## 3. A server
#
# The real server is `tensorflow_model_server`, a C++ program that comes as a Docker image (or a Debian package). These are the two commands that serve our folder; either will do:

# %% tags=["nbval-ignore-output"]
import shlex

for name, command in serving.commands(folder).items():
    print(f"{name}:\n  {shlex.join(command)}\n")

# %% [markdown]
# **What runs here?** `model_server.start` takes `tensorflow_model_server` if it is on your PATH. If it is not, as on a fresh Colab, it starts the course's **stand-in**: a Python process that takes the same flags, speaks the same REST and the same gRPC, loads the folder by TensorFlow's own SavedModel loader, and merges requests by the batching code that TensorFlow itself contains. It is there to learn with, and does not replace the real one: it is slower, and serves on this machine only. The project's workflow on GitHub asks the real `tensorflow/serving` image the same questions, by REST and by gRPC. To have it on Colab, install it as TensorFlow's [setup page](https://www.tensorflow.org/tfx/serving/setup) says (`apt-get install tensorflow-model-server`, after adding its package source), and run this notebook again.
#
# The server is a process of its own, and must end with us, whatever happens: an `ExitStack` collects what must be closed, and closes all of it.

# %% tags=["nbval-ignore-output"]
import atexit
import contextlib

from finetune_lib import model_server

globals().get("running", contextlib.ExitStack()).close()  # if this cell has been run before
running = contextlib.ExitStack()
atexit.register(running.close)
server = running.enter_context(model_server.start(folder))
print(f"{server.program} serves {server.name}: REST at {server.rest}, gRPC at {server.grpc}")

# %% [markdown]
# ### REST
#
# REST is HTTP and JSON: any language can do it, and so can `curl`. Python's standard library is enough. First two questions: are you ready, and what do you take?

# %%
import json
import urllib.error
import urllib.request

direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # to this machine, by no proxy


def call(url, body=None):
    """HTTP's status and the JSON that came back; a POST if there is a body, bytes, or something for JSON."""
    content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    try:
        with direct.open(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


(state,) = call(server.rest)[1]["model_version_status"]
print("version", state["version"], state["state"])
signatures = call(f"{server.rest}/metadata")[1]["metadata"]["signature_def"]["signature_def"]
for key in ("serving_default", "encoded"):
    for name, tensor in signatures[key]["inputs"].items():
        print(f"{key}: {name}, {tensor['dtype']}")

# %% [markdown]
# So the contract can be asked for, over the wire. A prediction is a POST to `...:predict`. JSON has no bytes; the agreed way is base64 text in `{"b64": ...}`. Rows of inputs go under `instances`, rows of answers come back under `predictions`.

# %%
import base64


def row(content):
    """A file as one row of a request."""
    return {"image": {"b64": base64.b64encode(content).decode("ascii")}}


request = {"signature_name": "encoded", "instances": [row(files[0])]}
status, answer = call(f"{server.rest}:predict", request)
(prediction,) = answer["predictions"]
print(f"{status}: {prediction['classes']}, one of {len(prediction['probabilities'])} classes")
assert prediction["classes"] == names[reference[0].argmax()]

# %% [markdown]
# ### gRPC
#
# gRPC sends **protocol buffers**, a binary format with a schema, over HTTP/2. The package `tensorflow-serving-api` brings the messages, and a *stub*: a local object whose methods are calls to the server. Tensors travel as they lie in memory, and an answer says which **version** gave it.

# %%
import grpc
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc


def connect(server):
    """The stub of a server; it may be used by several threads."""
    channel = running.enter_context(grpc.insecure_channel(server.grpc, [("grpc.enable_http_proxy", 0)]))
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def message(batch, name=dataset.name):
    """A request for a list of files, or for an array of pixels."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = "encoded" if isinstance(batch, list) else "serving_default"
    tensor = tf.make_tensor_proto(batch, tf.string if isinstance(batch, list) else tf.float32)
    request.inputs["image"].CopyFrom(tensor)
    return request


stub = connect(server)
answer = stub.Predict(message(files[:1]), timeout=60)
print(f"version {answer.model_spec.version.value}: {tf.make_ndarray(answer.outputs['classes'])[0].decode()}")

# %% [markdown]
# Now all files by both ways, as files and as pixels: four more hops. **Guess:** JSON writes numbers as decimal text. Does that cost digits?


# %%
def ask_rest(batch):
    """Probabilities by REST."""
    if isinstance(batch, list):
        body = {"signature_name": "encoded", "instances": [row(content) for content in batch]}
    else:
        body = {"instances": batch.tolist()}
    status, answer = call(f"{server.rest}:predict", body)
    assert status == 200, answer
    return np.array([each["probabilities"] for each in answer["predictions"]], "float32")


def ask_grpc(batch):
    """Probabilities by gRPC."""
    answer = stub.Predict(message(batch), timeout=60)
    return tf.make_ndarray(answer.outputs["probabilities"])


# %% tags=["nbval-ignore-output"]
few = images[:32]  # pixels as text are long
hops = {
    "REST, files": in_batches(ask_rest, files),
    "REST, pixels": in_batches(ask_rest, few),
    "gRPC, files": in_batches(ask_grpc, files),
    "gRPC, pixels": in_batches(ask_grpc, images),
}
for name, answers in hops.items():
    largest, changed = difference(answers, reference[: len(answers)])
    print(f"{name:13} {len(answers)} images, differs by at most {largest:.1e}, {changed} other answers")

# %%
gaps = [difference(answers, reference[: len(answers)]) for answers in hops.values()]
assert all(largest < 1e-4 for largest, _ in gaps)
assert all(changed == 0 for _, changed in gaps) or not is_default
print("REST and gRPC give Keras' probabilities within 0.0001, from files and from pixels: True")

# %% [markdown]
# From here on, agreement is dull, and should be: only the last table collects it. Decimal text costs no digits if enough of them are written: eight or nine stand for a float32 exactly. What it costs is room. **Guess:** how many bytes does *one* image take on its way to the server as JSON numbers, as a file in base64, as a tensor, and as a file by gRPC? Which call takes longest?

# %% tags=["nbval-ignore-output"]
import time

one, one_file = images[:1], files[:1]
ways = {
    "REST, numbers": (ask_rest, one, len(json.dumps({"instances": one.tolist()}))),
    "REST, file": (
        ask_rest,
        one_file,
        len(json.dumps({"signature_name": "encoded", "instances": [row(files[0])]})),
    ),
    "gRPC, tensor": (ask_grpc, one, message(one).ByteSize()),
    "gRPC, file": (ask_grpc, one_file, message(one_file).ByteSize()),
}
spent = {name: [] for name in ways}
for _ in range(25):
    for name, (ask, batch, _) in ways.items():  # in turns: what disturbs one disturbs all
        before = time.perf_counter()
        ask(batch)
        spent[name].append(1e3 * (time.perf_counter() - before))
rows = []
for name, (_, _, sent) in ways.items():
    low, middle, high = np.quantile(spent[name], [0.25, 0.5, 0.75])
    rows.append([name, f"{sent:,}", f"{middle:.1f}", f"{low:.1f} to {high:.1f}"])
print(plots.table(["one image", "bytes sent", "ms", "middle half"], rows))

# %%
sent = {name: size for name, (_, _, size) in ways.items()}
assert sent["gRPC, file"] < sent["REST, file"] < sent["REST, numbers"]
if is_default:
    assert sent["gRPC, tensor"] > 2 * sent["gRPC, file"]
print("a file takes less than numbers, and gRPC less than REST: True")

# %% [markdown]
# The file is the smallest, since PNG and JPEG are compressed and tensors are not; base64 adds a third. For that the server has to decode it, which for photos is work: fewest bytes and fewest milliseconds need not be the same way. (Our small client opens a new connection for every REST call, which gRPC does not: *Try it yourself* 1.) On a real network, bytes are time as well. Take gRPC between your own services, where every millisecond counts; take REST where you do not know who will call.
#
# ## 4. A new version, while requests run
#
# Lesson 06 found that our model is not exactly as sure as it is right, and that one number repairs that: the **temperature**. Dividing the logits by it changes no answer, only the confidence. That is a typical second version. We divide the last layer's weights by it, and export. The server watches the folder. (So a version must appear there all at once: `export_savedmodel` writes under a hidden name and renames at the end. A folder that is copied in slowly may be loaded half.)
#
# Meanwhile a client keeps asking. **Guess:** how many of its requests fail while the model is replaced? Does a request ever get half an answer of each?

# %% tags=["nbval-ignore-output"]
import keras

from finetune_lib import calibration

temperature = calibration.fit_temperature(reference, labels)
repaired = keras.models.clone_model(model)
repaired.set_weights(model.get_weights())
repaired.layers[-1].set_weights([weight / temperature for weight in model.layers[-1].get_weights()])
print(f"temperature {temperature:.2f}")

# %%
import collections
import threading


def wait_for(got, version, seconds=60):
    """Until the client has got twenty answers of a version."""
    until = time.monotonic() + seconds
    while sum(who == version for who, _ in list(got)) < 20 and time.monotonic() < until:
        time.sleep(0.05)


# %%
def ask_until(stop, got):
    """Ask for the first file again and again; note each version and probability, or the error."""
    while not stop.wait(0.02):
        try:
            answer = stub.Predict(message(files[:1]), timeout=60)
            probabilities = tf.make_ndarray(answer.outputs["probabilities"])[0]
            got.append((int(answer.model_spec.version.value), float(probabilities.max())))
        except grpc.RpcError as error:
            got.append((error.code().name, 0.0))


def meanwhile(act, first, then):
    """What a client gets that asks all the time, until it has met one version, ``act`` is done, and then another."""
    got, stop = [], threading.Event()
    client = threading.Thread(target=ask_until, args=(stop, got), daemon=True)
    client.start()
    try:
        wait_for(got, first)
        act()
        wait_for(got, then)
    finally:
        stop.set()
        client.join()
    return got


# %% tags=["nbval-ignore-output"]
got = meanwhile(lambda: serving.export_savedmodel(repaired, folder, names, warm_up=files[:3]), 1, 2)
for who, count in collections.Counter(who for who, _ in got).items():
    confidence = sorted({round(p, 4) for asked, p in got if asked == who})
    print(f"{who}: {count} answers, probability {confidence}")

# %%
order = [who for who, _ in got]
assert set(order) == {1, 2} and order == sorted(order)
print("every request was answered, by version 1 and from one moment on by version 2: True")
sure = {who: [p for asked, p in got if asked == who] for who in (1, 2)}
expected = calibration.with_temperature(reference[:1], temperature).max()
assert np.ptp(sure[1]) < 1e-4 and np.allclose(sure[2], expected, atol=1e-4)
assert np.allclose(sure[1], reference[0].max(), atol=1e-4)
print("each answer is wholly that of its version: True")

# %% [markdown]
# The new version is loaded and warmed up **beside** the old one, then requests are switched over, and the old one goes when its last request is answered. For a while both are in memory: plan for twice the room.
#
# And **back**? Suppose that version 2 turns out badly. Moving its folder away is enough: the server sees that the highest version is now 1. (Its name must not be a number any more. Publishing the old model once more as version 3 works as well, and keeps the log's numbers going upwards.) Either way the old one must still be there: keep the last two.

# %%
got = meanwhile(lambda: (folder / "2").rename(folder / "withdrawn-2"), 2, 1)
order = [who for who, _ in got]
assert set(order) == {1, 2} and order == sorted(order, reverse=True)
print("back to version 1, and every request was answered: True")

# %% [markdown]
# Which version said it? Without that, a complaint of last week can never be looked into. A **log** line of a client should say when, which version, which image (its hash; the image itself only if you may keep it), the answer, and how sure. The answer brings the version: `answer.model_spec.version.value`, as above.

# %% [markdown]
# ## 5. Batching: what one waits, and what all gain
#
# **Guess:** how much longer do sixteen images at once take a network than one?


# %% tags=["nbval-ignore-output"]
def quickest(batch):
    """Milliseconds of the fastest of 10 calls of the SavedModel."""
    took = []
    for _ in range(10):
        before = time.perf_counter()
        ask_loaded(batch)
        took.append(1e3 * (time.perf_counter() - before))
    return min(took)


for name, items in (("pixels", images), ("files", files)):
    one_by_one, at_once = 16 * quickest(items[:1]), quickest(items[:16])
    print(f"{name}: sixteen times one image {one_by_one:.1f} ms, sixteen at once {at_once:.1f} ms")

# %% [markdown]
# Each call has a price of its own, whatever is in it, and large multiplications use a processor better than small ones. (Of files less is gained, for each is decoded on its own.) But clients send one image at a time. So a server can **wait** a few milliseconds, merge what has come in, and answer all in one go: at most so many images, at most so many microseconds. The file `batching.config` says how many.
#
# We start a second server, with batching, beside the first. One client alone, then sixteen at once; the two servers take turns. **Guess:** which is faster when there is one client? And with sixteen?

# %%
import concurrent.futures

print((folder / "batching.config").read_text(encoding="utf-8"))


def drive(stub, clients, requests):
    """Milliseconds that each request took, and requests a second, of clients that ask one file at a time."""

    def client(number):
        took = []
        for place in range(requests):
            content = files[(number * requests + place) % len(files)]
            before = time.perf_counter()
            stub.Predict(message([content]), timeout=60)
            took.append(1e3 * (time.perf_counter() - before))
        return took

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        before = time.perf_counter()
        took = np.concatenate(list(pool.map(client, range(clients))))
        return took, clients * requests / (time.perf_counter() - before)


# %% tags=["nbval-ignore-output"]
batching = running.enter_context(model_server.start(folder, batching=True))
stubs = {"one by one": stub, "batching": connect(batching)}
loads = {1: 10, 16: 5}  # clients, and requests of each
measured = collections.defaultdict(list)
for _ in range(7):
    for clients, requests in loads.items():
        for name, each in stubs.items():
            measured[name, clients].append(drive(each, clients, requests))
rows, throughput = [], {}
for (name, clients), runs in measured.items():
    took = np.concatenate([took for took, _ in runs[1:]])  # the first round warms up
    throughput[name, clients] = np.median([rate for _, rate in runs[1:]])
    middle, slow = np.quantile(took, [0.5, 0.95])
    cells = [f"{middle:.1f}", f"{slow:.1f}", f"{throughput[name, clients]:.0f}"]
    rows.append([f"{clients} client{'s' * (clients > 1)}, {name}", *cells])
print(plots.table(["", "median ms", "95% within ms", "requests a second"], rows))
alone, together = (throughput["batching", n] / throughput["one by one", n] for n in loads)
print(f"batching: {alone:.2f} times the throughput for one client, {together:.2f} times for sixteen")

# %%
if is_default:
    assert alone < together
    print("batching does more for sixteen clients than for one: True")

# %% [markdown]
# One client alone **waits in vain**: nobody else comes, and each request waits up to the time-out, 5 ms here. Under load, waiting costs little, since there is a queue anyway, and the merged batch is cheaper per image. How much is gained depends on the network, on the processor (a GPU usually gains most), and on what else the server does for each request: decoding, and in our stand-in, Python. So these are numbers to measure on *your* server, with your traffic. TensorFlow Serving's [batching guide](https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md) says how to choose the settings.
#
# ### Strangers in one batch
#
# In a merged batch, strangers' requests become one call. **Guess:** what happens to fifteen good requests if a sixteenth holds a damaged file?

# %% tags=["nbval-ignore-output"]
damaged = files[0][: len(files[0]) // 2]


def outcomes(stub):
    """How requests of fifteen good files end that come together with a damaged one."""

    def ask(content):
        try:
            stub.Predict(message([content]), timeout=60)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        first, *others = pool.map(ask, [damaged, *files[:15]])
    assert first != "OK"
    return collections.Counter(others)


neighbours = {
    name: sum((outcomes(each) for _ in range(8)), collections.Counter()) for name, each in stubs.items()
}
for name, counts in neighbours.items():
    print(f"{name}: 120 good files beside damaged ones ended as {dict(counts)}")

# %%
assert set(neighbours["one by one"]) == {"OK"} and neighbours["batching"]["OK"] < 120
print("one by one, a damaged file hurts nobody else; merged, good files failed with it: True")

# %% [markdown]
# Whoever was merged with the damaged file got an error **for somebody else's** mistake, since one operation that fails in the graph fails the whole call. (TensorFlow Serving merges by the same library, with the same result.) Two ways out: merge pixels only, and decode before (in front of the server); or try again, alone, what failed in company.
#
# ## 6. Bad input
#
# (Before this is a good place to stop. To go on another day, run all cells up to here.)
#
# Sooner or later somebody sends rubbish. A server owes each sender three things: a **4xx** status if the fault is theirs (5xx says "mine", and wakes somebody up at night), a message that says what is wrong, and that the *next* request is answered as ever. **Guess:** two of these twelve get another status than the other ten. Which?

# %% tags=["nbval-ignore-output"]
predict = f"{server.rest}:predict"
nowhere = server.rest.rsplit("/", 1)[0]
bomb = as_file(np.zeros((9000, 9000), bool))
bad = {
    "not JSON": (predict, b"{"),
    "no rows": (predict, {"instances": []}),
    "no such signature": (predict, {"signature_name": "decoded", "instances": [row(files[0])]}),
    "another input's name": (predict, {"signature_name": "encoded", "instances": [{"picture": {"b64": ""}}]}),
    "pixels of another shape": (predict, {"instances": images[:1, :5].tolist()}),
    "words for pixels": (predict, {"instances": [["black", "white"]]}),
    "not base64": (predict, {"signature_name": "encoded", "instances": [{"image": {"b64": "?!"}}]}),
    "no image in the file": (predict, {"signature_name": "encoded", "instances": [row(b"I am an image")]}),
    "half a file": (predict, {"signature_name": "encoded", "instances": [row(damaged)]}),
    "81 million pixels": (predict, {"signature_name": "encoded", "instances": [row(bomb)]}),
    "no such model": (f"{nowhere}/somebody_else:predict", {"instances": []}),
    "no such version": (f"{server.rest}/versions/99:predict", {"instances": []}),
}
refused = {name: call(url, body) for name, (url, body) in bad.items()}
print(f"the file of 81 million pixels has {len(bomb):,} bytes")
for name, (status, answer) in refused.items():
    print(f"{status} {name}: {' '.join(answer['error'].split())[:90]}")

# %%
assert all(status in (400, 404) and answer["error"] for status, answer in refused.values())
assert refused["no such model"][0] == refused["no such version"][0] == 404
assert difference(ask_rest(files[:32]), reference[:32])[0] < 1e-4
print("each is refused with 400 or 404 and a reason, and the next request is answered as ever: True")

# %% [markdown]
# Note what is *not* in the list: an image that shows none of the classes. It is answered, and with some confidence (lesson 06).
#
# The file of 81 million pixels is a **decompression bomb**: a few kilobytes that would unfold to a quarter of a gigabyte, for each one in the batch. The server as such has no guard against it. `export_savedmodel` has put one into the graph, which looks at the size before anything is decoded. Even so, never put such a server on the internet bare: something in front of it must check who asks, how often, and how much.
#
# ## 7. A cloud function, without TensorFlow
#
# A server costs money while nobody asks. A **function** runs when a request comes, and is paid by the millisecond. At AWS it is called Lambda. It starts from nothing whenever it has to (a *cold start*), so it had better be small. TensorFlow is not. We take LiteRT instead (lesson 08): an interpreter, the model in one file, and NumPy and Pillow for the image.

# %% tags=["nbval-ignore-output"]
bundle = serving.export_lambda(model, place / "function", names)
tour(bundle)

# %% [markdown]
# - `handler.py` is the program, `model.tflite` and `labels.json` are what it needs, `requirements.txt` are pinned libraries;
# - `Dockerfile` and `template.yaml` tell AWS's tool SAM how to build it, and which address, memory, and limits it gets;
# - `event.json` is a request as AWS hands it over, to try it with.
#
# The handler is short enough to be read whole, and you should, before you put it on the internet. Its heart:

# %%
source = (bundle / "handler.py").read_text(encoding="utf-8")


def shown(source, *names):
    """The functions of these names, as they stand in a source."""
    parts = source.split("\n\n\n")
    return "\n\n\n".join(part for part in parts if any(part.startswith(f"def {name}(") for name in names))


print(shown(source, "handler", "read"))

# %% [markdown]
# Three things to notice. What every request needs is loaded *outside* `handler`, once for each cold start. The size in pixels is checked *before* anything is decoded. And `read` repeats the steps of `photos.read`: the preprocessing is written twice, so it needs the proof below.
#
# Lambda would start it in a process of its own, without TensorFlow. So do we. An *event* is the HTTP request as a dictionary, in the form in which AWS's front door (API Gateway, or the function's own address) hands it over: the file in base64.

# %%
import subprocess

CALLER = """
import json, sys, time
before = time.perf_counter()
import handler
seconds, answers = [time.perf_counter() - before], []
for line in sys.stdin:
    event, before = json.loads(line), time.perf_counter()
    answers.append(handler.handler(event, None))
    seconds.append(time.perf_counter() - before)
json.dump({"answers": answers, "seconds": seconds, "modules": sorted(sys.modules)}, sys.stdout)
"""


def run_function(events):
    """A fresh copy of the function answers events, in a process of its own; and the seconds all of it took."""
    lines, before = "\n".join(map(json.dumps, events)), time.perf_counter()
    options = {"cwd": bundle, "input": lines, "capture_output": True, "text": True, "check": True}
    done = subprocess.run([sys.executable, "-c", CALLER], **options)
    return json.loads(done.stdout), time.perf_counter() - before


# %%
sample = json.loads((bundle / "event.json").read_text(encoding="utf-8"))


def event(content, kind="image/png"):
    """The sample event with another file."""
    body = base64.b64encode(content).decode("ascii")
    return sample | {"headers": {"content-type": kind}, "body": body, "isBase64Encoded": True}


def probabilities_of(ran):
    """float32 (images, classes) of a function's answers."""
    told = [json.loads(answer["body"])["probabilities"] for answer in ran["answers"]]
    return np.array([[each[name] for name in names] for each in told], "float32")


# %% [markdown]
# **Guess:** how long does the function take to start, and how long for one answer once it runs? Is TensorFlow really not in it? And LiteRT computes by other code (XNNPACK, Google's library of fast processor routines); how far are its probabilities from Keras'?

# %% tags=["nbval-ignore-output"]
_, whole = run_function([event(files[0])])
ran, _ = run_function([event(content) for content in files])
starting, *each = ran["seconds"]
warm = float(np.median(each))
largest, changed = difference(probabilities_of(ran))
print(
    f"cold start: {whole:.2f} s from the process' beginning to its end, {starting:.2f} s of it for the imports and the model"
)
print(f"warm: {1e3 * warm:.2f} ms a request; the slowest 5% over {1e3 * np.quantile(each, 0.95):.2f} ms")
print(f"differs from Keras by at most {largest:.1e}, {changed} other answers; {len(ran['modules'])} modules")

# %%
assert not {"tensorflow", "keras", "finetune_lib"} & set(ran["modules"])
assert largest < 1e-4 and (changed == 0 or not is_default)
assert {json.loads(answer["body"])["class"] for answer in ran["answers"]} <= set(names)
print("neither TensorFlow nor Keras nor our library was there, and the answers are Keras': True")

# %% [markdown]
# Now what the internet will send. (Lambda takes 6 MB a request; base64 adds a third, so a file may have 4.5 MB.) The last event of the list is a good one again.

# %%
hostile = {
    "no HTTP request": {"hello": "Lambda"},
    "GET, from a browser": sample | {"requestContext": {"http": {"method": "GET"}}},
    "a text": event(b"hello", "text/plain"),
    "no body": sample | {"body": ""},
    "half a file": event(damaged),
    "no image": event(b"I am an image", "image/gif"),
    "81 million pixels": event(bomb),
    "more than 4.5 MB": event(bytes(5_000_000)),
    "a good one": event(files[0]),
}
ran, _ = run_function(hostile.values())
for name, answer in zip(hostile, ran["answers"], strict=True):
    why = "" if answer["statusCode"] == 200 else json.loads(answer["body"])["error"][:70]
    print(answer["statusCode"], f"{name}: {why}")
assert [answer["statusCode"] for answer in ran["answers"]] == [400, 405, 415, 400, 400, 400, 413, 413, 200]
assert difference(probabilities_of({"answers": ran["answers"][-1:]}), reference[:1])[0] < 1e-4
print("each bad event gets a 4xx and a reason, and the next good one its answer: True")

# %% [markdown]
# Does it fit? As a zip file, Lambda takes 250 MB unzipped; as a container image, 10 GB. Ours is a container, so the 250 MB do not bind it; small is worth having for the start. We add up its three large libraries, as they are installed here, and look at TensorFlow's folder for comparison.

# %% tags=["nbval-ignore-output"]
import importlib.util

parts = {
    "LiteRT": ["ai_edge_litert"],
    "NumPy": ["numpy", "numpy.libs"],
    "Pillow": ["PIL", "pillow.libs"],
    "TensorFlow": ["tensorflow"],
}


def megabytes(folders):
    """What a package takes, without Python's compiled copies."""
    site = pathlib.Path(importlib.util.find_spec(folders[0]).origin).parents[1]
    found = [path for folder in folders for path in (site / folder).rglob("*") if path.suffix != ".pyc"]
    return sum(path.stat().st_size for path in found if path.is_file()) / 1e6


sizes = {name: megabytes(folders) for name, folders in parts.items()}
tensorflow = sizes.pop("TensorFlow")
unzipped = sum(sizes.values()) + sum(path.stat().st_size for path in bundle.iterdir() if path.is_file()) / 1e6
for name, size_of in [*sizes.items(), ("all, with the bundle", unzipped), ("TensorFlow", tensorflow)]:
    print(f"{name:20} {size_of:6.0f} MB")

# %%
if is_default:
    assert unzipped < 250 < tensorflow
    print("it is below Lambda's 250 MB, and TensorFlow alone would not be: True")

# %% [markdown]
# To put it into the cloud takes an AWS account, Docker, and AWS's [SAM command line](https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/install-sam-cli.html). It costs money, if little, so we have **not** run it here. The address answers nobody but your own account until you say otherwise in `template.yaml`: whoever may call it, calls at your expense.
#
# ```
# cd function
# sam build                # makes the container
# sam local invoke -e event.json
# sam deploy --guided      # asks a few questions, prints the address
# sam delete               # takes all of it away again
# ```
#
# What was exercised, then? Here, the handler in a plain process. In the project's tests, the same bundle under AWS's own runtime client (`awslambdaric`), against a small copy of Lambda's runtime interface, and the template by AWS's checker. Amazon's machines, network and permissions were not part of it.
#
# ## 8. Server or function?
#
# A server costs the same whether asked or not; a function costs for each request. They cross where one server's price equals that of all requests, **if** one server can carry so many. We know our own latency and throughput. They are not measured alike: the function's time is inside its process, the server's is with HTTP/2 and with clients on the same two cores. So we also ask what a faster server would change. The prices are yours to fill in: those below are AWS's list prices in us-east-1 (x86) in 2026, without the free tier; the server is a t3.medium, two virtual processors that may not be busy all day without an extra charge. Look them up ([Lambda](https://aws.amazon.com/lambda/pricing/), [EC2](https://aws.amazon.com/ec2/pricing/on-demand/)).

# %%
# @title Prices in US dollars, and your traffic { display-mode: "form" }
price_gb_second = 0.0000166667  # @param {type: "number"}
price_million_requests = 0.20  # @param {type: "number"}
function_gb = 1.0  # @param {type: "number"}
price_server_hour = 0.0416  # @param {type: "number"}
peak_over_mean = 5  # @param {type: "number"}
minutes_kept_warm = 10  # @param {type: "number"}

# %% [markdown]
# Some things that a comparison easily forgets:
#
# - Lambda gives processor time in proportion to memory, a whole core at 1,769 MB. With 1 GB everything takes 1.8 times as long.
# - A cold start is paid, too: of containers, such as ours, always; of zip files since August 2025. If requests come independently of one another, *r* a minute, and an idle function is kept for *m* minutes, then a request finds it cold with probability $e^{-rm}$. (AWS promises no *m*. The formula knows one copy only: two requests at the same moment need two, and the second starts cold. And it counts our imports, not the fetching of a container.)
# - A server must stand the **peak**, and should be busy half of the time at most, or queues grow. If one is not enough, you pay for two.
# - Batching belongs to the server: it has many requests in one place.
# - Not counted: traffic, logs, a load balancer before the servers, and API Gateway before the function (a dollar a million requests: five times Lambda's own fee; the function's own address costs nothing extra).
#
# **Guess:** at how many requests a day do the lines cross? Hundreds, a hundred thousand, millions, never? And with a server ten times as fast?


# %%
def cold_share(requests_a_day):
    """The share of requests that find no warm copy of the function."""
    return np.exp(-requests_a_day / (24 * 60) * minutes_kept_warm)


def function_cost(requests_a_day):
    """US dollars a day."""
    slower = max(1.0, 1.769 / function_gb)
    seconds = slower * (warm + cold_share(requests_a_day) * starting)
    return requests_a_day * (price_million_requests / 1e6 + seconds * function_gb * price_gb_second)


def server_cost(requests_a_day, faster=1):
    """US dollars a day, for as many servers as the peak takes; they may be faster than the one we measured."""
    peak = requests_a_day / (24 * 3600) * peak_over_mean
    return 24 * price_server_hour * np.maximum(1, np.ceil(peak / (0.5 * faster * most)))


most = max(throughput.values())
print(
    f"prices of {price_gb_second} a GB second and {price_server_hour} an hour; a peak of {peak_over_mean} times the mean"
)

# %% tags=["nbval-ignore-output"]
rows = []
for count in (100, 10_000, 1_000_000, 100_000_000):
    dollars = [f"{cost(count):,.4f}" for cost in (function_cost, server_cost)]
    rows.append([f"{count:,}", *dollars, f"{cold_share(count):.1%}"])
print(plots.table(["requests a day", "function ($)", "server ($)", "cold starts"], rows))

days = np.logspace(1, 9, 2000)
print(f"the function takes {1e3 * warm:.2f} ms for each request")
for faster in (1, 2, 10):
    dearer = days[function_cost(days) > server_cost(days, faster)]
    where = f"first at about {float(f'{dearer[0]:.1g}'):,.0f} requests a day" if len(dearer) else "never"
    print(f"a server of {faster * most:,.0f} requests a second: the lines cross {where}")

# %% tags=["nbval-ignore-output"]
import matplotlib.figure

figure = matplotlib.figure.Figure(figsize=(8, 3.8), layout="constrained")
axes = figure.subplots()
curves = {
    "function": (function_cost(days), plots.BLUE, "-"),
    "server, as measured": (server_cost(days), plots.VERMILION, "-"),
    "server, ten times as fast": (server_cost(days, 10), plots.VERMILION, "--"),
}
for name, (cost, colour, style) in curves.items():
    axes.plot(days, cost, style, color=colour, linewidth=2, label=name)
axes.set(xscale="log", yscale="log", xlabel="requests a day", ylabel="US dollars a day")
axes.spines[["top", "right"]].set_visible(False)
axes.legend(frameon=False)
plots.show(
    figure,
    "Cost a day of a function and of servers against the requests a day, both axes logarithmic: a rising line, and two "
    "level ones that become staircases, that of the faster servers (dashed) later; some values are in the table above.",
)

# %%
if is_default:
    fee = price_million_requests / 1e6
    assert function_cost(100) < server_cost(100) / 100
    assert fee < function_cost(1e6) / 1e6 < 2 * fee
    assert 0.4 < cold_share(100) < 0.6 and cold_share(10_000) < 1e-6
    print("with a hundred requests a day the function costs less than a hundredth of the server: True")
    print("of what a request costs, more than half is the fee, not the computation: True")
    print(
        "by the formula, with a hundred a day about half meet a cold start, with ten thousand hardly any: True"
    )
    crossing = days[function_cost(days) > server_cost(days, 10)][0]
    assert 1e6 < crossing < 1e7
    print("with a server ten times as fast, the lines cross at a few million requests a day: True")

# %% [markdown]
# The hump on the left are the cold starts, which are paid as well. Our network is so small that the *fee* for a request is most of its price, and far to the right, where servers are kept busy, the two run close together. The crossing is one server's daily price divided by the price of a request, some millions a day. Whether one server carries that many at its peak hangs on its throughput and on how uneven your traffic is: change the peak to 2 or to 20. For a network a hundred times as large, computation decides, and a GPU, which Lambda does not have.
#
# So for a small network money is hardly the question until the requests are very many. **Latency** is: when requests are rare, many of them wait for a cold start. It is exactly the quiet function that is slow. (One copy can be kept warm, "provisioned concurrency"; it is then a server, and priced as one.) What no formula here contains is people: who updates the server, who reads the log?
#
# A GPU, a model of gigabytes, steady traffic, or answers within milliseconds: a server. Bursts, rare requests, nobody to look after it: a function.
#
# ## 9. Strangers' models
#
# So far we deployed our own. The web is full of others', and a model file is **not just numbers**. Keras has a layer, `Lambda` (no relation to AWS's), that holds any Python function, and saves its code in the file. Here is what a stranger could publish under a well-known name. Its payload is a harmless one: it writes a line into a guest book in our temporary folder. It could as well have read your keys.

# %%
import os

book = place / "guest_book.txt"
os.environ["GUEST_BOOK"] = str(book)
visit = lambda x: (open(__import__("os").environ["GUEST_BOOK"], "w").write("I was here."), x)[1]  # noqa
stranger = keras.Sequential(
    [
        keras.Input(model.input_shape[1:]),
        keras.layers.Lambda(visit),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(len(names)),
    ],
    name=backbone_name,
)
stranger.save(place / "stranger.keras")
book.unlink()  # start with an empty book
print(f"{(place / 'stranger.keras').stat().st_size / 1e3:.0f} kB, as innocent as any")

# %% [markdown]
# Somebody downloads it and opens it, only to look at its layers. **Guess:** does the payload run when the file is opened, or only when the model is used? What if `safe_mode` is left as it is? (The unsafe way in a process of its own.)

# %%
UNSAFE = "import keras, sys; keras.saving.load_model(sys.argv[1], safe_mode=False)"
try:
    keras.saving.load_model(place / "stranger.keras")
except ValueError as error:
    print(f"safe_mode: {str(error)[:110]} ...")
print("payload has run:", book.exists())
unsafe = subprocess.run([sys.executable, "-c", UNSAFE, str(place / "stranger.keras")], capture_output=True)
print("\nwithout safe_mode: opened,", "payload has run:", book.exists())
assert unsafe.returncode == 0
book.unlink()

# %% [markdown]
# It runs at *opening*: to rebuild the network, Keras calls each layer once. `safe_mode=True` is the default of `load_model`, and refuses. Never turn it off for a file that is not yours. Do not rely on it alone either. Researchers have found ways around it again and again: CVE-2025-1550 and CVE-2025-8747 (a CVE is a numbered entry in the public list of security holes; closed in Keras 3.9 and 3.11), older `.h5` files, which it did not cover (CVE-2025-9905, closed in 3.11.3), and a SavedModel hidden in a `.keras` file (CVE-2026-1462, closed in 3.13.2). This list will grow: keep Keras up to date.
#
# This course's `handover.receive` opens with `safe_mode`, and so refuses such a file even under the name of your model.

# %% [markdown]
# And a **SavedModel** has no Python in it. **Guess:** is it safe?


# %%
class Guest(tf.Module):
    """A stranger's SavedModel: the graph itself can write files."""

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
    def answer(self, x):
        """What came in; and a visit."""
        tf.io.write_file(str(book), "I was here, too.")
        return x


tf.saved_model.save(Guest(), str(place / "guest"))
book.unlink(missing_ok=True)
guest = tf.saved_model.load(str(place / "guest"))
print("loaded, payload has run:", book.exists())
guest.answer([1.0])
print("called, payload has run:", book.exists())
assert book.exists()

# %% [markdown]
# TensorFlow says so itself: [models are programs](https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md), and reading and writing files is part of what they may do. A `.tflite` file with built-in operations can only compute; but its reader is C++ that was not written for hostile files. So, for all kinds: take models from people you know, check the **hash** that they publish, prefer plain **weights** (`.weights.h5`, safetensors) that *you* load into code you have read, and otherwise run the stranger in a container without network and without your files.
#
# ## 10. Keeping an eye on it
#
# Lesson 06 has shown that images change, and accuracy with them. A deployed model meets new images every day, and **nobody sends labels**. What the log has are answers and confidences. Two things can be watched:
#
# - **mean confidence** in a window of, say, 100 answers: did it *fall* below that of the validation images, by more than a sample of that size falls by chance?
# - the **mix of classes**: are the answers distributed as they were? ($\chi^2$ test of two samples.)
#
# Each gets a limit that chance exceeds once in 200 windows, so together they should give a false alarm in one window of a hundred.

# %%
import scipy.stats

LIMIT = 0.005


def alarms(window, known=reference):
    """Whether confidence has fallen, and whether the class mix has changed, in a window of answers."""
    sure, before = window.max(axis=1), known.max(axis=1)
    fallen = scipy.stats.ttest_ind(sure, before, equal_var=False, alternative="less").pvalue
    counts = [np.bincount(each.argmax(axis=1), minlength=len(names)) for each in (window, known)]
    seen = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    return fallen < LIMIT, scipy.stats.chi2_contingency(seen).pvalue < LIMIT


def rate_of(windows, known=reference):
    """How often each alarm goes off, in %: confidence, class mix, either."""
    found = np.array([alarms(window, known) for window in windows])
    return 100 * np.array([*found.mean(axis=0), found.any(axis=1).mean()])


# %% [markdown]
# An alarm that nobody has tested is worth nothing. First: does it keep **quiet** on ordinary images? Our server gets the test images, as ordinary traffic of people it has not met (we read its answers, not the labels), in two orders: shuffled; and **as they came**, one writer after the other, since real traffic is not shuffled either. **Guess:** do both keep to one window in a hundred?


# %% tags=["nbval-ignore-output"]
def drawn(answers, size):
    """A window of answers in no order, drawn with replacement."""
    return answers[random.choice(len(answers), size)]


def in_turn(answers, size, step):
    """Windows of answers that follow each other; so far is one's beginning from the next one's."""
    return [answers[start : start + size] for start in range(0, len(answers) - size + 1, step)]


test_images, _ = some_of(dataset.test)
test_files = [as_file(image) for image in test_images]
traffic = in_batches(ask_grpc, test_files)
usual = 100 if is_default else 50  # answers in a window
quiet = {
    "shuffled": rate_of(drawn(traffic, usual) for _ in range(300)),
    "as they came": rate_of(in_turn(traffic, usual, 3)),
}
rows = [[name, *(f"{value:.1f}" for value in values)] for name, values in quiet.items()]
print(f"false alarms in windows of {usual} ordinary answers (%)")
print(plots.table(["", "confidence", "class mix", "either"], rows))

# %%
if is_default:
    assert all(values[2] < 3 for values in quiet.values())
    print("less than 3% of the ordinary windows raise an alarm, in either order: True")

# %% [markdown]
# Good, or lucky? What we compare with, the validation images, are a sample, too, and by two writers only. Had they been two *other* people, would it have stayed as quiet? We let each stretch of the traffic be the reference for the rest of it. And then a reference that lies near at hand: the images that the model was **trained** on. **Guess:** how many false alarms does each give?

# %% tags=["nbval-ignore-output"]
length, false = min(len(reference), len(traffic) // 2), []
for start in range(0, len(traffic) - length + 1, length // 3):
    stretch = np.s_[start : start + length]
    rest = np.delete(traffic, stretch, axis=0)
    false.append(rate_of(in_turn(rest, usual, 5), traffic[stretch])[2])
learned = ask_keras(some_of(dataset.train)[0])
by_learned = rate_of(in_turn(traffic, usual, 5), learned)[2]
print("a stretch of the traffic as reference:", ", ".join(f"{value:.0f}%" for value in false), "false alarms")
print(
    f"the training images as reference: {by_learned:.0f}% (mean confidence {learned.max(axis=1).mean():.0%})"
)

# %%
if is_default:
    assert min(false) < 3 and max(false) > 8 and by_learned > 50
    print("some stretches give hardly any false alarm, at least one gives more than 8%: True")
    print("the training images give more than 50%: True")

# %% [markdown]
# The formula knows that samples scatter. It does not know that images of *one writer* are alike, and that another one's may be easier throughout (lesson 06: count writers, not images). So the reference should come from many makers, and the limit from what ordinary windows really did, over weeks. Ours happens to be quiet. Never take training images: on those a model is always surer.
#
# Second: does it **go off** when it should? Every third image of the traffic is spoiled in the camera, then sent to the server: darker, noisier, turned. Beside the alarms we put the accuracy on validation images spoiled alike, which in real life nobody would know. And larger windows see smaller changes: how large must they be?

# %%
import scipy.ndimage


def spoiled(images):
    """The same images taken in six ways."""
    pixels = images.astype("float32")
    grain = np.random.default_rng(1).normal(size=(*pixels.shape[:3], 1))
    turn = {"axes": (1, 2), "reshape": False, "order": 1, "mode": "nearest"}
    ways = {
        "as they are": pixels,
        "a little noise": pixels + 25 * grain,
        "much noise": pixels + 51 * grain,
        "half as bright": pixels / 2,
        "turned by 10 degrees": scipy.ndimage.rotate(pixels, 10, **turn),
        "turned by 20 degrees": scipy.ndimage.rotate(pixels, 20, **turn),
    }
    return {name: np.clip(each, 0, 255).astype("uint8") for name, each in ways.items()}


# %% tags=["nbval-ignore-output"]
right = {
    name: 100 * np.mean(ask_keras(each).argmax(axis=1) == labels) for name, each in spoiled(images).items()
}
answered = {name: in_batches(ask_grpc, each) for name, each in spoiled(test_images[::3]).items()}
windows = (25, 50, 100, 200) if is_default else (25, 50, 100)
caught = {
    name: [rate_of(drawn(each, size) for _ in range(100))[2] for size in windows]
    for name, each in answered.items()
}
rows = []
for name, each in answered.items():
    cells = [
        f"{right[name]:.0f}",
        f"{100 * each.max(axis=1).mean():.0f}",
        *(f"{c:.0f}" for c in caught[name]),
    ]
    rows.append([name, *cells])
header = ["", "accuracy (%)", "confidence (%)", *(f"alarms, {size}" for size in windows)]
print(plots.table(header, rows))

# %% tags=["nbval-ignore-output"]
figure = matplotlib.figure.Figure(figsize=(8, 3.6), layout="constrained")
axes = figure.subplots()
colours = [plots.GREY, "#E69F00", plots.VERMILION, "#000000", "#56B4E9", plots.BLUE]
for (name, each), colour, marker in zip(caught.items(), colours, "os^Dvp", strict=True):
    axes.plot(windows, each, color=colour, marker=marker, label=name)
axes.set(xscale="log", xlabel="answers in a window", ylabel="windows that raise an alarm (%)", ylim=(-3, 103))
axes.set_xticks(windows, [str(size) for size in windows])
axes.minorticks_off()
axes.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside right center", frameon=False)
plots.show(
    figure,
    "The share of windows that raise an alarm against the size of the window, for each kind of change; the table above.",
)

# %%
if is_default:
    at = dict(zip(windows, range(len(windows)), strict=True))
    for name in ("much noise", "half as bright", "turned by 20 degrees"):
        assert caught[name][at[100]] > 80
    assert caught["a little noise"][at[100]] < 15 and right["a little noise"] > right["as they are"] - 4
    assert caught["turned by 10 degrees"][at[25]] < 20 < caught["turned by 10 degrees"][at[200]]
    print("much noise, half the light or 20 degrees are seen in more than 80% of windows of 100: True")
    print("a little noise, which costs the accuracy little, is seen in less than 15%: True")
    print("10 degrees are seen in less than 20% of windows of 25, and in more of windows of 200: True")
    assert abs(right["half as bright"] - right["turned by 10 degrees"]) < 6
    assert caught["turned by 10 degrees"][at[100]] < 50
    print("10 degrees cost as much accuracy as half the light within 6 points, and are seen far less: True")

# %% [markdown]
# The alarm sees what makes the model **unsure**, and that is not the same as what makes it wrong. Half the light and a turn by 10 degrees cost about the same accuracy; the one is seen at once, the other hardly. And a small fall takes a large window, and a large window takes longer to fill: early or sensitive, not both.
#
# **What it cannot see** is what leaves confidence and mix alone. **Guess:** of the two worst mistakes of section 1, pixels from 0 to 1 and the names in the wrong order, which does it see? And does it ever go off when nothing is wrong?

# %% tags=["nbval-ignore-output"]
common = np.isin(labels, np.unique(labels)[: len(names) // 2])
blind = {
    "0 to 1": skewed["0 to 1"],
    "names sorted": reference[:, in_order],
    "fewer kinds of image": reference[common],
}
correct = {name: 100 * np.mean(said[name] == labels) for name in ("0 to 1", "names sorted")}
correct["fewer kinds of image"] = 100 * np.mean(reference[common].argmax(axis=1) == labels[common])
seen = {name: rate_of(drawn(each, usual) for _ in range(100)) for name, each in blind.items()}
rows = [[name, f"{correct[name]:.0f}", *(f"{v:.0f}" for v in seen[name])] for name in blind]
print(plots.table(["", "accuracy (%)", "confidence (%)", "class mix (%)", "either (%)"], rows))

# %%
if is_default:
    assert seen["0 to 1"][2] > 99 and seen["names sorted"][2] < 5 and correct["names sorted"] < 20
    assert seen["fewer kinds of image"][1] > 99 and correct["fewer kinds of image"] > right["as they are"] - 4
    print("pixels from 0 to 1 are seen always, names in the wrong order hardly ever: True")
    print(
        "if only half of the classes come, the alarm goes off, though the answers are as right as before: True"
    )

# %% [markdown]
# So an alarm is a reason to **look**, no verdict; and silence is no proof. It cannot see confident mistakes, wrong names, or a world in which the right answer has become another one. What helps is to have *some* truth: label 50 random logged images a month, and give the accuracy its interval (lesson 06). And one known file, sent every hour through the whole chain from client to answer, would have found the names at once: it is the cheapest monitor of all.
#
# ## 11. One table
#
# All hops, and all **test files**: what did each make of the same bytes? **Guess** which one is farthest from Keras.

# %% tags=["nbval-ignore-output"]
by_keras = ask_keras(test_images)
ran, _ = run_function([event(content) for content in test_files])

from finetune_lib import compression

lite = compression.LiteRTModel((bundle / "model.tflite").read_bytes())
table = {
    "SavedModel, pixels": in_batches(ask_loaded, test_images),
    "SavedModel, files": in_batches(ask_loaded, test_files),
    "gRPC, pixels": in_batches(ask_grpc, test_images),
    "gRPC, files": traffic,
    "REST, pixels": ask_rest(test_images[:32]),
    "REST, files": in_batches(ask_rest, test_files),
    "LiteRT, pixels": evaluation.to_probabilities(model, lite.predict(test_images)),
    "Lambda's handler, files": probabilities_of(ran),
}
gaps = {name: difference(each, by_keras[: len(each)]) for name, each in table.items()}
rows = [
    [name, f"{len(table[name])}", f"{largest:.1e}", f"{changed}"] for name, (largest, changed) in gaps.items()
]
print(plots.table(["against Keras", "images", "largest difference", "other answers"], rows))

# %%
assert max(largest for largest, _ in gaps.values()) < 1e-4
assert max(changed for _, changed in gaps.values()) == 0 or not is_default
print("no hop changes a probability by more than 0.0001: True")
if is_default:
    print("no hop changes a single answer: True")

# %% [markdown]
# That is what "deployed" should mean: not "it runs", but "**it gives these answers**". Keep such a table with the model card of lesson 06, and make it again with every release, of the model *and* of the libraries.
#
# And it should say what was tried with what:
#
# | hop | here | in the project's tests, too |
# |---|---|---|
# | SavedModel | TensorFlow's own loader | |
# | REST, gRPC | the course's stand-in, or `tensorflow_model_server` if you have it; on one machine | the `tensorflow/serving` image, in the workflow on GitHub; KServe's server (REST) |
# | Lambda | the handler in a process without TensorFlow | AWS's runtime client; its checker for the template |
# | **not tried** | a real network, encryption, AWS itself, a GPU, more than one machine | |
#
# The end: servers are stopped, the temporary folder goes, and the model is what it was.

# %%
running.close()
temporary.cleanup()
os.environ.pop("GUEST_BOOK")
assert not place.exists()
assert received.change() < 1e-5
assert all(np.array_equal(a, b) for a, b in zip(weights_at_the_start, model.get_weights(), strict=True))
print("nothing is left running or lying about, and no weight of the model has changed: True")

# %% [markdown]
# ## Summary
#
# - What a client can get wrong, it will, and **no error** tells. Pixel range, decoding, softmax and names belong into the deployed model.
# - A **SavedModel** is graph, weights, names and signatures. A server swaps its versions without losing a request, and answers say which version spoke.
# - **REST** for everybody, **gRPC** between your own; send files, not numbers.
# - **Batching** costs the single client a wait, and can gain when many come: measure. Strangers in one batch can share a fate.
# - A **cloud function** needs no TensorFlow. It is cheap when asked rarely, and slow just then.
# - Bad input gets **4xx** and a reason, and hurts nobody else.
# - A model file is a **program**. `safe_mode` stays on, and strangers stay outside.
# - **Watch** confidence and class mix, with limits whose false alarms you have counted. Label a few. Send a known file every hour.
#
# ### Try it yourself
#
# 1. Let REST keep its connection open (`http.client.HTTPConnection`). How much of REST's time was the connection?
# 2. Set `batch_timeout_micros` to 50,000 and to 500, start the batching server again, and draw median latency and throughput against it.
# 3. Export the bundle with `kind="dynamic_int8"`. What becomes of size, cold start, and of the last table?
# 4. Write the hourly monitor: one known file through REST, and an alarm that tells a wrong class order from a model that is down.
# 5. A drift that comes slowly, one degree of rotation a day: after how many days does the alarm go off, with windows of 50 and of 200 answers a day? What would watching the *sum* of the small falls gain (CUSUM)?
#
# ## What next
#
# **Practise first:** [the exercises](exercises/07_deploy.ipynb) check what you write, and say what it shows. They take about an hour.
#
# **Lesson 08, [Compress](08_compress.ipynb)**, makes the file that you have just deployed smaller and faster, and measures what that costs.
#
# ## Further reading
#
# - C. Olston et al., [*TensorFlow-Serving: flexible, high-performance ML serving*](https://arxiv.org/abs/1712.06139), 2017. The pages on its [REST interface](https://www.tensorflow.org/tfx/serving/api_rest), on [serving with Docker](https://www.tensorflow.org/tfx/serving/docker), on [warm-up](https://www.tensorflow.org/tfx/serving/saved_model_warmup), and on [batching](https://github.com/tensorflow/serving/blob/master/tensorflow_serving/batching/README.md).
# - D. Sculley et al., [*Hidden technical debt in machine learning systems*](https://papers.nips.cc/paper/5656-hidden-technical-debt-in-machine-learning-systems), NeurIPS 2015: the model is the smallest box in the picture.
# - M. Zinkevich, [*Rules of machine learning*](https://developers.google.com/machine-learning/guides/rules-of-ml), Google: training/serving skew from rule 29 on.
# - AWS: [how Lambda runs a function](https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html), [the limits](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html), and [why the start is billed](https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/).
# - [KServe](https://kserve.github.io/website/): the same REST call, on Kubernetes, for models of many libraries.
# - Keras, [*whole model saving and loading*](https://keras.io/api/models/model_saving_apis/model_saving_and_loading/): `safe_mode`. TensorFlow, [*using TensorFlow securely*](https://github.com/tensorflow/tensorflow/blob/master/SECURITY.md).
# - S. Rabanser, S. Günnemann and Z. Lipton, [*Failing loudly: an empirical study of methods for detecting dataset shift*](https://arxiv.org/abs/1810.11953), 2018: which monitors see which shift.
