"""Reads event files with tensorboardX, as TensorBoard does."""

import struct

from tensorboardX.crc32c import crc32c
from tensorboardX.proto import event_pb2


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """The records of a TFRecord file; their checksums are checked."""
    data, start = path.read_bytes(), 0
    while start < len(data):
        head = data[start : start + 8]
        (length,) = struct.unpack("<Q", head)
        (head_crc,) = struct.unpack("<I", data[start + 8 : start + 12])
        body = data[start + 12 : start + 12 + length]
        (body_crc,) = struct.unpack("<I", data[start + 12 + length : start + 16 + length])
        assert (head_crc, body_crc) == (masked(head), masked(body))
        yield body
        start += 16 + length


def points(folder):
    """(tag, step, value) that TensorBoard shows: a session start hides points from its step on."""
    shown = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for number, body in enumerate(records(path)):
            event = event_pb2.Event.FromString(body)
            if number == 0:
                assert event.file_version == "brain.Event:2"
            if event.session_log.status == event_pb2.SessionLog.START:
                shown = [point for point in shown if point[1] < event.step]
            for value in event.summary.value:
                shown.append((value.tag, event.step, round(value.simple_value, 5)))
    return shown
