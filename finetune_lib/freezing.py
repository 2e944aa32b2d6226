"""Where the freeze boundary is: freeze, unfreeze, look at it in a table, and cut the model there (lesson 04).

Fine-tuning splits a network at a boundary: the layers before it keep the weights they came with, the layers
after it learn. Here the boundary is a property of the model, its layers' ``trainable`` flags. The functions
accept any functional (or built Sequential) Keras model.
"""

import difflib
import math
from collections.abc import Iterator
from typing import Any

import keras

from finetune_lib import graph

# What sums an image up. The layers with weights after the last of these are the head.
SUMMARIES = (keras.layers.GlobalAveragePooling2D, keras.layers.GlobalMaxPooling2D, keras.layers.Flatten)


def freeze(model: keras.Model) -> keras.Model:
    """Freeze everything except the head, to train a new head on the features as they are.

    The head is every layer with weights after the last global pooling, flatten or nested base model in
    ``model.layers``; where there is none of these, the last layer with weights.

    The model is left un-compiled, so that a bare ``model.fit`` raises: it would go on training the weights it
    was compiled with, in silence. Call ``fitting.fit(model, dataset, ...)``, which compiles, trains and
    verifies, or compile it yourself.

    Returns:
        The same model.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if no layer has weights.
    """
    last = head(model)
    model.trainable = True
    for layer in model.layers:
        _set_trainable(layer, layer in last)
    model.compiled = False
    return model


def unfreeze_from(model: keras.Model, name: str, *, train_batch_normalization: bool = False) -> keras.Model:
    """Move the boundary: the named layer and all layers after it learn, everything before it is frozen.

    "After" is the order of ``model.layers``, from input to output. Un-compiles the model, like ``freeze``.

    Args:
        name: a layer's name, or a block's: ``"block4"`` is the first layer that is named ``block4`` or whose
            name starts with ``block4_``.
        train_batch_normalization: by default BatchNormalization below the head stays frozen, which also keeps
            it in inference mode: new statistics from little data would undo what the weights around it
            learned (https://keras.io/guides/transfer_learning). The head's own is new and always learns.

    Returns:
        The same model.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if there is no such layer, or only inside a nested model; the message says what to do.
    """
    last = {layer.name for layer in head(model)}
    matches = [i for i, layer in enumerate(model.layers) if is_called(layer.name, name)]
    if not matches:
        raise ValueError(_unknown_name(model, name))
    model.trainable = True
    for position, layer in enumerate(model.layers):
        _set_trainable(layer, position >= matches[0])
    for path, layer in leaves(model):
        if _is_normalization(layer) and not train_batch_normalization and path.split("/")[0] not in last:
            layer.trainable = False
    model.compiled = False
    return model


def split(model: keras.Model, after: str | None = None) -> tuple[keras.Model, keras.Model]:
    """Cut the model in two: ``suffix(prefix(images))`` equals ``model(images)`` bit for bit.

    Both parts share their layers with the model. Without ``after`` the cut is at the boundary: the prefix is
    all that does not depend on a layer that learns, a constant function of the image. Pooling after the last
    frozen layer is in it: its output is the smaller one. Layers that draw random numbers (Dropout,
    RandomFlip, ...) are in it if a frozen layer with weights comes after them, or the end of a skip
    connection around them (the Dropout in a residual block); the prefix runs in inference mode, so they never
    fire. Otherwise they and what follows are in the suffix: a Dropout just before the head regularises the
    head.

    Where skip connections cross the boundary, the prefix returns a list of tensors and the suffix takes it.
    If nothing is frozen before the boundary, the prefix returns the images; if nothing is trainable, the
    suffix returns its input.

    In compiled functions, such as ``predict``, TensorFlow may add three numbers up in another order right
    after a cut: it does after ConvNeXt's stages under Keras 3.13, whose results then differ in the last bit.

    Args:
        after: a layer's name, to cut right after it instead, whatever is frozen; or a block's, to cut after
            its last layer and the operations that end it, such as ``x + y``. The prefix then returns a single
            tensor.

    Returns:
        ``(prefix, suffix)``, un-compiled functional models.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: without ``after``, if a nested model is frozen in part, so that the boundary lies inside
            it. With it, if there is no such layer, or only inside a nested model, or if a skip connection
            runs past it; the message names the nearest layers after which a cut works.
    """
    inputs, outputs, calls = graph.trace(model)
    if after is None:
        made = _constant(model, inputs, calls)
    else:
        made = _made_until(model, after, inputs, outputs, calls)
    crossing = graph.crossing(made, outputs, calls)
    # The suffix is made by calling its layers once more, on new inputs in place of the crossing tensors.
    activations = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in crossing.values()]
    renewed = dict(zip(crossing, activations, strict=True))
    graph.repeat([call for call in calls if not call.makes.keys() <= made], renewed)
    prefix = graph.build(inputs, graph.single(list(crossing.values())), f"{model.name}_prefix")
    suffix = graph.build(graph.single(activations), graph.replace(outputs, renewed), f"{model.name}_suffix")
    return prefix, suffix


