"""The journal's file: rotation, the lock, and what is read back."""

import json
import os
import stat
import time
from pathlib import Path

import pytest

from exporter.journal.file import KEPT, JournalFile
from exporter.journal.lines import line_of, parts_of, read_back
from exporter.settings import Journal
from journal_events import event


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def descriptors() -> int:
    """Return how many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def ids(path: Path, most_events: int = 10_000, most_bytes: int = 1 << 30) -> list[int]:
    return [each.id for each in read_back(path, KEPT, most_events, most_bytes).events]


def test_events_come_back_in_their_order(path: Path) -> None:
    file = JournalFile(path, 1 << 20)
    file.append(line_of(event(1)) + line_of(event(2)))
    file.append(line_of(event(3)))
    file.close()
    assert ids(path) == [1, 2, 3]


def test_three_files_are_kept_and_read_as_one(path: Path) -> None:
    size = len(line_of(event(100)))
    file = JournalFile(path, 3 * size)
    file.append(line_of(event(100)))
    open_files = descriptors()
    for number in range(101, 112):
        file.append(line_of(event(number)))
    assert descriptors() == open_files
    assert sorted(each.name for each in path.parent.iterdir()) == [
        "journal.jsonl",
        "journal.jsonl.1",
        "journal.jsonl.2",
        "journal.jsonl.lock",
    ]
    assert all(part.stat().st_size <= 3 * size for part in path.parent.iterdir())
    assert ids(path) == list(range(103, 112))


def test_last_events_are_read_at_most(path: Path) -> None:
    path.write_bytes(b"".join(line_of(event(number)) for number in range(1, 101)))
    assert ids(path, most_events=3) == [98, 99, 100]


def test_events_and_bytes_are_counted_over_all_files(path: Path) -> None:
    length = len(line_of(event(1001)))
    for number, part in enumerate(reversed(parts_of(path, KEPT))):
        part.write_bytes(b"".join(line_of(event(1000 + 200 * number + each)) for each in range(200)))
    assert ids(path, most_events=200) == list(range(1400, 1600))
    assert ids(path, most_events=201) == list(range(1399, 1600))
    # A line that begins just at the limit is left out, since nobody has seen that it begins there.
    for most_bytes, count in ((250 * length + 1, 249), (250 * length + 2, 250), (251 * length + 1, 250)):
        assert len(ids(path, most_bytes=most_bytes)) == count


def test_older_file_is_read_though_one_between_is_missing(path: Path) -> None:
    newest, _, oldest = parts_of(path, KEPT)
    newest.write_bytes(line_of(event(2)))
    oldest.write_bytes(line_of(event(1)))
    assert ids(path) == [1, 2]


def test_last_line_without_an_end_is_read_if_it_is_whole(path: Path) -> None:
    path.write_bytes((line_of(event(1)) + line_of(event(2))).rstrip())
    assert ids(path) == [1, 2]


@pytest.mark.parametrize("most_bytes", [0, 1, 100, 5000, 1_000_000])
def test_line_that_begins_before_the_bytes_to_read_is_no_unreadable_one(path: Path, most_bytes: int) -> None:
    lines = [line_of(event(number)) for number in range(1, 101)]
    path.write_bytes(b"".join(lines))
    found = read_back(path, KEPT, 10_000, most_bytes)
    assert found.unreadable == 0
    assert [each.id for each in found.events] == list(range(101 - len(found.events), 101))
    assert len(found.events) == min(100, most_bytes // len(lines[-1])) or most_bytes == 5000


def test_lines_longer_than_a_block_are_read(path: Path) -> None:
    long = event(2, *(f"node-{number}-{'x' * 100}" for number in range(30_000)))
    path.write_bytes(line_of(event(1)) + line_of(long) + line_of(event(3)))
    assert ids(path) == [1, 2, 3]


def test_events_of_a_process_that_waited_for_the_file_come_back_in_their_order(path: Path) -> None:
    path.write_bytes(b"".join(line_of(event(number)) for number in (1, 2, 5, 3, 4, 6)))
    assert ids(path) == [1, 2, 3, 4, 5, 6]


def test_lines_that_cannot_be_read_are_skipped_and_counted(path: Path) -> None:
    good = line_of(event(1))
    path.write_bytes(b"\xff\xfe\n{}\n" + good + b"[" * 100_000 + b"\n\n" + b"null\n" + good[:-20])
    found = read_back(path, KEPT, 10_000, 1 << 20)
    assert len(found.events) == 1
    assert found.unreadable == 5


def test_line_after_one_that_was_cut_off_stands_alone(path: Path) -> None:
    path.write_bytes(line_of(event(1)) + line_of(event(2))[:30])
    file = JournalFile(path, 1 << 20)
    file.append(line_of(event(3)))
    assert ids(path) == [1, 3]


def test_no_journal_is_an_empty_one(path: Path) -> None:
    assert ids(path) == []


def test_second_process_is_refused_until_the_first_one_ends(path: Path) -> None:
    first, second = JournalFile(path, 1 << 20), JournalFile(path, 1 << 20)
    first.append(line_of(event(1)))
    with pytest.raises(BlockingIOError):
        second.append(line_of(event(2)))
    open_files = descriptors()
    with pytest.raises(BlockingIOError):
        second.append(line_of(event(2)))
    assert descriptors() == open_files
    first.close()
    assert descriptors() == open_files - 2
    second.append(line_of(event(3)))
    with pytest.raises(BlockingIOError):
        first.append(line_of(event(4)))
    assert ids(path) == [1, 3]


def test_files_are_readable_for_all_and_writable_for_their_owner(path: Path) -> None:
    before = os.umask(0)
    try:
        JournalFile(path, 1 << 20).append(line_of(event(1)))
    finally:
        os.umask(before)
    assert {stat.S_IMODE(part.stat().st_mode) for part in path.parent.iterdir()} == {0o644}


def test_settings_name_the_file(path: Path) -> None:
    assert JournalFile.of(Journal()) is None
    file = JournalFile.of(Journal(file=path))
    assert file
    assert file.path == path


def test_lines_that_do_not_fit_on_the_disk_leave_no_half_line(path: Path) -> None:
    room = [10_000]

    def write(descriptor: int, data: bytes) -> int:
        written = os.write(descriptor, data[: room[0]])
        room[0] -= written
        if not written:
            raise OSError(28, "No space left on device")
        return written

    file = JournalFile(path, 1 << 20, write)
    file.append(line_of(event(1)))
    room[0] = 50
    open_files = descriptors()
    with pytest.raises(OSError, match="No space left"):
        file.append(line_of(event(2)))
    assert descriptors() == open_files - 1
    room[0] = 10_000
    file.append(line_of(event(3)))
    assert [json.loads(line)["id"] for line in path.read_bytes().splitlines()] == [1, 3]


def test_file_that_somebody_deletes_is_written_anew(path: Path) -> None:
    file = JournalFile(path, 1 << 20)
    file.append(line_of(event(1)))
    open_files = descriptors()
    path.unlink()
    file.append(line_of(event(2)))
    assert ids(path) == [2]
    assert descriptors() == open_files


def test_file_that_somebody_replaces_is_left(path: Path) -> None:
    file = JournalFile(path, 1 << 20)
    file.append(line_of(event(1)))
    path.rename(path.with_name("moved"))
    path.write_bytes(line_of(event(2)))
    file.append(line_of(event(3)))
    assert ids(path) == [2, 3]
    assert ids(path.with_name("moved")) == [1]


def test_large_journal_is_read_quickly(path: Path) -> None:
    lines = b"".join(line_of(event(number, f"node-{number}")) for number in range(1, 5001))
    with path.open("wb") as file:
        file.truncate(1 << 30)  # a gigabyte that needs no room on the disk
        file.seek(0, os.SEEK_END)
        file.write(b"\n" + lines)
    start = time.process_time()
    found = JournalFile(path, 10_000_000).read_back(10_000)
    assert time.process_time() - start < 2
    assert len(found.events) == 5000
