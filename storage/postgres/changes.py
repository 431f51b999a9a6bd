"""What has changed beyond a cursor: how a follower catches up. Reads only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from storage.postgres.pool import Asking
from storage.postgres.queries import query
from storage.record.row import COLUMNS, Change, Gap, Reason, Row


class Changes(Asking):
    """Heads of symbols, and what lies between a cursor and them."""

    async def cursor(self) -> int:
        """The newest change of the dataset; 0 for none."""
        found = await self._one(query("cursor"))
        return int(found["revision"]) if found else 0

    async def heads(self, symbols: Sequence[str] | None = None) -> dict[str, int]:
        """The newest revision of each symbol that was ever sampled, or tried."""
        wanted = None if symbols is None else list(symbols)
        found = await self._all(query("heads"), symbols=wanted)
        return {row["symbol"]: row["revision"] for row in found}

    async def changes(self, after: Mapping[str, int], limit: int | None = None) -> list[Change]:
        """What has changed of these symbols beyond each one's cursor; at most one a symbol.

        With ``limit``, each has at most so many rows, and goes as far as they do.
        """
        found = await self._all(
            query("behind"), symbols=list(after), after=[int(n) for n in after.values()]
        )
        if not found:
            return []
        # Revisions become visible in order: up to the heads, both answers are of one moment.
        asked = {
            "symbols": [f["symbol"] for f in found],
            "after": [f["after"] for f in found],
            "first": min(f["first"] for f in found),
            "last": max(f["last"] for f in found),
        }
        heads = {f["symbol"]: f["head"] for f in found}
        rows: dict[str, list[tuple[int, Row]]] = {symbol: [] for symbol in heads}
        text = query("changed_rows", COLUMNS)
        for row in await self._all(text, **asked, heads=list(heads.values()), limit=limit):
            rows[row["symbol"]].append((row["revision"], Row.from_columns(row)))
        for symbol, kept in rows.items():
            if limit is not None and len(kept) >= limit:
                heads[symbol] = kept[-1][0]
        gaps: dict[str, list[tuple[int, Gap]]] = {symbol: [] for symbol in heads}
        for row in await self._all(query("changed_gaps"), **asked, heads=list(heads.values())):
            revision = row.pop("revision")
            gaps[row["symbol"]].append((revision, Gap(**row | {"reason": Reason(row["reason"])})))
        return [
            Change(
                symbol=f["symbol"],
                after=f["after"],
                revision=heads[f["symbol"]],
                rows=tuple(rows[f["symbol"]]),
                gaps=tuple(gaps[f["symbol"]]),
            )
            for f in found
        ]
