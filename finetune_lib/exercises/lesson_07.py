"""Exercises of lesson 07: numbers on paper, a client, a function's guard, a look into a stranger's file, an alarm."""

import json
import math
import os
import pathlib
import tempfile
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from finetune_lib import checks
from finetune_lib.exercises import files_07, mistakes_07

GUEST = "FINETUNE_EXERCISE_GUEST"  # what the payload of a stranger's model sets, which does no harm


def _tell(stories: Mapping[str, Any], start: str = "") -> None:
    """Raise with the first story that holds."""
    for story, holds in stories.items():
        if holds:
            raise checks.Incorrect(start + story)


@checks.task(
    "Cold: nobody came in the 10 minutes before; with r requests a minute that has the probability e^(-10r). Money: what does *one* request cost? Batch: milliseconds for each image. Alarms: how many windows are there?",
    "r = 72 / 1440. A request costs 0.20 / 1,000,000 + 0.06 · 2 · 0.0000166667 dollars. Alone an image takes 4.5 ms, in a full batch (4 + 32 · 0.5) / 32. And there are 30 · 24 windows.",
)
def on_paper(answer: Sequence[float]) -> str:
    found = np.asarray(answer, dtype=float)
    if found.shape != (4,):
        raise checks.Incorrect(f"The answer is four numbers in brackets, not {answer!r:.60}.")
    good = [
        low <= value <= high for value, (_, low, high, _) in zip(found, mistakes_07.ON_PAPER, strict=True)
    ]
    for value, is_good, (name, low, _, wrong) in zip(found, good, mistakes_07.ON_PAPER, strict=True):
        if not is_good:
            start = f"Numbers that are right: {sum(good)} of 4. {name} is not: {value:g} "
            story = min(wrong, key=lambda story: abs(wrong[story] - value))
            _tell({story: math.isclose(value, wrong[story], rel_tol=0.02, abs_tol=1e-6)}, start)
            raise checks.Incorrect(f"{start}is too {'small' if value < low else 'large'}.")
    return "Few requests cost a function next to nothing, and most of them wait for a cold start. Batching pays because a call costs more than an image. And a rate of alarms means nothing without how often one looks: one in 200 sounds rare, and is nearly once a week."


NAMES = ["zebra", "ant", "heron", "marten", "cod", "Ölkäfer"]


@checks.task(
    'A row is `{"image": {"b64": text}}`, the text `base64.b64encode(content).decode()`, and the request needs `"signature_name": "encoded"`. The names come back under `"classes"`.',
    "Write a helper that sends a list of files and returns status and answer. Go through the files 32 at a time; after a 400 call the helper for each of these files alone, and take None where that gives 400 again. After any other status than 200 and 400: `raise RuntimeError(answer['error'])`.",
)
def classify(answer: Callable[[Callable, list[bytes]], Any]) -> str:
    order = np.random.default_rng(7).permutation(len(NAMES))
    for seed, (count, damaged) in enumerate(
        [(1, ()), (32, ()), (75, ()), (45, (3, 40)), (1, (0,)), (70, (69,)), (0, ())]
    ):
        files, server = (
            files_07.some_files(seed, count, damaged),
            mistakes_07.Server([NAMES[place] for place in order]),
        )
        order = np.roll(order, 1)
        _examine_client(answer, files, server, damaged)
    for full, count, damaged in ((0, 40, ()), (1, 40, ()), (2, 20, (1,))):
        server = mistakes_07.Server(NAMES, full)
        case = f"The server answers request number {full + 1}, and all after it, with 503 and the words {server.words!r}. "
        try:
            found = answer(server.ask, files_07.some_files(50, count, damaged))
        except RecursionError:
            raise checks.Incorrect(
                f"{case}Your client asks on and on. Whether to try again is for the caller to say: raise an error."
            ) from None
        except Exception as error:
            if server.words not in str(error):
                raise checks.Incorrect(
                    f"{case}Your function raised {type(error).__name__}: {error}. The server has said what is wrong: pass its words on."
                ) from None
            continue
        raise checks.Incorrect(
            f"{case}Your function returned {str(found)[:40]} ... as if the files were damaged. 503 says that the fault is the server's: raise an error."
        )
    return "Your client knows nothing of pixels, scales or the order of classes: so it cannot have them wrong. A damaged file costs one batch asked again, and nobody else an answer. And it does not take the server's fault for the file's."


