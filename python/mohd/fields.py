# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Dataclasses that are read from JSON objects: a field's metadata says what its value must be, and wrong values are ValueErrors that name the key."""

import dataclasses
import json
import math
import sys

MAX_SEED = 2**63 - 1
"""What torch takes as a seed."""


def read_object(path):
    """The object of the JSON file `path`; ValueError with the path if it has none."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path}: expects JSON, got: {error}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expects an object, got {shown(values)}")
    return values


def field(default, kind, check=lambda value: True, expects=""):
    """A key whose value has type `kind` and passes `check`, which `expects` says in words. Without a default it is dataclasses.MISSING, and the key required."""
    return dataclasses.field(default=default, metadata={"kind": kind, "check": check, "expects": expects})


def integer(default, least, most=math.inf):
    words = f"of at least {least}" if most == math.inf else f"from {least} to {most}"
    return field(default, int, lambda value: least <= value <= most, f"an integer {words}")


def number(default, low, high=math.inf, open_low=False):
    words = f"a number {'above' if open_low else 'of at least'} {low}" + (f" and below {high}" if high < math.inf else "")
    return field(default, float, lambda value: (value > low if open_low else value >= low) and value < high, words)


def choice(default, *values):
    return field(default, str, lambda value: value in values, "one of " + ", ".join(values))


def flag(default):
    return field(default, bool, expects="true or false")


def text(default=dataclasses.MISSING):
    return field(default, str, expects="a string")


def shown(value):
    """A JSON value for a message, shortened."""
    words = json.dumps(value)
    return words if len(words) <= 60 else words[:57] + "..."


def checked(key, value, name):
    """The value of the dataclass field `key`, whose name in messages is `name`."""
    kind, good = key.metadata["kind"], False
    if kind is float:
        good = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
        value = float(value) if good else value
    elif kind is int:
        good = isinstance(value, int) and not isinstance(value, bool)
    else:
        good = isinstance(value, kind)
    if not good or not key.metadata["check"](value):
        raise ValueError(f"expects {name} to be {key.metadata['expects']}, got {shown(value)}")
    return value


def section(kind, values, prefix, read):
    """The dataclass `kind` of the JSON object `values`, whose keys are named with `prefix`; `read` has keys' own readers."""
    if not isinstance(values, dict):
        raise ValueError(f"expects {prefix.rstrip('.') or 'the configuration'} to be an object, got {shown(values)}")
    fields, out = {key.name: key for key in dataclasses.fields(kind)}, {}
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"expects the keys {', '.join(sorted(fields))}, got '{prefix}{name}'")
        if value is not None or fields[name].default is not None:
            out[name] = read[name](value) if name in read else checked(fields[name], value, prefix + name)
    for name, key in fields.items():
        if name not in out and key.default is dataclasses.MISSING:
            raise ValueError(f"expects a value for {prefix}{name}")
    return kind(**out)
