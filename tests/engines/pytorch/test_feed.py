"""The order of copies to a GPU, with a GPU that only records its commands."""

import contextlib

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from imagenet_trainer.engines.pytorch import feed


class Event:
    def __init__(self):
        self.calls = []

    def record(self, stream=None):
        self.calls.append("record")

    def synchronize(self):
        self.calls.append("synchronize")


class Slot:
    def __init__(self, tensors):
        self.copied, self.used = Event(), Event()
        self.layout = {name: value.shape for name, value in tensors.items()}

    def copy(self, tensors, stream):
        self.copied.record(stream)
        return tensors


@pytest.fixture
def gpu(monkeypatch):
    """A feed to a GPU, and the slots that it makes."""
    slots = []

    def slot(tensors, device):
        slots.append(Slot(tensors))
        return slots[-1]

    monkeypatch.setattr(feed, "_Slot", slot)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: None)
    made = feed.Feed(torch.device("cpu"))
    made._stream = object()
    return made, slots


def give(made, count=4):
    made.to_device({"images": np.zeros((count, 2, 2, 3), np.uint8)})


def test_two_slots_take_turns_and_the_last_copy_is_waited_for(gpu):
    made, slots = gpu
    made.wait()  # nothing was copied
    for turn in range(4):
        give(made)
        now, before = slots[(turn + 1) % 2], slots[turn % 2]
        made.wait()
        assert now.copied.calls[-2:] == ["record", "synchronize"]
        assert before.used.calls[-1] == "record"  # the batch before has been read by then
    assert len(slots) == 2
    assert [slot.copied.calls.count("record") for slot in slots] == [2, 2]


def test_another_shape_needs_other_slots(gpu):
    made, slots = gpu
    give(made, 4)
    give(made, 4)
    give(made, 3)
    assert len(slots) == 4 and slots[-1].layout == {"images": (3, 2, 2, 3)}


class Stream:
    device = None

    def __init__(self):
        self.waits = []

    def wait_event(self, event):
        self.waits.append(event.calls[-1:])


def test_new_memory_is_not_written_before_its_last_owner_has_ended(monkeypatch):
    copies, computes, empty_like = Stream(), Stream(), torch.empty_like
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: computes)
    # No GPU, no pinned memory.
    monkeypatch.setattr(torch, "empty_like", lambda tensor, **where: empty_like(tensor))
    monkeypatch.setattr(feed, "_is_direct", lambda tensor: False)
    made = feed.Feed(torch.device("cpu"))
    made._stream = copies
    for count in (4, 4, 3):
        images = np.full((count, 2, 2, 3), count, np.uint8)
        assert (made.to_device({"images": images})["images"].numpy() == count).all()
    # An event that was never recorded would not be waited for.
    assert copies.waits == computes.waits == [["record"]] * 3
