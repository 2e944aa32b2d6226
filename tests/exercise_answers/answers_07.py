"""How answers to the exercises of lesson 07 are made, right ones and wrong ones."""

import base64
import io
import json
import zipfile

import keras
import numpy as np
import PIL.Image


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def rows_of(files):
    return [{"image": {"b64": base64.b64encode(content).decode()}} for content in files]


def by_halving(ask, files):
    """Columns instead of rows; a refused request is halved until the damaged file is alone."""
    names: dict = {}
    waiting = [list(range(start, min(start + 32, len(files)))) for start in range(0, len(files), 32)]
    while waiting:
        places = waiting.pop()
        column = [row["image"] for row in rows_of([files[place] for place in places])]
        status, answer = ask({"signature_name": "encoded", "inputs": {"image": column}})
        if status == 200:
            names |= dict(zip(places, answer["outputs"]["classes"], strict=True))
        elif status != 400:
            raise ConnectionError(f"{status}: {answer['error']}")
        elif len(places) == 1:
            names[places[0]] = None
        else:
            waiting += [places[: len(places) // 2], places[len(places) // 2 :]]
    return tuple(names[place] for place in range(len(files)))


def client(
    *,
    size=32,
    rows=rows_of,
    signature="encoded",
    take=lambda row: row["classes"],
    refused=None,
    other=None,
    last=list,
):
    """A client with one thing done otherwise."""

    def names_of(ask, some):
        body = {"signature_name": signature, "instances": rows(some)}
        status, answer = ask(body if signature else {"instances": body["instances"]})
        if status == 200:
            return [take(row) for row in answer["predictions"]]
        if status != 400:
            return (other or fails)(ask, some, answer)
        if refused:
            return refused(some)
        return [None] if len(some) == 1 else [names_of(ask, [content])[0] for content in some]

    def classify(ask, files):
        batches = [files[start : start + size] for start in range(0, len(files), size)]
        return last([name for batch in batches for name in names_of(ask, batch)])

    return classify


def fails(ask, some, answer):
    raise RuntimeError(answer["error"])


def fails_silently(ask, some, answer):
    raise RuntimeError("it did not work")


def again_and_again(ask, some, answer):
    while True:
        status, answer = ask({"signature_name": "encoded", "instances": rows_of(some)})
        if status == 200:
            return [row["classes"] for row in answer["predictions"]]


def all_alone_if_one_is_refused(ask, files):
    found = client(refused=lambda some: [None] * len(some))(ask, files)
    return client(size=1)(ask, files) if None in found else found


def the_colleagues(ask, files):
    pixels = [np.asarray(PIL.Image.open(io.BytesIO(content)).convert("RGB")) / 255 for content in files]
    _, answer = ask({"instances": [each.tolist() for each in pixels]})
    names = sorted(["one", "two", "three", "four", "five", "six"])
    return [names[np.argmax(row["probabilities"])] for row in answer["predictions"]]


def lowered(event):
    return {name.lower(): value for name, value in (event.get("headers") or {}).items()}


def guard(
    *, headers=lowered,
    kind=lambda text: text.lower().split(";")[0].strip(), types=("image/jpeg", "image/png"),
    needs=lambda event: bool(event.get("isBase64Encoded")), decodes=ValueError,
    bytes_=lambda text, content: len(content) <= 100_000,
    pixels=lambda image: image.width * image.height <= 1_000_000, formats=("PNG", "JPEG"), bomb=413,
    early=True, damage=Exception, convert=lambda image: np.array(image.convert("RGB")),
    words="No.", kind_of=415,
):  # fmt: skip
    """A guard with one thing done otherwise."""

    def pixels_of(event):
        if kind(headers(event).get("content-type", "")) not in types and types:
            raise Refused(kind_of, words)
        text = event.get("body")
        if not text or not needs(event):
            raise Refused(400, words)
        try:
            content = base64.b64decode(text)
        except decodes:
            raise Refused(400, words) from None
        if not bytes_(text, content):
            raise Refused(413, words)
        try:
            with PIL.Image.open(io.BytesIO(content), formats=formats) as image:
                array = None if early else convert(image)
                if not pixels(image):
                    raise Refused(413, words)
                return convert(image) if early else array
        except Refused:
            raise
        except PIL.Image.DecompressionBombError as error:
            raise Refused(bomb, words) from error
        except damage:
            raise Refused(400, words) from None

    return pixels_of


def by_a_stack(path):
    """The names, as a list, without a function that calls itself."""
    with zipfile.ZipFile(path) as archive, archive.open("config.json") as file:
        waiting, found = [(json.load(file), None)], []
    while waiting:
        value, layer = waiting.pop()
        if isinstance(value, dict):
            config = value.get("config")
            layer = config["name"] if isinstance(config, dict) and "name" in config else layer
            module = value.get("module")
            foreign = module is not None and module.split(".")[0] != "keras"
            found += [layer] if foreign or value.get("class_name") == "__lambda__" else []
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(each, layer) for each in inside]
    return list(dict.fromkeys(found))


def config_of(path):
    return json.loads(zipfile.ZipFile(path).read("config.json"))


def look(*, dangerous, into=lambda value: True, report=lambda names: names[-1:], lists=True):
    """A look into a file with one thing done otherwise."""

    def code_in(path):
        found = set()

        def visit(value, names):
            if isinstance(value, list) and lists:
                for each in value:
                    if lists is True or isinstance(each, dict):
                        visit(each, names)
            if isinstance(value, dict):
                config = value.get("config")
                names = [*names, config["name"]] if isinstance(config, dict) and "name" in config else names
                if dangerous(value):
                    found.update(report(names))
                for key, each in value.items():
                    if into(key):
                        visit(each, names)

        visit(config_of(path), [])
        return found

    return code_in


def is_code(value):
    return value.get("class_name") == "__lambda__"


def is_foreign(value):
    return f"{value.get('module') or 'keras'}.".split(".")[0] != "keras"


def either(value):
    return is_code(value) or is_foreign(value)


def top_level(path):
    layers = config_of(path)["config"]["layers"]
    return {layer["config"]["name"] for layer in layers if layer["class_name"] == "Lambda"}


def opened(safe_mode):
    def code_in(path):
        model = keras.saving.load_model(path, safe_mode=safe_mode)
        return {layer.name for layer in model.layers if isinstance(layer, keras.layers.Lambda)}

    return code_in


def in_the_text(path):
    text = zipfile.ZipFile(path).read("config.json").decode()
    return {name for name in ("Lambda", "__lambda__") if f'"name": "{name}"' in text}


def by_cumulated_sums(confidence, size, rate):
    sums = np.concatenate([[0], np.cumsum(confidence)])
    means = (sums[size:] - sums[:-size]) / size
    return max(mean for mean in means if np.sum(means < mean - 1e-12) <= rate * len(means))


def means_of(confidence, size, step=1):
    return np.array(
        [confidence[start : start + size].mean() for start in range(0, len(confidence) - size + 1, step)]
    )


def at(place, of=means_of, order=1):
    """The mean at a place among the sorted ones."""
    return lambda confidence, size, rate: (means := np.sort(of(confidence, size))[::order])[
        min(len(means) - 1, max(0, place(rate * len(means))))
    ]
