import io
import os
import threading

import pytest

from worker import frames
from worker.frames import Frame, FrameError


def written(*messages):
    stream = io.BytesIO()
    for header, payload in messages:
        frames.write(stream, header, payload)
    return stream.getvalue()


def test_frames_come_out_as_they_went_in_and_in_order():
    stream = io.BytesIO(
        written(({"kind": "unit", "step": 3}, b"\x00weights"), ({"kind": "done"}, b""))
    )
    assert frames.read(stream) == Frame({"kind": "unit", "step": 3}, b"\x00weights")
    assert frames.read(stream) == Frame({"kind": "done"})
    assert frames.read(stream) is None


def test_the_layout_is_two_lengths_then_json_then_the_payload():
    assert written(({"a": 1}, b"xyz")) == b"\x00\x00\x00\x07" + bytes(7) + b"\x03" + b'{"a":1}xyz'


def test_a_payload_larger_than_a_pipe_crosses_a_pipe():
    source, sink = os.pipe()
    payload = os.urandom(5_000_000)

    def send():
        with os.fdopen(sink, "wb") as stream:
            frames.write(stream, {"kind": "unit"}, payload)

    sender = threading.Thread(target=send)
    sender.start()
    with os.fdopen(source, "rb") as stream:
        assert frames.read(stream) == Frame({"kind": "unit"}, payload)
        assert frames.read(stream) is None
    sender.join()


@pytest.mark.parametrize("kept", [1, 5, 12, 15, 25])
def test_a_stream_that_ends_within_a_frame_is_an_error(kept):
    whole = written(({"kind": "unit"}, b"weights"))
    with pytest.raises(FrameError, match="ends within a frame"):
        frames.read(io.BytesIO(whole[:kept]))


@pytest.mark.parametrize(
    "lengths", [(frames.MAX_HEADER_BYTES + 1, 0), (2, frames.MAX_PAYLOAD_BYTES + 1)]
)
def test_a_length_over_its_limit_is_refused_before_it_is_read(lengths):
    stream = io.BytesIO(frames.LENGTHS.pack(*lengths) + b"{}")
    with pytest.raises(FrameError, match="over the limit"):
        frames.read(stream)


def test_a_length_that_lies_costs_no_memory():
    stream = io.BytesIO(frames.LENGTHS.pack(2, 15 << 30) + b"{}few")
    with pytest.raises(FrameError, match="bytes are missing"):
        frames.read(stream)


@pytest.mark.parametrize("header", [b"[]", b"{,}", b"\xff\xff"])
def test_a_header_that_is_no_object_is_refused(header):
    with pytest.raises(FrameError, match="header"):
        frames.read(io.BytesIO(frames.LENGTHS.pack(len(header), 0) + header))
