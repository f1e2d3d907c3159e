"""The guarded readers: what is no regular file, claims too much or is malformed ends in one line, at once."""

import gzip
import json
import os
import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from infogan.system.errors import UserError
from infogan.system.readers import parse_json, read_array, read_bytes, read_json, unpack_gzip


def refusal(read, *arguments):
    """The message of a refusal, which is one line that begins with the argument."""
    with pytest.raises(UserError) as error:
        read(*arguments)
    message = str(error.value)
    assert message.startswith("--flag: ") and "\n" not in message
    return message


READERS = [lambda path: read_bytes(path, "--flag", 100), lambda path: read_json(path, "--flag")]
READERS.append(lambda path: read_array(path, "--flag"))


@pytest.mark.parametrize("read", READERS)
def test_only_regular_files_are_read_and_nothing_is_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, "/dev/zero", "/dev/tty"):
        if Path(path).exists():
            assert f"expected a regular file, got {str(path)!r}" in refusal(read, path)
    assert "none: No such file or directory" in refusal(read, tmp_path / "none")
    assert "File name too long" in refusal(read, tmp_path / ("x" * 300))
    assert r"a\nb: No such file" in refusal(read, tmp_path / "a\nb")
    assert "null" in refusal(read, "a\0b")


def test_a_file_is_no_larger_than_allowed(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    assert read_bytes(path, "--flag", 100) == b"x" * 100
    with path.open("r+b") as file:
        file.truncate(2**40)  # a hole; it takes no disk
    assert "at most 100 bytes, got" in refusal(read_bytes, path, "--flag", 100)
    assert "1,099,511,627,776" in refusal(read_json, path, "--flag")


def test_a_gz_file_is_never_unpacked_further_than_allowed(digits_5k):
    pixels = digits_5k[0][:100].tobytes()
    packed = gzip.compress(pixels)
    assert unpack_gzip(packed, "file.gz", "--flag", len(pixels)) == pixels
    assert "at most 1,000 bytes unpacked" in refusal(unpack_gzip, packed, "file.gz", "--flag", 1000)
    bomb = gzip.compress(bytes(2**26), 9)
    tracemalloc.start()
    refusal(unpack_gzip, bomb, "file.gz", "--flag", 10_000)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    for damaged in (packed[:-9], packed[:20], b"no gzip", b"\x1f\x8b" + packed[5:], packed[:500] + b"x" + packed[501:]):
        refusal(unpack_gzip, damaged, "file.gz", "--flag", len(pixels))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[" * 100_000 + "]" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("1" + "0" * 400, "integers of at most 64 bits, got one of 1329"),
        ("1" + "0" * 5000, "digits"),
        ("[1e400]", "expected finite numbers, got inf"),
        ("NaN", "expected finite numbers, got nan"),
        ('{"a": -Infinity}', "expected finite numbers, got -inf"),
        ('{"a": 1, "a": 2}', "each key once, got 2 entries with 1 keys"),
        (r'"\ud800"', "surrogates"),
        (b'"\xff"', "utf-8"),
        ("", "Expecting value"),
        ('{"a": 1} {', "Extra data"),
    ],
)
def test_json_that_could_not_be_computed_with_or_printed_is_refused(tmp_path, content, reason):
    path = tmp_path / "file.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert reason in refusal(read_json, path, "--flag")
    with pytest.raises(ValueError):
        parse_json(content)


def test_json_comes_back_as_written(tmp_path):
    value = {"a": [1, -2.5, None, True, "3 → 7"], "b": {"": 2**63 - 1}}
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / "file.json").write_bytes(json.dumps(value, ensure_ascii=False).encode(encoding))
        assert read_json(tmp_path / "file.json", "--flag") == value


def test_an_array_comes_back_as_written(tmp_path, digits_5k):
    images = digits_5k[0][:30]
    for array in (images, np.asfortranarray(images), images[:0], images.astype(">f4"), np.uint8(3)):
        np.save(tmp_path / "mine.npy", array)
        found = read_array(tmp_path / "mine.npy", "--flag")
        assert found.dtype == array.dtype and np.array_equal(found, array) and found.flags.writeable


def with_header(header):
    header = header.ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(2352)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), }")[:-1], "claims 2,352 bytes"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 29), }"), "after it are 2,352"),
        (with_header(f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**25}, 28), }}"), "its header claims"),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (-84, -28), }"), "shape (-84, -28)"),
        (with_header("{'descr': '|V0', 'fortran_order': False, 'shape': (3,), }"), "expected an array of numbers"),
        (
            with_header("{'descr': '|O', 'fortran_order': False, 'shape': (294,), }"),
            "got Python objects, which may execute code",
        ),
        (with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (3, 28, 28), "), "its header makes no sense"),
        (with_header("{'descr': ('|u1', ['a'] * 9), "), "its header makes no sense"),
        (with_header("(" * 100), "its header makes no sense"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "its header makes no sense"),
        (b"PK\x03\x04", "magic"),
        (b"", ""),
    ],
)
def test_an_array_whose_header_and_size_do_not_agree_is_refused_before_memory_is_taken(tmp_path, content, reason):
    (tmp_path / "mine.npy").write_bytes(content)
    assert re.search("cannot read .*mine.npy: .", message := refusal(read_array, tmp_path / "mine.npy", "--flag"))
    assert reason in message


def test_no_single_byte_of_a_header_makes_another_array_of_the_file(tmp_path, digits_5k):
    np.save(tmp_path / "whole.npy", digits_5k[0][:3])
    content, path = (tmp_path / "whole.npy").read_bytes(), tmp_path / "mine.npy"
    loaded = refused = altered = 0
    for position in range(128):
        for value in {content[position] ^ 1, content[position] ^ 8, *b"0' (,O"} - {content[position]}:
            path.write_bytes(content[:position] + bytes([value]) + content[position + 1 :])
            altered += 1
            try:
                found = read_array(path, "--flag")
            except UserError as error:
                refused += "\n" not in str(error)
            else:  # a blank may change, or the type of the bytes
                loaded += found.nbytes == 2352 and found.size == 2352
    assert loaded + refused == altered > refused > 800


def test_a_message_stays_one_line_whatever_it_quotes():
    assert str(UserError("--name: got a\nb\x1b[2Jc\rd\u2028e, 'é → 7'")) == (
        r"--name: got a\nb\x1b[2Jc\rd\u2028e, 'é → 7'"
    )
