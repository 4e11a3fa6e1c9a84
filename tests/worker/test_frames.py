from __future__ import annotations

import io
import os

import pytest

from server.worker.frames import PipeClosed, read_frame, write_frame


def test_a_frame_comes_out_as_it_went_in() -> None:
    stream = io.BytesIO()
    write_frame(stream, {"text": "한글 \ud800", "n": 1}, b"\x00\xff" * 1000)
    write_frame(stream, {})
    stream.seek(0)
    assert read_frame(stream) == ({"text": "한글 \ud800", "n": 1}, b"\x00\xff" * 1000)
    assert read_frame(stream) == ({}, b"")


def test_every_cut_of_a_frame_is_a_closed_pipe() -> None:
    stream = io.BytesIO()
    write_frame(stream, {"a": "b"}, b"body")
    whole = stream.getvalue()
    for length in range(len(whole)):
        with pytest.raises(PipeClosed):
            read_frame(io.BytesIO(whole[:length]))


def test_writing_to_a_reader_that_has_gone_is_a_closed_pipe() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "wb", buffering=0)
    with stream, pytest.raises(PipeClosed):
        write_frame(stream, {"a": 1})


def test_noise_instead_of_a_frame_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(PipeClosed):
        read_frame(io.BytesIO(b"\xff" * 64))
