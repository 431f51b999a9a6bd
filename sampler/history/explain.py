"""Where a stored row comes from: its chain measured again, step by step, in words or as data."""

from __future__ import annotations

from typing import Any

import numpy as np

from sampler.chain import CALL, PUT, Chain, chain_of_record
from sampler.measure.remeasure import changed_fields, remeasure
from sampler.metrics.flow import quote
from sampler.metrics.smile import NEAREST
from storage.market.calendar import Session, to_new_york
from storage.market.constants import PIN_WEIGHTS, YEAR_SECONDS
from storage.record.row import SlotRecord

#: How many strikes and contracts are shown.
TOP = 10


def explain_record(
    record: SlotRecord, previous: SlotRecord | None, session: Session
) -> dict[str, Any]:
    """Derive one row as plain values: inputs, forward, smile, strikes, crossings, pin, flow."""
    row = record.row
    chain = chain_of_record(record, session)
    again = remeasure(record, previous, session)
    changed = changed_fields(record, again)
    return {
        "symbol": row.symbol,
        "slot": row.as_json()["slot"],
        "quoted_at": row.as_json()["quoted_at"],
        "source": row.source,
        "definitions": row.definitions,
        "inputs": {
            "contracts": row.contracts,
            "strikes": row.strikes,
            "strikes_with_iv": row.strikes_with_iv,
            "dropped": row.dropped,
            "quotes_unused": row.quotes_unused,
            "flags": list(row.flags),
            "open_interest": row.total_oi,
            "volume": row.total_volume,
            "seconds_to_expiry": round(row.years_to_expiry * YEAR_SECONDS, 3),
        },
        "forward": _forward(chain, row.forward, row.source_spot, row.spot),
        "smile": _smile(record, row.forward, row.atm_iv),
        "exposures": {
            name: row.as_json()[name]
            for name in ("net_gex", "call_gex", "put_gex", "gross_gex", "net_dex", "dealer_delta")
        },
        "top_strikes": _top_strikes(record),
        "levels": {
            "gamma_flip": row.gamma_flip,
            "status": row.gamma_flip_status,
            "crossings": list(row.detail.crossings or ()),
            "settled_gamma_flip": row.settled.gamma_flip,
            "settled_crossings": list(row.settled.crossings or ()),
            "call_wall": row.call_wall,
            "put_wall": row.put_wall,
            "magnet": row.magnet,
        },
        "pin": {
            "score": row.pin_score,
            "oi": [PIN_WEIGHTS["oi"], row.pin_oi],
            "proximity": [PIN_WEIGHTS["proximity"], row.pin_proximity],
            "time": [PIN_WEIGHTS["time"], row.pin_time],
            "gamma": [PIN_WEIGHTS["gamma"], row.pin_gamma],
            "probability_pct": row.pin_probability_pct,
            "between": [row.detail.pin_lower, row.detail.pin_upper],
        },
        "flow": _flow(record, previous),
        "recomputed": changed or "equal",
    }


def _forward(chain: Chain, level: float, given: float | None, used: float) -> dict[str, Any]:
    mid = quote(chain.bid, chain.ask).mid
    gap = mid[CALL] - mid[PUT]
    known = np.flatnonzero(np.isfinite(gap) & ((chain.bid[CALL] > 0) | (chain.bid[PUT] > 0)))
    nearest = np.sort(known[np.argsort(np.abs(gap[known]), kind="stable")[:NEAREST]])
    return {
        "level": level,
        "source_spot": given,
        "spot_used": used,
        "estimates": [
            {
                "strike": float(chain.strike[i]),
                "call_less_put": round(float(gap[i]), 6),
                "forward": round(float(chain.strike[i] + gap[i]), 6),
            }
            for i in nearest
        ],
    }


def _smile(record: SlotRecord, forward: float, atm: float | None) -> dict[str, Any]:
    strike, own = record.profile["strike"], record.profile["own_iv"]
    near = np.sort(np.argsort(np.abs(strike - forward))[:TOP])
    known = strike[np.isfinite(own)]
    return {
        "atm_iv": atm,
        "quoted_from": float(known[0]),
        "quoted_to": float(known[-1]),
        "near_the_money": [
            {
                "strike": float(strike[i]),
                "iv": float(record.profile["iv"][i]),
                "from_its_own_quote": bool(np.isfinite(own[i])),
            }
            for i in near
        ],
    }


