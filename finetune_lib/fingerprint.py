"""What a network computes, as one number: any other weight, layer or wiring gives another (lesson 04)."""

import hashlib
import inspect
import types
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from finetune_lib import graph

# Their code changes with their version only.
LIBRARIES = ("builtins", "keras", "tensorflow")

# What stands for code that cannot be read: the same for the same object, another in every process.
_tokens: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()


def of(model: keras.Model) -> tuple[str, bool]:
    """The fingerprint of a model in inference, and whether code from outside Keras takes part in it.

    It covers the graph, each layer's class and configuration, and every bit of the weights; the source of
    layers and functions that are not Keras' own. What the layers are called, and whether they learn, is left
    out. Code can depend on more than its source (a global variable, a helper function): where some takes
    part, compare outputs, too.

    Returns:
        ``(SHA-256 in hexadecimal, whether there is such code)``.

    Raises:
        TypeError: if the model is not functional, or not built.
    """
    graph.require(model)
    digest = _Digest()
    digest.add_operation(model)
    return digest.sha.hexdigest(), digest.has_foreign_code


def architecture(model: keras.Model) -> str:
    """The fingerprint of a model without its weights: SHA-256 in hexadecimal, the same in every process.

    Seeds are left out. Where the source of a layer or function cannot be read, its byte code stands for it.
    """
    graph.require(model)
    digest = _Digest(structure_only=True)
    digest.add_operation(model)
    return digest.sha.hexdigest()


def weights(model: keras.Model) -> str:
    """The SHA-256 of a model's weights, in their order, in hexadecimal."""
    return of_arrays(model.get_weights())


def of_arrays(arrays: Sequence[np.ndarray]) -> str:
    """The SHA-256 of arrays, in their order, in hexadecimal."""
    digest = _Digest()
    digest.add(list(arrays))
    return digest.sha.hexdigest()


