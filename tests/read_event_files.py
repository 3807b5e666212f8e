#!/usr/bin/env python3
"""read_event_files.py FOLDER TAG: the steps and values of a scalar, as TensorBoard understands the
event files of a folder, one pair a line. Written from the formats' descriptions (TFRecord framing,
CRC-32C, protocol buffers), and knows nothing of mica. Fails on any damaged record."""
import pathlib
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    data = path.read_bytes()
    at = 0
    while at < len(data):
        length, check = struct.unpack_from("<QI", data, at)
        assert crc32c(data[at:at + 8]) == check, f"{path}: the length at byte {at} is damaged"
        body = data[at + 12:at + 12 + length]
        (check,) = struct.unpack_from("<I", data, at + 12 + length)
        assert crc32c(body) == check, f"{path}: the record at byte {at} is damaged"
        yield body
        at += 16 + length


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 1:
            value, at = data[at:at + 8], at + 8
        elif kind == 5:
            value, at = data[at:at + 4], at + 4
        else:
            assert kind == 2, f"wire type {kind}"
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        yield key >> 3, value


def main(folder, tag):
    files = sorted(pathlib.Path(folder).glob("events.out.tfevents.*"))
    assert files, f"{folder}: no event file"
    points = []
    for path in files:
        for number, body in enumerate(records(path)):
            event = dict(fields(body))
            if number == 0:
                assert event[3] == b"brain.Event:2", f"{path}: no version"
            step = event.get(2, 0)
            if 7 in event:  # a session begins: what was said of this step and later ones is void
                points = [p for p in points if p[0] < step]
            for kind, value in fields(event.get(5, b"")):
                scalar = dict(fields(value))
                if kind == 1 and scalar[1].decode() == tag:
                    points.append((step, struct.unpack("<f", scalar[2])[0]))
    for step, value in points:
        print(step, f"{value:.6g}")


main(*sys.argv[1:])