def join(prefix: keras.Model, suffix: keras.Model) -> keras.Model:
    """Put the parts that ``split`` made together again, as one flat model: ``suffix(prefix(images))``.

    Returns:
        An un-compiled functional model with the layers of both, shared with them, and the prefix's inputs.

    Raises:
        TypeError: if a part is not functional, or not built.
        ValueError: if the suffix does not take what the prefix returns, or if two layers have the same name.
    """
    inputs, returned, first = graph.trace(prefix)
    taken, outputs, second = graph.trace(suffix)
    if graph.shapes(returned) != graph.shapes(taken):
        raise ValueError(
            f"{suffix.name!r} takes {graph.shapes(taken)}, but {prefix.name!r} returns "
            f"{graph.shapes(returned)}. Join a prefix and a suffix that freezing.split made of one model."
        )
    renewed: dict[int, Any] = {}
    graph.repeat(first, renewed)
    returned = graph.replace(keras.tree.flatten(returned), renewed)
    renewed = {id(x): new for x, new in zip(keras.tree.flatten(taken), returned, strict=True)}
    graph.repeat(second, renewed)
    return graph.build(inputs, graph.replace(outputs, renewed), prefix.name.removesuffix("_prefix"))


def table(model: keras.Model, report: Any = None) -> str:
    """The boundary as text: one row per layer with weights, a total, and where the boundary is.

    Columns: layer; number of parameters; trainable; what BatchNormalization does during training
    (``inference``: uses its stored statistics; ``training``: uses the batch's and updates the stored ones);
    and, given a ``fitting.FitReport``, whether ``fit`` moved the layer's weights.
    """
    rows = [("layer", "parameters", "trainable", "batch norm", "moved" if report else "")]
    for path, layer in leaves(model):
        if layer.weights:
            mode = ("training" if layer.trainable else "inference") if _is_normalization(layer) else ""
            moved = ("yes" if report.moved.get(path) else "no") if report else ""
            rows.append((path, f"{layer.count_params():,}", "yes" if learns(layer) else "no", mode, moved))
    width = max(len(path) for path, *_ in rows)
    lines = [
        f"{path:{width}}  {n:>11}  {yes:9}  {mode:10}  {moved}".rstrip() for path, n, yes, mode, moved in rows
    ]
    trained = sum(math.prod(weight.shape) for weight in model.trainable_weights)
    lines.append(f"{model.count_params():,} parameters, {trained:,} trainable; {boundary(model)}")
    return "\n".join(lines)


def boundary(model: keras.Model) -> str:
    """Where the boundary is, in words: ``"trained from block4_conv1 on"``."""
    first = next((path for path, layer in leaves(model) if learns(layer)), None)
    return f"trained from {first} on" if first else "nothing is trainable"


