"""Answers to the exercises of lesson 07."""

import base64
import math

import numpy as np
import PIL.Image
import scipy.stats

from exercise_answers import answers_07

ANSWERS = {
    "on_paper": (
        lambda: (60.65, 436363.6, 7.2, 3.6),
        {
            "hard-coded: round numbers": lambda: [70, 500_000, 10, 5],
            "warm": lambda: [39.3, 436_364, 7.2, 3.6],
            "a share": lambda: [0.607, 436_364, 7.2, 3.6],
            "like a clock": lambda: [100, 436_364, 7.2, 3.6],
            "a straight line": lambda: [50, 436_364, 7.2, 3.6],
            "hours and minutes": lambda: [0.0, 436_364, 7.2, 3.6],
            "no fee": lambda: [60.7, 480_000, 7.2, 3.6],
            "the fee only": lambda: [60.7, 4_800_000, 7.2, 3.6],
            "one gigabyte": lambda: [60.7, 800_000, 7.2, 3.6],
            "seconds": lambda: [60.7, 480, 7.2, 3.6],
            "an hour": lambda: [60.7, 18_182, 7.2, 3.6],
            "a dear fee": lambda: [60.7, 4.8, 7.2, 3.6],
            "a batch for the price of one": lambda: [60.7, 436_364, 32, 3.6],
            "without the call": lambda: [60.7, 436_364, 9, 3.6],
            "upside down": lambda: [60.7, 436_364, 0.139, 3.6],
            "images a second": lambda: [60.7, 436_364, 1600, 3.6],
            "times as long": lambda: [60.7, 436_364, 4.44, 3.6],
            "a window a day": lambda: [60.7, 436_364, 7.2, 0.15],
            "one day": lambda: [60.7, 436_364, 7.2, 0.12],
            "windows": lambda: [60.7, 436_364, 7.2, 720],
            "one in a hundred": lambda: [60.7, 436_364, 7.2, 7.2],
            "three numbers": lambda: [60.7, 436_364, 7.2],
        },
    ),
    "classify": (
        lambda: answers_07.by_halving,
        {
            "hard-coded: zeros": lambda: lambda ask, files: ["zero"] * len(files),
            "the colleague's": lambda: answers_07.the_colleagues,
            "no signature": lambda: answers_07.client(signature=None),
            "another signature": lambda: answers_07.client(signature="files"),
            "text that is not marked": lambda: answers_07.client(
                rows=lambda some: [{"image": base64.b64encode(content).decode()} for content in some]
            ),
            "bytes": lambda: answers_07.client(
                rows=lambda some: [{"image": {"b64": content}} for content in some]
            ),
            "another input": lambda: answers_07.client(
                rows=lambda some: [{"file": row["image"]} for row in answers_07.rows_of(some)]
            ),
            "numbers": lambda: answers_07.client(take=lambda row: int(np.argmax(row["probabilities"]))),
            "names of its own": lambda: answers_07.client(
                take=lambda row: f"class {np.argmax(row['probabilities'])}"
            ),
            "all in one": lambda: answers_07.client(size=10**6),
            "batches of 64": lambda: answers_07.client(size=64),
            "one by one": lambda: answers_07.client(size=1),
            "a batch for a file": lambda: answers_07.client(refused=lambda some: [None] * len(some)),
            "refused for good": lambda: answers_07.client(
                refused=lambda some: answers_07.fails(None, some, {"error": "400"})
            ),
            "left out": lambda: answers_07.client(last=lambda names: [name for name in names if name]),
            "the first batch only": lambda: lambda ask, files: answers_07.client()(ask, files[:32]),
            "backwards": lambda: answers_07.client(last=lambda names: names[::-1]),
            "all again": lambda: answers_07.all_alone_if_one_is_refused,
            "any error is the files'": lambda: answers_07.client(
                other=lambda ask, some, answer: [None] * len(some)
            ),
            "any error is the files', of one asked alone": lambda: answers_07.client(
                other=lambda ask, some, answer: (
                    [None] if len(some) == 1 else answers_07.fails(ask, some, answer)
                )
            ),
            "no words": lambda: answers_07.client(other=answers_07.fails_silently),
            "again and again": lambda: answers_07.client(other=answers_07.again_and_again),
            "one text": lambda: answers_07.client(last=", ".join),
        },
    ),
    "pixels_of": (
        lambda: answers_07.guard(),
        {
            "hard-coded: refused": lambda: answers_07.guard(types=("image/webp",)),
            "hard-coded: black": lambda: lambda event: np.zeros((32, 32, 3), "uint8"),
            "headers as they come": lambda: answers_07.guard(
                headers=lambda event: event.get("headers") or {}
            ),
            "no semicolon": lambda: answers_07.guard(kind=str.lower),
            "small letters": lambda: answers_07.guard(kind=lambda text: text.split(";")[0].strip()),
            "as they are": lambda: answers_07.guard(convert=np.array),
            "four channels": lambda: answers_07.guard(
                convert=lambda image: np.array(image.convert("RGBA" if image.mode == "RGBA" else "RGB"))
            ),
            "blue first": lambda: answers_07.guard(
                convert=lambda image: np.array(image.convert("RGB"))[..., ::-1]
            ),
            "numbers from 0 to 1": lambda: answers_07.guard(
                convert=lambda image: np.array(image.convert("RGB")) / 255
            ),
            "a picture": lambda: answers_07.guard(convert=lambda image: image.convert("RGB")),
            "of the network's size": lambda: answers_07.guard(
                convert=lambda image: np.array(image.convert("RGB").resize((32, 32)))
            ),
            "each side": lambda: answers_07.guard(pixels=lambda image: max(image.size) <= 1000),
            "length of the text": lambda: answers_07.guard(bytes_=lambda text, content: len(text) <= 100_000),
            "less than": lambda: answers_07.guard(bytes_=lambda text, content: len(content) < 100_000),
            "less than a million": lambda: answers_07.guard(
                pixels=lambda image: image.width * image.height < 1_000_000
            ),
            "any type": lambda: answers_07.guard(types=()),
            "400 for the type": lambda: answers_07.guard(kind_of=400),
            "no header, no answer": lambda: answers_07.guard(
                headers=lambda event: (
                    {"content-type": event["headers"]["content-type"]}
                    if "content-type" in event["headers"]
                    else {name.lower(): event["headers"][name] for name in ("Content-Type",)}
                )
            ),
            "not base64": lambda: answers_07.guard(needs=lambda event: True),
            "binascii": lambda: answers_07.guard(decodes=KeyError),
            "any size": lambda: answers_07.guard(bytes_=lambda text, content: True),
            "any format": lambda: answers_07.guard(formats=None),
            "only what is no image": lambda: answers_07.guard(damage=PIL.UnidentifiedImageError),
            "OSError only": lambda: answers_07.guard(damage=(OSError, SyntaxError)),
            "any number of pixels": lambda: answers_07.guard(pixels=lambda image: True),
            "decoded first": lambda: answers_07.guard(early=False),
            "Pillow's own bomb": lambda: answers_07.guard(bomb=400),
            "a server's fault": lambda: answers_07.guard(bomb=500),
            "no event": lambda: answers_07.guard(
                headers=lambda event: {name.lower(): value for name, value in event["headers"].items()}
            ),
            "no words": lambda: answers_07.guard(words=""),
        },
    ),
    "code_in": (
        lambda: answers_07.by_a_stack,
        {
            "hard-coded: polish": lambda: lambda path: {"polish"},
            "hard-coded: nothing": lambda: lambda path: set(),
            "in the text": lambda: answers_07.in_the_text,
            "the first level": lambda: answers_07.top_level,
            "layers only": lambda: answers_07.look(
                dangerous=answers_07.is_code, into=lambda key: key in ("layers", "config", "function")
            ),
            "code only": lambda: answers_07.look(dangerous=answers_07.is_code),
            "classes called Lambda": lambda: answers_07.look(
                dangerous=lambda value: value.get("class_name") == "Lambda", report=lambda names: names[:1]
            ),
            "begins with keras": lambda: answers_07.look(
                dangerous=lambda value: (
                    answers_07.is_code(value) or not str(value.get("module") or "keras").startswith("keras")
                )
            ),
            "lists in lists": lambda: answers_07.look(dangerous=answers_07.either, lists="flat"),
            "the whole model": lambda: answers_07.look(
                dangerous=answers_07.either, report=lambda names: names[:1] if len(names) > 2 else names[-1:]
            ),
            "all around it": lambda: answers_07.look(
                dangerous=answers_07.either, report=lambda names: names if len(names) > 2 else names[-1:]
            ),
            "always all around it": lambda: answers_07.look(
                dangerous=answers_07.either, report=lambda names: names
            ),
            "opened": lambda: answers_07.opened(False),
            "opened safely": lambda: answers_07.opened(True),
            "a verdict": lambda: lambda path: bool(answers_07.by_a_stack(path)),
        },
    ),
    "quiet_limit": (
        lambda: answers_07.by_cumulated_sums,
        {
            "hard-coded: the limit of the notebook": lambda: lambda confidence, size, rate: 0.895,
            "the formula": lambda: (
                lambda confidence, size, rate: (
                    confidence.mean() + scipy.stats.norm.ppf(rate) * confidence.std() / np.sqrt(size)
                )
            ),
            "normal windows": lambda: (
                lambda confidence, size, rate: (
                    (means := answers_07.means_of(confidence, size)).mean()
                    + scipy.stats.norm.ppf(rate) * means.std()
                )
            ),
            "quantile of windows": lambda: (
                lambda confidence, size, rate: np.quantile(answers_07.means_of(confidence, size), rate)
            ),
            "quantile of answers": lambda: lambda confidence, size, rate: np.quantile(confidence, rate),
            "answers": lambda: answers_07.at(math.floor, of=lambda confidence, size: confidence),
            "side by side": lambda: answers_07.at(
                math.floor, of=lambda confidence, size: answers_07.means_of(confidence, size, size)
            ),
            "the sure ones": lambda: answers_07.at(math.floor, order=-1),
            "one alarm unused": lambda: answers_07.at(lambda count: math.floor(count) - 1),
            "one alarm too many": lambda: answers_07.at(lambda count: math.floor(count) + 1),
            "the lowest": lambda: lambda confidence, size, rate: answers_07.means_of(confidence, size).min(),
            "the last window forgotten": lambda: (
                lambda confidence, size, rate: answers_07.at(math.floor)(confidence[:-1], size, rate)
            ),
            "careful by a little": lambda: lambda *case: answers_07.at(math.floor)(*case) - 1e-3,
            "two numbers": lambda: lambda confidence, size, rate: (0.8, 0.01),
            "a verdict": lambda: lambda confidence, size, rate: True,
        },
    ),
}