def _examine_client(
    answer: Callable, files: list[bytes], server: mistakes_07.Server, damaged: Collection[int]
) -> None:
    case = f"{len(files)} file{'s' * (len(files) != 1)}" + (
        f", damaged: number {', '.join(map(str, damaged))} (from 0). " if damaged else ": "
    )
    found = checks.call(answer, server.ask, list(files))
    numbers = [
        None if place in damaged else server.version.class_of(each) for place, each in enumerate(files)
    ]
    right = [None if number is None else server.version.names[number] for number in numbers]
    if not isinstance(found, list | tuple | np.ndarray):
        raise checks.Incorrect(f"{case}return a list with a name for each file, not {found!r:.60}.")
    sent, found = server.version.rows, list(found)
    if strange := [
        each for each in found if not (each is None or isinstance(each, str | int | float | np.number))
    ]:
        raise checks.Incorrect(
            f"{case}a name is a text, and a missing one is None; yours: {strange[0]!r:.60}."
        )
    batches = math.ceil(len(files) / mistakes_07.MOST_FILES)
    if found != right:
        unknown = [each for each in found if each is not None and each not in server.version.names]
        is_number = any(isinstance(each, int | float | np.number) for each in found)
        first = next(
            (place for place, pair in enumerate(zip(found, right, strict=False)) if pair[0] != pair[1]), 0
        )
        words = (server.refusals or [""])[-1]
        in_vain = not damaged and server.refusals and len(server.refusals) == len(server.bodies)
        _tell(
            {
                f"your client sent nothing, and returned {str(found)[:40]}. The answers are the server's.": files
                and not server.bodies,
                "your client sends pixels, to `serving_default`. How to decode and scale is the server's business: send the files, to the signature `encoded`.": "serving_default"
                in server.version.signatures
                and server.version.rows,
                f"your request does not say `signature_name`, so the server takes it for `serving_default`, which wants pixels. It says: {words}": in_vain
                and server.version.signatures[-1:] == ["serving_default"],
                f'your file is a text in the request. Base64 is text, too, and only `{{"b64": ...}}` says that it stands for bytes. The server says: {words}': in_vain
                and '"image": "' in json.dumps(server.bodies),
                f"the server has refused every request. Its last words: {words}": in_vain,
                "you return numbers. Which class a number stands for, the server knows: it sends the names.": is_number,
                f"your list has {len(found)} entries. One for each file, in the files' order, with None for one that cannot be decoded: otherwise nobody knows which answer belongs to which file.": len(
                    found
                )
                != len(files),
                f"{unknown[:1]} is none of this server's names. Another server has other classes, in another order: take the name from the answer.": unknown,
                f"{found.count(None)} files get None. The server refuses a request as a whole if *one* file in it is damaged; the others are good. Ask again, each alone.": found.count(
                    None
                )
                > right.count(None),
                "the names are there, but with other files. Keep the files' order.": sorted(map(str, found))
                == sorted(map(str, right)),
            },
            case,
        )
        raise checks.Incorrect(
            f"{case}file number {first} is {right[first]!r}, you say {found[first]!r}. Does the name come out of the answer?"
        )
    if max(sent, default=0) > mistakes_07.MOST_FILES:
        raise checks.Incorrect(
            f"{case}all answers are right, but one request held {max(sent)} files. {mistakes_07.MOST_FILES} at most: a request must not fill the server's memory."
        )
    bad = len({place // mistakes_07.MOST_FILES for place in damaged})
    if len(server.bodies) > batches + (mistakes_07.MOST_FILES + 1) * bad:
        again = (
            "Ask again only for the files of a request that was refused."
            if bad
            else f"{batches} would do: send files together."
        )
        raise checks.Incorrect(
            f"{case}all answers are right, but it took {len(server.bodies)} requests. {again}"
        )


@checks.task(
    "Go from cheap to dear: type, base64, bytes, then `PIL.Image.open` (it reads the head only), the size, and at last the pixels. Each step that fails raises Refused.",
    'Two `try`s: one around `base64.b64decode`, one around everything of Pillow\'s, with `formats=("JPEG", "PNG")`. In the second, `except Refused: raise` first, then `except PIL.Image.DecompressionBombError` (413), then `except Exception` (400). Compare `image.width * image.height` before `image.convert("RGB")`.',
)
def pixels_of(answer: Callable[[dict], np.ndarray]) -> str:
    if not callable(answer):
        checks.call(answer)
    for what, event, wanted, why in files_07.guarded():
        start = f"{what[0].upper()}{what[1:]}: "
        told = f" {why}".rstrip()
        should = (
            "it is a good one."
            if isinstance(wanted, np.ndarray)
            else f"the status should be {wanted or '4xx'}."
        )
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = answer(event)
        except Exception as error:
            status = getattr(error, "status", None)
            status = status if isinstance(status, int) else None
            if status is None:
                raise checks.Incorrect(
                    f"{start}your function raised {type(error).__name__}: {str(error)[:80]}. Whatever is not Refused becomes a 5xx, and wakes you up at night; {should}{told}"
                ) from None
            if isinstance(wanted, np.ndarray) or (status != wanted if wanted else not 400 <= status < 500):
                raise checks.Incorrect(f"{start}you refuse it with {status}, {should}{told}") from None
            if not str(error).strip():
                raise checks.Incorrect(
                    f"{start}refused with {status}, and no word about why. What should the sender do?"
                ) from None
            continue
        if not isinstance(wanted, np.ndarray):
            raise checks.Incorrect(f"{start}you let it pass; {should}{told}")
        if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != 3:
            kind = (
                f"{found.dtype} of shape {found.shape}"
                if isinstance(found, np.ndarray)
                else type(found).__name__
            )
            raise checks.Incorrect(
                f"{start}return an array uint8 of shape (height, width, 3), not {kind}.{told}"
            )
        if found.shape != wanted.shape:
            raise checks.Incorrect(
                f"{start}the array should have the shape {wanted.shape}, and has {found.shape}.{told}"
            )
        if np.abs(found.astype(int) - wanted).max() > 3:
            raise checks.Incorrect(
                f"{start}the pixels are others than the file's. Does anything scale them, or change the colours?"
            )
    return "Cheap questions first, and nothing is decoded before its size is known. Everything bad is the sender's fault, and the sender is told; so a 5xx in your log is a mistake of *yours*, and worth getting up for. (A real function also has AWS's own limits, and somebody who asks who is asking.)"


@checks.task(
    '`zipfile.ZipFile(path).read("config.json")`, then `json.loads`. Dictionaries hold dictionaries and lists, and these hold more: write a function that calls itself for each value, and hands down the name of the layer it is in.',
    'In `visit(value, layer)`: for a list visit each entry. For a dictionary: if its `config` is a dictionary with a `name`, that is the layer from here on; if `class_name` is `"__lambda__"` or the module is foreign, add the layer; then visit all values. A module is Keras\' if it is None, `"keras"`, or begins with `"keras."`, with the dot.',
)
def code_in(answer: Callable[[pathlib.Path], Any]) -> str:
    with tempfile.TemporaryDirectory() as folder:
        for what, path, right, where in files_07.strangers(pathlib.Path(folder)):
            os.environ.pop(GUEST, None)
            case = f"A file with this inside: {what}. "
            try:
                found = checks.call(answer, path)
            except checks.Incorrect as wrong:
                opened = "safe_mode" in str(wrong)
                raise checks.Incorrect(
                    f"{case}Keras refuses to open it, and that is good. But you should not have to open a file to see what is in it: it is a zip file, and config.json is text."
                    if opened
                    else f"{case}{wrong}"
                ) from None
            finally:
                ran = os.environ.pop(GUEST, None)
            if ran:
                raise checks.Incorrect(
                    f"{case}Your function has opened the model, and the stranger's code **has run**. (It was a harmless one.) Read config.json, which is text."
                )
            _examine_names(case, found, right, where)
    return "Nothing was opened, so nothing could run. But a list of known tricks is no proof of innocence: CVE-2025-8747 and CVE-2025-9906 got by with functions of Keras' *own*, which nobody would call foreign. So this look is worth having before you write to the author, and `safe_mode`, a container, and plain weights in code of your own remain the protection."


def _examine_names(case: str, found: Any, right: set[str], where: str) -> None:
    if isinstance(found, bool) or not isinstance(found, set | frozenset | list | tuple):
        raise checks.Incorrect(f"{case}Return a set with the names of the layers, not {found!r:.60}.")
    names = {str(name) for name in found}
    wanted = ", ".join(sorted(right)) or "(none)"
    said = f"{case}To be reported: {wanted}. You report: {', '.join(sorted(names)) or '(none)'}. "
    if right - names:
        raise checks.Incorrect(
            f"{said}{'That is a layer around it: name the innermost one.' if names else where}"
        )
    if names - right:
        raise checks.Incorrect(
            f"{said}{'The layers around it have done nothing: name the innermost one.' if right else 'What a layer is called says nothing; its `class_name` and its `module` do.'}"
        )


@checks.task(
    'First the means of all windows: `np.convolve(confidence, np.ones(size) / size, "valid")`. Sort them. How many of them may lie below the limit?',
    "At most `int(rate * len(means))` may. A limit that equals the sorted mean of that place (from 0) has just so many below it, and any higher limit has more.",
)
def quiet_limit(answer: mistakes_07.Limit) -> str:
    wrong, failure = dict.fromkeys(mistakes_07.LIMITS, True), ""
    for seed, (makers, size, rate) in enumerate(
        [(6, 20, 0.05), (4, 50, 0.013), (9, 10, 0.1), (3, 30, 0.004), (5, 25, 0.22)]
    ):
        generator = np.random.default_rng(900 + seed)
        ease = np.repeat(generator.uniform(2, 8, makers), generator.integers(40, 90, makers))
        confidence = generator.beta(ease, 1)
        if rate < 0.01:
            confidence[-8:] = 0.05  # so that the lowest window is the last one
        result = checks.call(answer, confidence.copy(), size, rate)
        if isinstance(result, bool) or not isinstance(result, int | float | np.number):
            raise checks.Incorrect(f"Return one number, the limit, not {result!r:.60}.")
        found, right = float(result), mistakes_07.quiet(confidence, size, rate)
        for story, limit in mistakes_07.LIMITS.items():
            wrong[story] &= bool(math.isclose(limit(confidence, size, rate), found, abs_tol=1e-6))
        if not failure and not math.isclose(found, right, abs_tol=1e-6):
            means = mistakes_07.window_means(confidence, size)
            alarms, allowed = int((means < found).sum()), math.floor(rate * len(means))
            failure = f"Of {len(means)} windows of {size} ordinary answers {allowed} may raise an alarm. Your limit, {found:.4g}, makes it {alarms}; the highest that keeps to it is {right:.4f}."
    if failure:
        _tell({f"{failure} {story}": holds for story, holds in wrong.items()})
        raise checks.Incorrect(f"{failure} Which windows do you look at, and how many of them are below?")
    return "Your limit promises nothing about distributions. It has counted: on this traffic it gives no more false alarms than were allowed, and no limit with that property sees more. What comes from makers who are not in this traffic may be otherwise: watch more of them, and count again."


question_1 = checks.choice(
    __name__,
    "question_1",
    "c",
    {
        "a": 'A copy of the rules is what failed: two programs by two people, in two libraries, and "scaled" means something else in each. And the next client is being written already.',
        "b": "It would be trained for *this* client's pixels, then. The next version of the phone's library scales otherwise, and nobody is told.",
        "c": "What is done once, in one place, cannot differ. The client sends what it has, bytes, and the model that knows its training decodes them. Then prove it: the same files by both ways, and compare.",
        "d": "Rare mistakes of an unknown kind are what a monitor sees last: confidence has hardly changed, and neither has the mix. And to see a fault is not yet to mend it.",
    },
)

question_2 = checks.choice(
    __name__,
    "question_2",
    "b",
    {
        "a": 'As text, "9" comes after "10". But names of versions are numbers, and 10 is the higher one.',
        "b": "The highest number among the folders whose names are numbers, nothing else. `.writing-4f2a` is an export in the making, and `withdrawn-11` was moved out of the way: both are names that a server does not see, and that is their purpose.",
        "c": "A server does not look for digits in a name. The *whole* name must be a number, and that is how 11 was withdrawn.",
        "d": "It is not finished, perhaps half a file. That is why it has such a name: a number is given in one step, when all is there.",
    },
)

question_3 = checks.choice(
    __name__,
    "question_3",
    "d",
    {
        "a": "It waits for 20 ms, and hardly ever is anybody else there. Nothing is gained, and each answer takes longer.",
        "b": "With two requests a second two hardly ever meet within 20 ms. More threads have even less to do.",
        "c": "The server is idle nine tenths of the time. A second one would be idle, too.",
        "d": "A request waits for company, in vain: the whole 20 ms come on top of its own. Batching is for many requests at once. Measure under the load you have.",
    },
)

question_4 = checks.choice(
    __name__,
    "question_4",
    "a",
    {
        "a": "Numbers are all that the file is asked for; the program is one that you have read. Compare the hash all the same, so that they are the numbers that were meant.",
        "b": "A SavedModel has no Python in it, but its graph is a program, too: it may read and write files when it is called.",
        "c": "That turns off the one thing that stands between opening a file and running what is in it.",
        "d": "Many downloads show that many people trust it. And names that look like well-known ones are what strangers publish under.",
    },
)

question_5 = checks.choice(
    __name__,
    "question_5",
    "c",
    {
        "a": "The alarm sees confidence and mix. A mistake that is made with confidence, evenly over the classes, is as quiet as a right answer.",
        "b": "It would show that if the alarm went off. Silence shows less: that confidence and mix are as they were.",
        "c": "Only what changes confidence or the mix is seen. A sample with labels (and its interval) tells the accuracy; a known file, sent through the whole chain, tells whether the chain is whole.",
        "d": "A rate of false alarms is set on ordinary traffic, where nothing is wrong. About how many *real* changes are missed it says nothing.",
    },
)