def leaves(model: keras.Model, parents: str = "") -> Iterator[tuple[str, keras.Layer]]:
    """Every layer with its path, from input to output; nested models opened (``vgg16/block1_conv1``)."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer, f"{parents}{layer.name}/")
        else:
            yield parents + layer.name, layer


def learns(layer: Any) -> bool:
    """Whether training changes the layer: it has trainable weights, or statistics that it updates."""
    if isinstance(layer, keras.Model):
        return any(learns(inner) for inner in layer.layers)
    return bool(getattr(layer, "trainable_weights", [])) or (_is_normalization(layer) and layer.trainable)


def head(model: keras.Model) -> list[keras.Layer]:
    """The layers with weights after the last layer that sums the image up (see ``freeze``).

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if no layer has weights.
    """
    graph.require(model)
    after: list[keras.Layer] = []
    for layer in reversed(model.layers):
        if after and (isinstance(layer, SUMMARIES) or (isinstance(layer, keras.Model) and layer.weights)):
            return after
        after += [layer] if layer.weights else []
    if not after:
        raise ValueError(f"No layer of {model.name!r} has weights, so there is nothing to freeze or train.")
    return after[:1]


def is_called(known: str, name: str) -> bool:
    """Whether a layer called ``known`` is, or belongs to, the layer or block ``name``."""
    return known == name or known.startswith(f"{name}_")


def _set_trainable(layer: keras.Layer, value: bool) -> None:
    # On TensorFlow, Keras skips a flag that is set to what it is already, and with it the layers inside.
    layer.trainable = not value
    layer.trainable = value
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            _set_trainable(inner, value)


def _constant(model: keras.Model, inputs: Any, calls: list[graph.Call]) -> set[int]:
    """The tensors (their ids) that the prefix makes if the cut is at the boundary."""
    for layer in model.layers:
        if isinstance(layer, keras.Model) and learns(layer):
            _require_whole(layer)
    varies: set[int] = set()  # tensors that depend on a layer that learns
    for call in calls:
        if learns(call.operation) or varies & call.reads.keys():
            varies |= call.makes.keys()
    fixed = [call for call in calls if not varies & call.makes.keys()]
    origins: dict[int, set[int]] = {}  # the tensors that each tensor was made from
    for call in calls:
        before = call.reads.keys() | set().union(*(origins.get(key, set()) for key in call.reads))
        origins |= dict.fromkeys(call.makes, before)
    settled: set[int] = set()  # tensors that a frozen layer with weights, or a skip's end, makes or needs
    for call in reversed(fixed):
        ends_skip = any(origins.get(key, set()) & call.reads.keys() for key in call.reads)
        if getattr(call.operation, "weights", []) or ends_skip or settled & call.makes.keys():
            settled |= call.makes.keys() | call.reads.keys()
    constant = set(graph.tensors(inputs))
    for call in fixed:
        if settled & call.makes.keys() or (call.reads.keys() <= constant and not _is_random(call.operation)):
            constant |= call.makes.keys()
    return constant


def _made_until(
    model: keras.Model, name: str, inputs: Any, outputs: Any, calls: list[graph.Call]
) -> set[int]:
    """The tensors (their ids) that the prefix makes if the cut is after the layer or block ``name``."""
    # How many calls are done right after each layer. One that is shared counts where it is called last.
    done = {layer.name: 0 for layer in model.layers if isinstance(layer, keras.layers.InputLayer)}
    for number, call in enumerate(calls, start=1):
        done.pop(call.operation.name, None)
        done[call.operation.name] = number
    matches = [number for known, number in done.items() if is_called(known, name)]
    if not matches:
        raise ValueError(_unknown_name(model, name))

    def made(number: int) -> set[int]:
        return set(graph.tensors(inputs)).union(*(call.makes for call in calls[:number]))

    def works(number: int) -> bool:
        return len(graph.crossing(made(number), outputs, calls)) == 1

    end = done.get(name, max(matches))
    if name not in done:  # a block may end in an operation, such as the addition after its last layer
        while not works(end) and end < len(calls) and not isinstance(calls[end].operation, keras.Layer):
            end += 1
    if not works(end):
        earlier = [place for place in done if done[place] < end and works(done[place])]
        later = [place for place in done if done[place] > end and works(done[place])]
        near = [f"{place!r}, the nearest before it" for place in earlier[-1:]]
        near += [f"{place!r}, the nearest after it" for place in later[:1]]
        raise ValueError(
            f"A cut right after {name!r} would go through several tensors: a skip connection runs past it. "
            f"Cut after {', or after '.join(near) or 'no layer: nowhere is there a single tensor'}."
        )
    return made(end)


def _require_whole(nested: keras.Model) -> None:
    inner = [(path, layer) for path, layer in leaves(nested) if layer.weights and not layer.trainable]
    frozen = [path for path, layer in inner if not _is_normalization(layer)]
    if frozen:
        raise ValueError(f"{nested.name!r} is frozen in part: {frozen[-1]!r} is. {_build_flat(nested)}")


def _build_flat(nested: keras.Model) -> str:
    return (
        f"The boundary cannot lie inside a nested model. Freeze or unfreeze {nested.name!r} as a whole, or "
        "build the model flat, so that it holds the base's layers themselves:\n"
        "    x = base.output  # instead of x = base(inputs); then the head on x, as before\n"
        "    model = keras.Model(base.input, outputs)"
    )


def _unknown_name(model: keras.Model, name: str) -> str:
    for nested in model.layers:
        if isinstance(nested, keras.Model) and any(
            is_called(p.split("/")[-1], name) for p, _ in leaves(nested)
        ):
            return f"{name!r} exists only inside the nested model {nested.name!r}. {_build_flat(nested)}"
    names = [layer.name for layer in model.layers]
    prefixes = [known[:i] for known in names for i, letter in enumerate(known) if letter == "_"]
    blocks = [prefix for prefix in dict.fromkeys(prefixes) if prefixes.count(prefix) > 1]
    near = difflib.get_close_matches(name, dict.fromkeys(blocks + names), n=5, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else f"There are {', '.join(blocks or names)}."
    return f"{model.name!r} has no layer or block called {name!r}. {hint}"


def _is_normalization(layer: Any) -> bool:
    return isinstance(layer, keras.layers.BatchNormalization)


def _is_random(operation: Any) -> bool:
    """Keras counts the state of a layer's random numbers among its variables, but not among its weights."""
    return len(getattr(operation, "variables", [])) > len(getattr(operation, "weights", []))
