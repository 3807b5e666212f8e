#!/usr/bin/env python3
"""Write src/data/unicode_tables.c: what tokenizers need to know of Unicode 16.0.

    pip install unicodedata2==16.0.0 && scripts/make_unicode.py >src/data/unicode_tables.c

Categories and decompositions are unicodedata2's. Python's str.lower knows the case of older letters;
the capital letters that Unicode 15 and 16 added are paired with their small ones by name.
"""
import unicodedata
import unicodedata2 as u

LETTER, NUMBER, SPACE, CONTROL, PUNCTUATION, MARK = 1, 2, 4, 8, 16, 32
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPACES = {9, 10, 11, 12, 13, 32, 0x85}


def flags(c):
    category = u.category(chr(c))
    f = 0
    if category[0] == "L":
        f |= LETTER
    if category[0] == "N":
        f |= NUMBER
    if c in SPACES or category[0] == "Z":
        f |= SPACE
    if category in ("Cc", "Cf", "Co"):
        f |= CONTROL
    if category[0] == "P":
        f |= PUNCTUATION
    if category == "Mn":
        f |= MARK
    return f


def lower(c):
    if c == 0x130:  # the only letter that becomes two
        return c
    text = chr(c).lower()
    if text == chr(c) and u.category(text) == "Lu" and unicodedata.category(text) == "Cn":
        text = u.lookup(u.name(text).replace(" CAPITAL ", " SMALL "))
    assert len(text) == 1
    return ord(text)


def runs(value):
    """[first code, value] wherever the value changes."""
    out = []
    for c in range(0x110000):
        v = value(c) if not 0xD800 <= c < 0xE000 else 0
        if not out or out[-1][1] != v:
            out.append([c, v])
    return out


def case_ranges():
    """[first, last, step, difference]"""
    out = []
    for c in CODES:
        d = lower(c) - c
        if not d:
            continue
        if out and out[-1][3] == d:
            r = out[-1]
            step = c - r[1]
            if step <= 2 and (r[0] == r[1] or r[2] == step):
                r[1], r[2] = c, step
                continue
        out.append([c, c, 1, d])
    return out


def decompositions():
    out = []
    for c in CODES:
        text = u.decomposition(chr(c))
        if text and text[0] != "<":
            parts = [int(p, 16) for p in text.split()]
            out.append((c, parts[0], parts[1] if len(parts) > 1 else 0))
    return out


def compositions(pairs):
    """Numbers of the pairs that compose again, by their parts."""
    again = [i for i, (c, a, b) in enumerate(pairs)
             if b and u.normalize("NFC", chr(a) + chr(b)) == chr(c)]
    return sorted(again, key=lambda i: pairs[i][1:])


def table(kind, name, rows):
    print(f"const {kind} mica_unicode_{name}[] = {{")
    line = "   "
    for row in rows:
        if len(line) + len(row) + 2 > 110:
            print(line)
            line = "   "
        line += f" {row},"
    print(line)
    print("};")
    print(f"const int mica_unicode_{name}_count = {len(rows)};")


pairs = decompositions()
print("/* Made by scripts/make_unicode.py from Unicode " + u.unidata_version + "; do not edit. */")
print("/* clang-format off */")
print('#include "data/unicode_tables.h"')
print("\n/* Each run of equal flags: its first code point, and the flags in the lowest 8 bits. */")
table("uint32_t", "flags_runs", [str(c << 8 | f) for c, f in runs(flags)])
print("\n/* Each run of equal combining classes, likewise. */")
table("uint32_t", "class_runs", [str(c << 8 | f) for c, f in runs(lambda c: u.combining(chr(c)))])
print("\n/* First, last, step, and what is added to make a small letter. */")
table("mica_unicode_case", "cases", ["{%d,%d,%d,%d}" % tuple(r) for r in case_ranges()])
print("\n/* A code point and the one or two that it stands for. */")
table("mica_unicode_pair", "pairs", ["{%d,%d,%d}" % p for p in pairs])
print("\n/* The pairs that compose again, by their parts. */")
table("uint16_t", "compositions", [str(i) for i in compositions(pairs)])
