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
}
