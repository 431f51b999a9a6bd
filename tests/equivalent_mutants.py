"""Mutants that change nothing that a caller could see, each with the reason."""

from __future__ import annotations

#: (file, line of code, change) → why no test can notice it.
EQUIVALENT: dict[tuple[str, str, str], str] = {
    (
        "sampler/measure/volume.py",
        "columns[name][which] *= -1.0",
        "columns[name][which] *= -1.0 → columns[name][which] /= -1.0",
    ): "the same number",
    (
        "sampler/measure/flow_state.py",
        "if elapsed.max() <= GRID_SECONDS * (between + 1):",
        (
            "elapsed.max() <= GRID_SECONDS * (between + 1)"
            " → (elapsed.max() < GRID_SECONDS * (between + 1))"
        ),
    ): "where both are equal, the other way gives the same number for each contract",
    (
        "api/series/stream.py",
        "_PIECE = 65_536",
        "65_536 → (65537)",
    ): "a reader gets the same events in whatever pieces",
    (
        "sampler/metrics/crossings.py",
        "highest, value = height, math.copysign(1e-300, weight[k])",
        "1e-300 → (1.0)",
    ): "only the sign counts: halving closes in on the crossing, whatever the secant does",
    (
        "storage/postgres/startup.py",
        "if not 4 <= length <= _LONGEST:",
        "4 → (5)",
    ): "no message of a beginning connection is empty: the shortest, Z, has a byte",
    (
        "sampler/measure/spikes.py",
        "if interval <= 0:",
        "interval <= 0 → (interval < 0)",
    ): "no time apart, σ is 0, and against that nothing is a jump",
    (
        "api/series/bars.py",
        "if indices and indices[0] == first and bars.starts[first] < start:",
        "bars.starts[first] < start → (bars.starts[first] <= start)",
    ): "of a bucket that begins with the window all samples count, and one of them is newer",
    (
        "sampler/measure/volume.py",
        "if OTHER[0] in columns and np.isnan(columns[OTHER[0]]).all():",
        "0 → (1)",
    ): "the carried account's columns are there together, and known for the same contracts",
    (
        "sampler/measure/volume.py",
        "lower = carried & (reported < other)",
        "reported < other → (reported <= other)",
    ): "brought down to what it is already, an account stays as it is",
    (
        "sampler/measure/other_expiries.py",
        "bid, ask = np.full((2, len(strike)), np.nan), np.full((2, len(strike)), np.nan)",
        "2 → (3)",
    ): "a third row is read by nobody",
    (
        "sampler/measure/flow_state.py",
        'listed_before = past.recall("listed", 0.0).astype(np.bool_, copy=False)',
        "0.0 → (1.0)",
    ): "no time has passed since a contract was first read, and such a one is not read again",
    (
        "sampler/measure/volume.py",
        "unknown: int = 0",
        "0 → (1)",
    ): "each step is given the number that was counted",
    (
        "sampler/measure/volume.py",
        "return np.where(self.to_other, 0.0, self.added) if OTHER[0] in self.ledger else self.added",
        "0 → (1)",
    ): "the carried account's columns are there together",
    (
        "sampler/measure/volume.py",
        "if counted.fallen or OTHER[0] in columns:",
        "0 → (1)",
    ): "the carried account's columns are there together",
    (
        "sampler/measure/volume.py",
        "if OTHER[0] not in columns:",
        "0 → (1)",
    ): "the carried account's columns are there together",
    (
        "sampler/measure/volume.py",
        'disputed = ~np.isnan(columns["other_volume"]) & (step.added > 0)',
        "~np.isnan(columns[\"other_volume\"]) & (step.added > 0) → (~np.isnan(columns['other_volume']) | (step.added > 0))",
    ): "where there is no dispute the sums are unknown, and stay so; where nothing traded 0 is added",
    (
        "sampler/measure/volume.py",
        'disputed = ~np.isnan(columns["other_volume"]) & (step.added > 0)',
        "step.added > 0 → (step.added >= 0)",
    ): "where nothing traded 0 is added",
    (
        "storage/postgres/binary.py",
        "if size < 1 or any(",
        "1 → (2)",
    ): "arrays of one element are decoded one by one, to the same values",
    (
        "storage/postgres/write.py",
        "several = [key for key, names in feeds.items() if len(names) > 1]",
        "len(names) > 1 → (len(names) >= 1)",
    ): "a session's only feed is shown from its first slot on: a choice among one changes nothing",
    (
        "sampler/measure/volume.py",
        "back = disputed & readable & (reported >= highest)",
        "disputed & readable → (disputed | readable)",
    ): "the comparison is false where a report is unreadable, or no other account is there",
    (
        "sampler/measure/volume.py",
        "carried = fallen & (np.isnan(other) | ((other > mark) & ~anew))",
        "other > mark → (other >= mark)",
    ): "a report at which both accounts are equal ends their dispute in its own slot",
    (
        "sampler/measure/volume.py",
        "_swap(columns, fallen & ~carried & (other < mark) & ~anew)",
        "other < mark → (other <= mark)",
    ): "a report at which both accounts are equal ends their dispute in its own slot",
    (
        "sampler/measure/volume.py",
        "published_high = (mark > other) & ~anew",
        "mark > other → (mark >= other)",
    ): "a report at which both accounts are equal ends their dispute in its own slot",
    (
        "sampler/measure/volume.py",
        "rising = carried & (reported > other)",
        "carried & (reported > other) → (carried | (reported > other))",
    ): "what is added to an account that is not carried is written anew; what did not rise adds 0",
    (
        "sampler/measure/volume.py",
        "rising = carried & (reported > other)",
        "reported > other → (reported >= other)",
    ): "what did not rise adds 0",
    (
        "sampler/measure/volume.py",
        '_move(columns, RISE, EARLIER_RISE, largest & (columns["rise"] > 0))',
        "columns[\"rise\"] > 0 → (columns['rise'] >= 0)",
    ): "a rise that is remembered is above 0",
    (
        "sampler/measure/volume.py",
        'fall = np.where(fallen, columns["volume"] - reported, 0.0)',
        "0.0 → (1.0)",
    ): "wherever the fall is used, it is used of what fell alone",
    (
        "sampler/measure/volume.py",
        "_shrink(columns, names, gone, explained & (gone > 0))",
        "gone > 0 → (gone >= 0)",
    ): "of a rise of which nothing is taken all is left",
    (
        "storage/postgres/dump.py",
        "file.unlink(missing_ok=True)",
        "True → (False)",
    ): "the error of a missing file is suppressed as well",
    (
        "storage/postgres/binary.py",
        "def copy_stream(rows: Iterable[bytes], size: int = 1 << 17) -> Iterable[bytes]:",
        "1 → (2)",
    ): "the database gets the same stream in whatever blocks",
    (
        "storage/postgres/binary.py",
        "def copy_stream(rows: Iterable[bytes], size: int = 1 << 17) -> Iterable[bytes]:",
        "17 → (18)",
    ): "the database gets the same stream in whatever blocks",
    (
        "sampler/measure/flow_state.py",
        '"call_delta": past.widen(sheet.now.call_delta, 0.0),',
        "0.0 → (1.0)",
    ): "at a strike that the frame lacks nothing trades: the number is multiplied by 0",
    (
        "sampler/measure/flow_state.py",
        '"put_delta": past.widen(sheet.now.put_delta, 0.0),',
        "0.0 → (1.0)",
    ): "at a strike that the frame lacks nothing trades: the number is multiplied by 0",
    (
        "sampler/measure/flow_state.py",
        '"gamma": past.widen(sheet.now.gamma, 0.0),',
        "0.0 → (1.0)",
    ): "at a strike that the frame lacks nothing trades: the number is multiplied by 0",
}