class _Digest:
    """A SHA-256 of a network, fed piece by piece, each with its type, so that no two run together."""

    def __init__(self, structure_only: bool = False) -> None:
        self.sha = hashlib.sha256()
        self.structure_only = structure_only
        self.has_foreign_code = False
        self.operations: dict[int, int] = {}  # the number of each layer or operation seen, by its id
        self.tensors: dict[int, int] = {}  # likewise of each symbolic tensor in the graph being read
        self.foreign_names: set[str] = set()  # functions and classes outside Keras that a configuration names

    def add_operation(self, operation: Any) -> None:
        if id(operation) in self.operations:  # a shared layer: this call is its second
            self.add(("again", self.operations[id(operation)]))
            return
        self.operations[id(operation)] = len(self.operations)
        kind = type(operation)
        self.add(f"{kind.__module__}.{kind.__qualname__}")
        foreign = [base for base in kind.__mro__ if _is_foreign(base.__module__)]
        for base in foreign:
            self.add_code(base)
        if isinstance(operation, keras.Model) and getattr(operation, "inputs", None):
            self.add_graph(operation)
            if not foreign:
                return
        self.add_configuration(operation)
        if self.structure_only:
            return
        self.add([weight.numpy() for weight in getattr(operation, "weights", [])])
        if isinstance(operation, keras.layers.Normalization):
            self.add([operation.mean, operation.variance])  # constants; copied weights do not change them
        if isinstance(operation, keras.layers.TFSMLayer):
            self.has_foreign_code = True  # all that is known of it is its path

    def add_graph(self, model: keras.Model) -> None:
        outer = self.tensors  # of the model that this one is nested in
        inputs, outputs, calls = graph.trace(model)
        self.tensors = {key: number for number, key in enumerate(graph.tensors(inputs))}
        self.add([(tensor.shape, tensor.dtype) for tensor in graph.tensors(inputs).values()])
        for call in calls:
            self.add_operation(call.operation)
            self.add((call.args, call.kwargs))
            for key in call.makes:
                self.tensors[key] = len(self.tensors)
        self.add(outputs)
        self.tensors = outer

    def add_configuration(self, operation: Any) -> None:
        self.foreign_names = set()
        try:
            config = dict(operation.get_config())
        except Exception:  # the author of the layer wrote it, or should have
            self.add_token(operation)
            return
        skipped = ("name", "trainable", "seed") if self.structure_only else ("name", "trainable")
        self.add({key: value for key, value in config.items() if key not in skipped})
        unread = set(self.foreign_names)
        for value in vars(operation).values():
            if isinstance(value, types.FunctionType) and value.__name__ in self.foreign_names:
                self.add_code(value)
                unread.discard(value.__name__)
        if unread:
            self.add_token(operation)

    def add(self, value: Any) -> None:
        """One value of a configuration or a call, with all that is in it."""
        if isinstance(value, keras.KerasTensor):
            self._write("tensor", self.tensors[id(value)])
        elif isinstance(value, list | tuple):
            self._write(type(value).__name__, len(value))
            for item in value:
                self.add(item)
        elif isinstance(value, dict):
            self._note_foreign(value)
            if self.structure_only and value.get("class_name") == "__lambda__":
                return  # its code names a file; add_configuration reads the function itself
            # "name" and "trainable" side by side are a layer's; alone, a name may be that of a dtype.
            skipped = {"name", "trainable"} if {"name", "trainable"} <= value.keys() else set()
            skipped |= {"seed"} if self.structure_only else set()
            keys = sorted(value.keys() - skipped, key=str)
            self._write("dict", keys)
            for key in keys:
                self.add(value[key])
        elif isinstance(value, slice):
            self.add(("slice", value.start, value.stop, value.step))
        elif isinstance(value, np.ndarray | np.generic | tf.Tensor | tf.Variable | keras.Variable):
            array = np.asarray(value)
            self._write("array", (str(array.dtype), array.shape))
            self.sha.update(np.ascontiguousarray(array).tobytes())
        elif isinstance(value, bool | int | float | str | bytes | types.NoneType | types.EllipsisType):
            self._write(type(value).__name__, value)
        elif isinstance(value, tf.DType | np.dtype | tf.TensorShape):
            self._write(type(value).__name__, str(value))
        else:
            self.add_token(value)

    def add_code(self, code: Any) -> None:
        """The source of a class or function; its token if it has none, as in a notebook."""
        self.has_foreign_code = True
        try:
            self._write("source", inspect.getsource(code))
        except (OSError, TypeError, SyntaxError):
            if self.structure_only:
                self.add_byte_code(code)
            else:
                self.add_token(code)

    def add_byte_code(self, code: Any) -> None:
        """What a function, or each method of a class, is compiled to, without names of files and lines."""
        code = getattr(code, "__code__", code)
        if isinstance(code, types.CodeType):
            self._write("code", (code.co_code, code.co_names))
            for constant in code.co_consts:
                self.add_byte_code(constant)
        elif isinstance(code, type):
            for name, method in sorted(vars(code).items()):
                if isinstance(method, types.FunctionType):
                    self._write("method", name)
                    self.add_byte_code(method)
        else:
            self._write("constant", code if isinstance(code, bool | int | float | str | bytes) else "")

    def add_token(self, thing: Any) -> None:
        self.has_foreign_code = True
        if self.structure_only:
            self._write("token", "")
            return
        try:
            token = _tokens.setdefault(thing, uuid.uuid4().hex)
        except TypeError:  # it cannot be referred to weakly
            token = uuid.uuid4().hex
        self._write("token", token)

    def _note_foreign(self, config: dict) -> None:
        """Remember the function or class that a configuration, as Keras writes it, names."""
        name, module = config.get("class_name"), config.get("module", "keras")
        if name == "__lambda__":
            self.foreign_names.add("<lambda>")
        elif name and (config.get("registered_name") or _is_foreign(str(module))):
            known = config["config"] if isinstance(config.get("config"), str) else name
            self.foreign_names.add(known.split(">")[-1])  # registered as "package>name"

    def _write(self, kind: str, value: Any) -> None:
        self.sha.update(f"{kind} {value!r};".encode())


def _is_foreign(module: str) -> bool:
    return module.split(".")[0] not in LIBRARIES
