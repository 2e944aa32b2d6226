"""A functional model's graph, call by call: what its layers read, and what they make of it (lesson 04)."""

import dataclasses
from collections.abc import Set as AbstractSet
from typing import Any

import keras

# What the layers are called that only hand a tensor on.
PASSED_ON = "passed_on"


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer, or of an operation such as ``x + y``.

    Attributes:
        operation: the layer or operation. One that is shared is called several times.
        args: what it was called with.
        kwargs: likewise.
        reads: the tensors among them, by their ``id``.
        makes: the tensors that it returned, likewise.
    """

    operation: Any
    args: tuple
    kwargs: dict
    reads: dict[int, Any]
    makes: dict[int, Any]


def trace(model: keras.Model) -> tuple[Any, Any, list[Call]]:
    """The model's graph: its layers are called once more, on new inputs.

    Returns:
        ``(inputs, outputs, calls in order)``; inputs and outputs structured as the model's.

    Raises:
        TypeError: if the model is not functional, or not built.
    """
    require(model)
    calls = []

    def record(operation: Any, *args: Any, **kwargs: Any) -> Any:
        results = operation(*args, **kwargs)
        calls.append(Call(operation, args, kwargs, tensors((args, kwargs)), tensors(results)))
        return results

    if isinstance(model, keras.Sequential):  # clone_model takes no call_function for these
        (old,) = model.inputs
        inputs = outputs = keras.Input(batch_shape=old.shape, dtype=old.dtype, name=old.name)
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


def require(model: keras.Model) -> None:
    """Raise TypeError if the model has no graph: if it is not functional, or not built."""
    if not getattr(model, "inputs", None):
        raise TypeError(
            f"{model!r} has no graph of layers to cut. Build it as keras.Model(inputs, outputs), or as a "
            "keras.Sequential that begins with a keras.Input."
        )


def repeat(calls: list[Call], renewed: dict[int, Any]) -> None:
    """Make the calls once more, on other tensors; Identity layers that ``build`` put in are left out.

    Args:
        renewed: the other tensors, by the ``id`` of those they stand for. Takes up what the calls return.
    """
    for call in calls:
        args, kwargs = replace((call.args, call.kwargs), renewed)
        results = args if call.operation.name.startswith(PASSED_ON) else call.operation(*args, **kwargs)
        renewed |= zip(call.makes, tensors(results).values(), strict=True)


def build(inputs: Any, outputs: Any, name: str) -> keras.Model:
    """A functional model, in which inputs that are outputs go through an Identity layer.

    Without a layer between them, Keras 3.13 can neither copy nor load it.
    """
    for number, (key, x) in enumerate(tensors(inputs).items()):
        if key in tensors(outputs):
            outputs = replace(outputs, {key: keras.layers.Identity(name=f"{PASSED_ON}_{number}")(x)})
    return keras.Model(inputs, outputs, name=name)


def crossing(made: AbstractSet[int], outputs: Any, calls: list[Call]) -> dict[int, Any]:
    """The tensors, by their ``id``, of those in ``made`` that the other calls read, or that are outputs."""
    later = [call.reads for call in calls if not call.makes.keys() <= made]
    return {key: x for reads in [*later, tensors(outputs)] for key, x in reads.items() if key in made}


def shapes(structure: Any) -> str:
    """The shapes of a model's inputs or outputs, in words: ``(None, 8, 8, 64) and (None, 1024)``."""
    return " and ".join(str(x.shape) for x in keras.tree.flatten(structure))


def tensors(structure: Any) -> dict[int, Any]:
    """The symbolic tensors in a nested structure of lists, tuples and dicts, by their ``id``."""
    return {id(x): x for x in keras.tree.flatten(structure) if isinstance(x, keras.KerasTensor)}


def replace(structure: Any, renewed: dict[int, Any]) -> Any:
    """The structure with other tensors: ``renewed`` holds them by the ``id`` of those they stand for."""
    return keras.tree.map_structure(lambda x: renewed.get(id(x), x), structure)


def single(values: list) -> Any:
    """The only value of a list that has only one, otherwise the list: as Keras takes a model's inputs."""
    return values[0] if len(values) == 1 else values
