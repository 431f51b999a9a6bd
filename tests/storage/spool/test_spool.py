"""The spool: what is in it survives a kill at any byte, comes out in order, and is never guessed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from factories import DAY, OPEN, at, record
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from storage.errors import SpoolError, SpoolFull
from storage.record.mode import WriteMode
from storage.record.row import COLUMNS, Gap, Reason, SlotRecord
from storage.record.wire import Batch, decode_batch, encode_batch
from storage.spool.segment import SEGMENT_HEADER
from storage.spool.spool import Spool

MB = 1_000_000


def same(first: SlotRecord, second: SlotRecord) -> bool:
    """Whether two records are equal to the last bit."""
    arrays = first.profile.keys() == second.profile.keys() and all(
        first.profile[name].tobytes() == second.profile[name].tobytes() for name in first.profile
    )
    return first.row == second.row and first.evidence == second.evidence and arrays


def batch(step: int, symbol: str = "SPX", mode: WriteMode = WriteMode.KEEP) -> Batch:
    gap = Gap(symbol="QQQ", expiration=DAY, slot=at(step), reason=Reason.STALE, detail="old é")
    return Batch(records=[record(slot=at(step), symbol=symbol)], gaps=[gap], mode=mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool" / "live"


def opened(folder: Path, limit: int = 10 * MB, **options) -> Spool:
    return Spool.open(folder, limit, **options)


def emptied(spool: Spool) -> list[Batch]:
    """All batches, taken off one after another."""
    batches = []
    while (oldest := spool.oldest()) is not None:
        batches.append(oldest)
        spool.drop(oldest)
    return batches


def steps(batches: list[Batch]) -> list[int]:
    return [int((b.records[0].row.slot - OPEN).total_seconds()) // 30 for b in batches]


class TestBatch:
    """A batch and its bytes."""

    def test_comes_back_whole(self):
        """Microseconds, NaN, infinities, large integers, nulls and nested parts; the mode too."""
        odd = record(
            quoted_at=OPEN.replace(microsecond=123_457),
            gamma_flip=None,
            differenced_from=None,
            profile={"iv": [float("nan"), 5e-324], "chex": [float("inf"), -0.0]},
            evidence=bytes(range(256)),
        )
        whole = Batch(records=[odd, record(symbol="SPY")], gaps=batch(3).gaps, mode=WriteMode.NEWER)
        back = decode_batch(encode_batch(whole))
        assert [same(a, b) for a, b in zip(whole.records, back.records, strict=True)] == [True] * 2
        assert {n: type(getattr(odd.row, n)) for n in COLUMNS} == {
            n: type(getattr(back.records[0].row, n)) for n in COLUMNS
        }
        assert (back.gaps, back.mode) == (whole.gaps, WriteMode.NEWER)

    @pytest.mark.parametrize("body", [b"", b"{}\n", b"[]\n", b"\x00", b'{"rows": 1}\n'])
    def test_other_bytes(self, body):
        """Bytes that are no batch are a ValueError, whatever they are."""
        with pytest.raises(ValueError):
            decode_batch(body)


class TestOrder:
    """First in, first out, once."""

    def test_oldest_first(self, folder):
        """Batches come out as they went in; then the folder is empty."""
        spool = opened(folder)
        for i in range(5):
            spool.append(batch(i))
        assert spool.waiting == 5
        assert steps(emptied(spool)) == [0, 1, 2, 3, 4]
        assert (spool.waiting, spool.size, list(folder.iterdir())) == (0, 0, [])

    def test_what_comes_meanwhile_goes_behind(self, folder):
        """Appending while it is being emptied keeps the order."""
        spool = opened(folder)
        spool.append(batch(0))
        spool.append(batch(1))
        first = spool.oldest()
        spool.append(batch(2))
        assert first is not None
        spool.drop(first)
        assert steps(emptied(spool)) == [1, 2]

    def test_segments(self, folder, monkeypatch):
        """A spool of many files is one spool; a drained file is gone."""
        monkeypatch.setattr("storage.spool.spool._SEGMENT", 2_000)
        spool = opened(folder)
        for i in range(6):
            spool.append(batch(i))
        files = len(list(folder.iterdir()))
        assert files > 2
        spool.drop(spool.oldest())
        assert len(list(folder.iterdir())) < files
        spool.close()
        assert steps(emptied(opened(folder))) == [1, 2, 3, 4, 5]

    def test_state_to_go_on_from(self, folder):
        """The newest record of a symbol is at hand, also after a restart; none once drained."""
        spool = opened(folder)
        for i in range(4):
            spool.append(batch(i))
        spool.close()
        spool = opened(folder)
        newest = spool.newest("SPX", DAY, at(9), "test")
        assert newest is not None
        assert newest.row.slot == at(3)
        assert same(newest, batch(3).records[0])
        assert spool.newest("SPX", DAY, at(3), "test").row.slot == at(2)
        assert spool.newest("SPY", DAY, at(9), "test") is None
        assert spool.newest("SPX", DAY, at(9), "other") is None
        assert spool.accounted == {("SPX", "test"): at(3), ("QQQ", ""): at(3)}
        emptied(spool)
        assert spool.newest("SPX", DAY, at(9), "test") is None


class TestOwners:
    """Several processes on one folder."""

    def test_a_living_owner_keeps_its_own(self, folder):
        """Another process does not see what a living one waits with, and writes beside it."""
        first, second = opened(folder), opened(folder)
        first.append(batch(0))
        assert second.adopt() == 0
        second.append(batch(1))
        assert (first.waiting, second.waiting) == (1, 1)
        first.close()
        assert second.adopt() == 1
        assert steps(emptied(second)) == [0, 1]

    def test_a_killed_owner_leaves_it(self, folder):
        """After kill -9 all that ``append`` returned for is there."""
        program = (
            "import os, signal, sys; from pathlib import Path\n"
            "sys.path[:0] = sys.argv[2:]\n"
            "from tests.storage.spool.test_spool import batch; from storage.spool.spool import Spool\n"
            "spool = Spool.open(Path(sys.argv[1]), 10**7)\n"
            "for i in range(3): spool.append(batch(i))\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        root = Path(__file__).resolve().parents[3]
        done = subprocess.run(
            [sys.executable, "-c", program, str(folder), str(root), str(root / "tests")],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert steps(emptied(opened(folder))) == [0, 1, 2]


class TestPowerLoss:
    """What survives a power failure is what was synced; the machine's memory is not asked."""

    @pytest.fixture
    def synced(self, monkeypatch) -> dict[tuple[int, int], int]:
        """Files and folders by device and inode, and how long each was when it was last synced."""
        lengths: dict[tuple[int, int], int] = {}
        sync = os.fsync

        def note(descriptor: int) -> None:
            sync(descriptor)
            status = os.fstat(descriptor)
            lengths[status.st_dev, status.st_ino] = status.st_size

        monkeypatch.setattr(os, "fsync", note)
        return lengths

    @staticmethod
    def place(path: Path) -> tuple[int, int]:
        return path.stat().st_dev, path.stat().st_ino

    def test_an_entry_is_synced(self, folder, synced):
        """When ``append`` returns, all bytes of the entry are on disk, and the file's name is."""
        spool = opened(folder)
        for step in range(3):
            spool.append(batch(step))
            (path,) = folder.iterdir()
            assert synced[self.place(path)] == path.stat().st_size == spool.size
            assert self.place(folder) in synced

    def test_a_file_is_whole_before_its_name_is_synced(self, folder, synced, monkeypatch):
        """No power failure leaves a name whose first line is missing, for which a person is asked.

        That the first entry is synced too is too late: the disk may be too full for it.
        """
        named: list[tuple[int, int]] = []
        note = os.fsync

        def look(descriptor: int) -> None:
            note(descriptor)
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) == self.place(folder):
                (path,) = folder.iterdir()
                named.append((synced.get(self.place(path), 0), path.stat().st_size))

        monkeypatch.setattr(os, "fsync", look)
        opened(folder).append(batch(0))
        assert named == [(len(SEGMENT_HEADER), len(SEGMENT_HEADER))]

    def test_a_quarantined_batch_is_synced(self, folder, synced):
        """When ``quarantine`` returns, all bytes of the batch are on disk."""
        spool = opened(folder)
        for step in range(2):
            path = spool.quarantine(batch(step))
            assert synced[self.place(path)] == path.stat().st_size


