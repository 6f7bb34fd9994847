"""What `triton_model` uses of Triton's module `triton_python_backend_utils`.

Names, arguments and behaviour follow the documentation of the Python backend (23.10 and later).
"""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np


class TritonModelException(Exception):
    """What stops a model from loading."""


class TritonError:
    """One request's error."""

    INTERNAL, INVALID_ARG, CANCELLED = "INTERNAL", "INVALID_ARG", "CANCELLED"

    def __init__(self, message: str, code: str = INTERNAL) -> None:
        self._message, self._code = message, code

    def message(self) -> str:
        return self._message

    def code(self) -> str:
        return self._code


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: np.ndarray) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray:
        return self._array


class InferenceResponse:
    """Outputs, or an error."""

    def __init__(self, output_tensors: list[Tensor], error: TritonError | None = None) -> None:
        assert isinstance(output_tensors, list)
        self._tensors, self._error = output_tensors, error

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError:
        assert self._error is not None
        return self._error


class Request:
    """Arrays by name; cancelled after it was asked so many times."""

    def __init__(self, cancelled_after: int | None = None, **arrays: Any) -> None:
        self._tensors = [Tensor(name, array) for name, array in arrays.items()]
        self._cancelled_after = cancelled_after
        self.asked = 0

    def inputs(self) -> list[Tensor]:
        return self._tensors

    def is_cancelled(self) -> bool:
        self.asked += 1
        return self._cancelled_after is not None and self.asked > self._cancelled_after


def get_input_tensor_by_name(request: Request, name: str) -> Tensor | None:
    return next((t for t in request.inputs() if t.name() == name), None)


class Logger:
    """Triton's log."""

    errors: list[str]

    @classmethod
    def log_error(cls, message: str) -> None:
        cls.errors.append(message)


def backend_utils() -> SimpleNamespace:
    """The module; its log is empty."""
    Logger.errors = []
    return SimpleNamespace(
        TritonModelException=TritonModelException,
        TritonError=TritonError,
        Tensor=Tensor,
        InferenceResponse=InferenceResponse,
        get_input_tensor_by_name=get_input_tensor_by_name,
        Logger=Logger,
    )


def parse_text_proto(text: str) -> dict[str, list[Any]]:
    """Protobuf's text format, as far as a model's configuration needs it: fields to lists of
    values; a value is a string, a number, a word or a message.

    Raises:
        ValueError: anything else.
    """
    tokens = _tokens(text)
    message, rest = _message(tokens, end=None)
    assert not rest
    return message


def _tokens(text: str) -> list[str]:
    import re

    pattern = re.compile(r'\s+|("(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|-?\d+|[{}\[\]:,])')
    tokens, position = [], 0
    while position < len(text):
        match = pattern.match(text, position)
        if match is None:
            raise ValueError(f"no token: {text[position : position + 20]!r}")
        tokens += [match[1]] if match[1] else []
        position = match.end()
    return tokens


def _message(tokens: list[str], end: str | None) -> tuple[dict[str, list[Any]], list[str]]:
    fields: dict[str, list[Any]] = {}
    while tokens and tokens[0] != end:
        name, *tokens = tokens
        if not name.isidentifier():
            raise ValueError(f"no field's name: {name}")
        is_message = tokens[0] != ":"
        tokens = tokens if is_message else tokens[1:]
        values, tokens = _values(tokens, is_message)
        fields.setdefault(name, []).extend(values)
    if end is not None and not tokens:
        raise ValueError(f"{end} is missing")
    return fields, tokens[1:]


def _values(tokens: list[str], is_message: bool) -> tuple[list[Any], list[str]]:
    if tokens[0] != "[":
        value, tokens = _value(tokens, is_message)
        return [value], tokens
    values, tokens = [], tokens[1:]
    while tokens[0] != "]":
        value, tokens = _value(tokens, is_message)
        values.append(value)
        if tokens[0] == ",":
            tokens = tokens[1:]
            if tokens[0] == "]":
                raise ValueError("a comma before ]")
        elif tokens[0] != "]":
            raise ValueError(f"{tokens[0]} where a comma or ] is expected")
    return values, tokens[1:]


def _value(tokens: list[str], is_message: bool) -> tuple[Any, list[str]]:
    first, *rest = tokens
    if first == "{":
        return _message(rest, "}")
    if is_message or first in "}[]:,":
        raise ValueError(f"{first} where a value is expected")
    if first[0] == '"':
        return json.loads(first), rest
    return (int(first) if first.lstrip("-").isdigit() else first), rest