def _top_strikes(record: SlotRecord) -> list[dict[str, float]]:
    profile = record.profile
    net = profile["call_gex"] + profile["put_gex"]
    order = np.argsort(-np.abs(net), kind="stable")[:TOP]
    shown = ("strike", "call_oi", "put_oi", "iv", "gamma", "call_gex", "put_gex")
    return [
        {name: float(profile[name][i]) for name in shown} | {"net_gex": float(net[i])}
        for i in order
    ]


def _flow(record: SlotRecord, previous: SlotRecord | None) -> dict[str, Any]:
    """Contracts that moved the interval's hedge flow most, and the sums so far."""
    row = record.row
    kept, _ = record.state
    before = dict.fromkeys(("volume", "signed", "dollars"), np.zeros((2, len(kept["strike"]))))
    if previous is not None:
        past, _ = previous.state
        at = np.searchsorted(kept["strike"], past["strike"])
        for name in before:
            wide = np.zeros((2, len(kept["strike"])))
            wide[:, at] = past[name]
            before[name] = wide
    new = {name: kept[name] - before[name] for name in before} if previous else None
    contracts = []
    if new is not None:
        size = np.abs(new["dollars"])
        for flat in np.argsort(-size, axis=None, kind="stable")[:TOP]:
            side, i = np.unravel_index(flat, size.shape)
            if not size[side, i] > 0:
                break
            added = float(new["volume"][side, i])
            contracts.append(
                {
                    "contract": f"{kept['strike'][i]:g}{'C' if side == CALL else 'P'}",
                    "added": added,
                    "sign": round(float(new["signed"][side, i]) / added, 6),
                    "last": float(kept["last"][side, i]),
                    "bid": float(kept["bid"][side, i]),
                    "ask": float(kept["ask"][side, i]),
                    "dollars": round(float(new["dollars"][side, i]), 2),
                }
            )
    return {
        "since": row.as_json()["flow_since"],
        "differenced_from": row.as_json()["differenced_from"],
        "calls": row.hedge_flow_call_cumulative,
        "puts": row.hedge_flow_put_cumulative,
        "all": row.hedge_flow_cumulative_all,
        "standard_error": row.hedge_flow_se,
        "classified_share": row.classified_share,
        "largest_of_this_interval": contracts,
    }


def format_explanation(explanation: dict[str, Any], record: SlotRecord) -> str:
    """Lay a derivation out for a person."""
    row = record.row
    slot = f"slot {to_new_york(row.slot):%Y-%m-%d %H:%M:%S} New York"
    quoted = f"quoted {to_new_york(row.quoted_at):%H:%M:%S}"
    lines = [f"{row.symbol}, {slot}, {quoted}, source {row.source}", ""]
    for title, part in explanation.items():
        if isinstance(part, dict):
            lines.append(title.replace("_", " ").upper())
            for name, value in part.items():
                lines += _lines(name, value)
            lines.append("")
        elif isinstance(part, list):
            lines.append(title.replace("_", " ").upper())
            lines += _table(part)
            lines.append("")
    verdict = explanation["recomputed"]
    lines.append(
        "recomputed from the stored chain: every field equal"
        if verdict == "equal"
        else f"recomputed from the stored chain: {len(verdict)} fields differ: {', '.join(verdict)}"
    )
    return "\n".join(lines)


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"  {name.replace('_', ' ')}:", *_table(value)]
    return [f"  {name.replace('_', ' '):24} {_text(value)}"]


def _table(rows: list[dict[str, Any]]) -> list[str]:
    names = list(rows[0]) if rows else []
    cells = [[n.replace("_", " ") for n in names], *([_text(r[n]) for n in names] for r in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return [
        "    " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    ]


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "-"}[value]
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(_text(one) for one in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{n} {name}" for name, n in value.items()) or "none"
    return str(value)