class TestDamage:
    """Bytes that are not what was written."""

    @pytest.mark.parametrize("lost", [1, 7, 13, 500])
    def test_torn_tail(self, folder, lost):
        """The last entry is cut short: the others are there, and it is told."""
        spool = opened(folder)
        for i in range(3):
            spool.append(batch(i))
        (path,) = folder.iterdir()
        spool.close()
        os.truncate(path, path.stat().st_size - lost)
        with capture_logs() as lines:
            assert steps(emptied(opened(folder))) == [0, 1]
        assert [line["torn_tail"] for line in lines if line["event"] == "spool damaged"] == [True]

    def test_only_the_first_bytes_of_a_segment(self, folder):
        """Killed before the header was whole: nothing was promised, nothing is there."""
        folder.mkdir(parents=True)
        (folder / "00000001.spool").write_bytes(SEGMENT_HEADER[:7])
        (folder / "00000002.spool").write_bytes(b"")
        spool = opened(folder)
        assert (spool.waiting, list(folder.iterdir())) == (0, [])

    def test_a_damaged_entry_costs_itself_alone(self, folder):
        """A flipped byte in the middle: its entry is skipped and told, the others come."""
        spool = opened(folder)
        sizes = []
        for i in range(3):
            spool.append(batch(i))
            sizes.append(spool.size)
        (path,) = folder.iterdir()
        spool.close()
        body = bytearray(path.read_bytes())
        body[(sizes[0] + sizes[1]) // 2] ^= 0xFF
        path.write_bytes(body)
        with capture_logs() as lines:
            assert steps(emptied(opened(folder))) == [0, 2]
        assert "spool damaged" in {line["event"] for line in lines}

    @settings(max_examples=40, deadline=None)
    @given(cut=st.integers(0, 20_000), flip=st.integers(0, 20_000), noise=st.binary(max_size=40))
    def test_any_damage(self, tmp_path_factory, cut, flip, noise):
        """Whatever happens to the file: whole entries only, in order, and no exception."""
        folder = tmp_path_factory.mktemp("spool")
        spool = opened(folder)
        for i in range(3):
            spool.append(batch(i))
        (path,) = folder.iterdir()
        spool.close()
        body = bytearray(path.read_bytes())
        header = len(SEGMENT_HEADER)
        body[header + flip % (len(body) - header)] ^= 1
        path.write_bytes(bytes(body[: header + cut]) + noise)
        with capture_logs():
            batches = emptied(opened(folder))
        assert set(steps(batches)) <= {0, 1, 2}
        assert steps(batches) == sorted(set(steps(batches)))
        for read in batches:
            assert same(read.records[0], batch(steps([read])[0]).records[0])


class TestRefusals:
    """What a spool will not do says so in a sentence that names the setting."""

    @pytest.mark.parametrize(
        ("head", "message"),
        [
            (b"zerodte-flow spool 2 00000000\n", "another release (spool version 2 00000000"),
            (b"zerodte-flow spool 1 ffffffff\n", "another release (spool version 1 ffffffff"),
            (b"PK\x03\x04 something else entirely .....", "is no spool of ours"),
        ],
    )
    def test_another_version(self, folder, head, message):
        """Another release's spool, or another program's file, is refused and left as it is."""
        folder.mkdir(parents=True)
        path = folder / "00000007.spool"
        path.write_bytes(head + b"body")
        with pytest.raises(SpoolError, match="FLOW_SPOOL_DIR") as refused:
            opened(folder)
        assert message in str(refused.value)
        assert str(path) in str(refused.value)
        assert path.read_bytes() == head + b"body"

    def test_a_folder_that_is_a_file(self, tmp_path):
        """A folder that cannot be had is known before the first slot."""
        (tmp_path / "spool").write_text("")
        with pytest.raises(SpoolError, match=r"FLOW_SPOOL_DIR: .*spool.* cannot be written"):
            opened(tmp_path / "spool")

    def test_limit(self, folder):
        """Beyond its limit it takes nothing, says which setting, and keeps what it has."""
        spool = opened(folder, limit=30_000)
        appended = 0

        def fill() -> None:
            nonlocal appended
            while True:
                spool.append(batch(appended))
                appended += 1

        with pytest.raises(SpoolFull, match="FLOW_SPOOL_MB"):
            fill()
        assert appended > 1
        assert spool.size <= 30_000
        assert steps(emptied(spool)) == list(range(appended))
        spool.append(batch(50))
        assert steps(emptied(spool)) == [50]

    def test_full_disk(self, folder):
        """No room for a whole entry: nothing of it stays, and the next one that fits is whole."""
        spool = opened(folder)
        spool.append(batch(0))
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (spool.size + 900, before[1]))
            with pytest.raises(SpoolFull, match=r"FLOW_SPOOL_DIR: .* cannot be written: File too"):
                spool.append(batch(1))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, ignored)
        (path,) = folder.iterdir()
        # Not hidden by a next entry over it: nobody may come to write one.
        assert path.stat().st_size == spool.size
        spool.append(batch(2))
        assert path.stat().st_size == spool.size
        assert steps(emptied(spool)) == [0, 2]

    def test_put_aside(self, folder):
        """What the database refuses for good lies in a file of its own, and is not replayed."""
        spool = opened(folder)
        path = spool.quarantine(batch(1))
        spool.close()
        assert opened(folder).waiting == 0
        assert decode_batch(path.read_bytes()[12:]).records[0].row == batch(1).records[0].row


def test_which_database_was_reached(folder):
    """It is known again by another process, until another one was reached; no name is no mistake."""
    spool = Spool.open(folder, 10**6)
    assert not spool.knows_database("here 5432 flow")
    spool.remember_database("here 5432 flow")
    spool.close()
    again = Spool.open(folder, 10**6)
    assert again.knows_database("here 5432 flow")
    assert not again.knows_database("there 5432 flow")
    again.remember_database("there 5432 flow")
    assert not again.knows_database("here 5432 flow")
    (folder / "database").write_bytes(b"\xff")
    assert not again.knows_database("there 5432 flow")
    again.close()


def test_sizes():
    """A batch knows about how large it is: within a factor of two of its bytes."""
    batch_of_five = Batch(
        records=[record(profile={"strike": list(np.arange(400.0))}) for _ in range(5)]
    )
    assert 0.5 < batch_of_five.size / len(encode_batch(batch_of_five)) < 4
