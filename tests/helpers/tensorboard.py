"""The points of an event file."""

import struct

from tensorboardX.crc32c import crc32c
from tensorboardX.proto import event_pb2


def masked(data):
    crc = crc32c(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def records(path):
    """The records of a file in TFRecord's format, their checksums checked."""
    data, place = path.read_bytes(), 0
    while place < len(data):
        head = data[place : place + 8]
        (length,) = struct.unpack("<Q", head)
        (head_crc,) = struct.unpack("<I", data[place + 8 : place + 12])
        body = data[place + 12 : place + 12 + length]
        (body_crc,) = struct.unpack("<I", data[place + 12 + length : place + 16 + length])
        assert (head_crc, body_crc) == (masked(head), masked(body))
        yield body
        place += 16 + length


def points(folder):
    """(tag, step, value) as TensorBoard shows them: a start hides what is at its step or later."""
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
