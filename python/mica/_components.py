"""What can be chosen by name, and its options: the library's own tables."""
from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional

from ._library import engine, lib

KINDS = {lib.mica_kind_name(i).decode(): i for i in range(19)}
BOOL, INT, FLOAT, STRING, CHOICE, INTS, FLOATS, SPEC = range(8)


class Option(NamedTuple):
    """One row of a component's table; `default` as a value of Python."""

    name: str
    type: int
    default: Any
    lo: float
    hi: float
    choices: Optional[List[str]]
    help: str


def value_of(kind: int, text: str) -> Any:
    if kind == BOOL:
        return text == "true"
    if kind == INT:
        return int(text)
    if kind == FLOAT:
        return float(text)
    if kind in (INTS, FLOATS):
        return tuple((int if kind == INTS else float)(v) for v in text.split(",") if v)
    return text or None if kind in (STRING, SPEC) else text


def text_of(option: Option, value: Any) -> str:
    """`value` as a specification has it."""
    if value is None:
        return "()"
    if option.type == BOOL:
        return "true" if value else "false"
    if option.type in (INTS, FLOATS):
        many = value if isinstance(value, (tuple, list)) else (value,)
        return ",".join(repr(int(v) if option.type == INTS else float(v)) for v in many)
    if option.type == FLOAT:
        return repr(float(value))
    if option.type in (STRING, SPEC):
        return f"({value})"
    return str(value)


def options_of(component: Any) -> List[Option]:
    out, i = [], 0
    while component.options and component.options[i].name:
        row = component.options[i]
        choices = row.choices.decode().split("|") if row.choices else None
        default = value_of(row.type, (row.default or b"").decode())
        out.append(Option(row.name.decode(), row.type, default, row.lo, row.hi, choices,
                          row.help.decode()))
        i += 1
    return out


def all_of(kind: str) -> List[Any]:
    out: List[Any] = []
    while True:
        at = lib.mica_component_at(engine().pointer, KINDS[kind], len(out))
        if not at:
            return out
        out.append(at.contents)


def components(kind: str) -> Dict[str, List[Option]]:
    """The components of a kind ("estimator", "model", "loss", ...) and their options."""
    return {c.name.decode(): options_of(c) for c in all_of(kind)}
