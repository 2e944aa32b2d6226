"""Where the freeze boundary is: freeze, unfreeze, look at it in a table, and cut the model there (lesson 04).

Fine-tuning splits a network at a boundary: the layers before it keep the weights they came with, the layers
after it learn. Here the boundary is a property of the model, its layers' ``trainable`` flags. The functions
accept any functional (or built Sequential) Keras model.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterator
from typing import Any

import keras

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
    head = _head(model)
    model.trainable = True
    for layer in model.layers:
        _set_trainable(layer, layer in head)
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
    head = {layer.name for layer in _head(model)}
    matches = [i for i, layer in enumerate(model.layers) if is_called(layer.name, name)]
    if not matches:
        raise ValueError(_unknown_name(model, name))
    model.trainable = True
    for position, layer in enumerate(model.layers):
        _set_trainable(layer, position >= matches[0])
    for path, layer in leaves(model):
        if _is_normalization(layer) and not train_batch_normalization and path.split("/")[0] not in head:
            layer.trainable = False
    model.compiled = False
    return model


def split(model: keras.Model) -> tuple[keras.Model, keras.Model]:
    """Cut the model at its boundary: ``suffix(prefix(images))`` equals ``model(images)``.

    Both parts share their layers with the model. The prefix is all that does not depend on a layer that
    learns: a constant function of the image. Pooling after the last frozen layer is in it: its output is the
    smaller one. Layers that draw random numbers (Dropout, RandomFlip, ...) are in it if a frozen layer with
    weights comes after them, or the end of a skip connection around them (the Dropout in a residual block);
    the prefix runs in inference mode, so they never fire. Otherwise they and what follows are in the suffix:
    a Dropout just before the head regularises the head.

    Where skip connections cross the boundary, the prefix returns a list of tensors and the suffix takes it.
    If nothing is frozen before the boundary, the prefix returns the images; if nothing is trainable, the
    suffix returns its input.

    Returns:
        ``(prefix, suffix)``, un-compiled functional models.

    Raises:
        TypeError: if the model is not functional, or not built.
        ValueError: if a nested model is frozen in part, so that the boundary lies inside it.
    """
    for layer in model.layers:
        if isinstance(layer, keras.Model) and learns(layer):
            _require_whole(layer)
    inputs, outputs, calls = trace(model)
    varies: set[int] = set()  # tensors (their ids) that depend on a layer that learns
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
    constant = set(_tensors(inputs))  # tensors that the prefix makes
    for call in fixed:
        if settled & call.makes.keys() or (call.reads.keys() <= constant and not _is_random(call.operation)):
            constant |= call.makes.keys()
    after = [call for call in calls if not call.makes.keys() <= constant]
    crossing = {key: x for call in after for key, x in call.reads.items() if key in constant}
    crossing |= {key: x for key, x in _tensors(outputs).items() if key in constant}
    # The suffix is made by calling its layers once more, on new inputs in place of the crossing tensors.
    activations = [keras.Input(batch_shape=x.shape, dtype=x.dtype) for x in crossing.values()]
    # Identity, because Keras 3.13 refuses a model whose input is its output.
    renewed = {key: keras.layers.Identity()(x) for key, x in zip(crossing, activations, strict=True)}
    for call in after:
        args, kwargs = _replace((call.args, call.kwargs), renewed)
        results = _tensors(call.operation(*args, **kwargs)).values()
        renewed |= zip(call.makes, results, strict=True)
    prefix = keras.Model(inputs, _single(list(crossing.values())), name=f"{model.name}_prefix")
    suffix = keras.Model(_single(activations), _replace(outputs, renewed), name=f"{model.name}_suffix")
    return prefix, suffix


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


def is_called(known: str, name: str) -> bool:
    """Whether a layer called ``known`` is, or belongs to, the layer or block ``name``."""
    return known == name or known.startswith(f"{name}_")


@dataclasses.dataclass(frozen=True)
class Call:
    """One call in a model's graph, of a layer or of an operation such as ``x + y``. Tensors by their id."""

    operation: Any
    args: tuple
    kwargs: dict
    reads: dict[int, Any]
    makes: dict[int, Any]


def trace(model: keras.Model) -> tuple[Any, Any, list[Call]]:
    """The model's graph, call by call: its layers are called once more, on new inputs.

    Returns:
        ``(inputs, outputs, calls in order)``; inputs and outputs structured as the model's.

    Raises:
        TypeError: if the model is not functional, or not built.
    """
    _require_graph(model)
    calls = []

    def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
        results = operation(*args, **kwargs)
        calls.append(Call(operation, args, kwargs, _tensors((args, kwargs)), _tensors(results)))
        return results

    if isinstance(model, keras.Sequential):  # clone_model takes no call_function for these
        inputs = outputs = keras.Input(batch_shape=model.inputs[0].shape, dtype=model.inputs[0].dtype)
        for layer in model.layers:
            outputs = record(layer, outputs)
        return inputs, outputs, calls
    was_compiled, model.compiled = model.compiled, False  # clone_model would compile the copy, too
    try:
        # Keras documents this use: with the identity as clone_function, the copy has the same layers.
        copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=record)
    finally:
        model.compiled = was_compiled
    return copy.input, copy.output, calls


def _head(model: keras.Model) -> list[keras.Layer]:
    """The layers with weights after the last layer that sums the image up."""
    _require_graph(model)
    after: list[keras.Layer] = []
    for layer in reversed(model.layers):
        if after and (isinstance(layer, SUMMARIES) or (isinstance(layer, keras.Model) and layer.weights)):
            return after
        after += [layer] if layer.weights else []
    if not after:
        raise ValueError(f"No layer of {model.name!r} has weights, so there is nothing to freeze or train.")
    return after[:1]


def _set_trainable(layer: keras.Layer, value: bool) -> None:
    # On TensorFlow, Keras skips a flag that is set to what it is already, and with it the layers inside.
    layer.trainable = not value
    layer.trainable = value
    if isinstance(layer, keras.Model):
        for inner in layer.layers:
            _set_trainable(inner, value)


def _require_graph(model: keras.Model) -> None:
    if not getattr(model, "inputs", None):
        raise TypeError(
            f"{model!r} has no graph of layers to cut. Build it as keras.Model(inputs, outputs), or as a "
            "keras.Sequential that begins with a keras.Input."
        )


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


def _tensors(structure: Any) -> dict[int, Any]:
    return {id(x): x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)}


def _replace(structure: Any, renewed: dict[int, Any]) -> Any:
    return keras.tree.map_structure(lambda x: renewed.get(id(x), x), structure)


def _single(tensors: list) -> Any:
    return tensors[0] if len(tensors) == 1 else tensors
