"""Explain a stored row: measure its stored chain again, and show the inputs and the steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from sampler.chain import CALL, PUT, Chain, chain_of_record
from sampler.measure.remeasure import changed_fields, remeasure
from sampler.metrics.flow import quote
from sampler.metrics.smile import NEAREST
from sampler.metrics.width import NARROWEST
from storage.market.calendar import Session, to_new_york
from storage.market.constants import PIN_WEIGHTS, YEAR_SECONDS
from storage.record.row import Flag, Row, SlotRecord

#: How many strikes and contracts are shown.
TOP = 10
#: What the figures of a section are, for its title in the text.
_SECTION_NOTES = {
    "forward": "in dollars; each estimate is strike + call mid - put mid",
    "smile": "volatility a year, as a fraction",
    "exposures": "gex in dollars per 1 % move, dex and dealer delta in dollars",
    "top_strikes": "the strikes with the largest net gex, in dollars per 1 % move",
    "levels": "strikes and prices in dollars",
    "pin": "score and its components from 0 to 100, probability in %",
    "flow": "hedge flow in dollars since the session's baseline, times in UTC",
}


def explain_record(
    record: SlotRecord, previous: SlotRecord | None, session: Session
) -> dict[str, Any]:
    """Derive a stored row again, and return every step as plain values.

    Parameters
    ----------
    record : the stored record.
    previous : the record that its chain was differenced against; None for a baseline.
    session : of the record.

    Returns
    -------
    dict
        Sections of inputs, forward, smile, exposures, strikes, levels, pin and flow. Under
        ``recomputed`` it says ``equal``, or which fields differ: name → [stored, recomputed].

    Raises
    ------
    ChainRefused
        If the chain makes no row by the present definitions.
    ValueError
        If the stored chain cannot be read.
    """
    row = record.row
    chain = chain_of_record(record, session)
    changed = changed_fields(record, remeasure(record, previous, session))
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
        "forward": _forward(chain, row),
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
            **_pin_components(row),
            "probability_pct": row.pin_probability_pct,
            "between": [row.detail.pin_lower, row.detail.pin_upper],
        },
        "flow": _flow(record, previous),
        "recomputed": changed or "equal",
    }


def _pin_components(row: Row) -> dict[str, list[float]]:
    """Return weight and value of each component of the pin score."""
    return {name: [weight, getattr(row, f"pin_{name}")] for name, weight in PIN_WEIGHTS.items()}


def _forward(chain: Chain, row: Row) -> dict[str, Any]:
    """Return the forward and its estimates by put-call parity at the strikes nearest to it."""
    wide = Flag.WIDE_QUOTES in row.flags
    mid = quote(chain.bid, chain.ask).mid
    call_less_put = mid[CALL] - mid[PUT]
    quoted = np.flatnonzero(
        np.isfinite(call_less_put) & ((chain.bid[CALL] > 0) | (chain.bid[PUT] > 0))
    )
    nearest = np.sort(quoted[np.argsort(np.abs(call_less_put[quoted]), kind="stable")[:NEAREST]])
    width = np.maximum((chain.ask - chain.bid).sum(axis=0), NARROWEST)
    return {
        "level": row.forward,
        "source_spot": row.source_spot,
        "spot_used": row.spot,
        "estimates": [
            {
                "strike": float(chain.strike[i]),
                "call_less_put": round(float(call_less_put[i]), 6),
                "forward": round(float(chain.strike[i] + call_less_put[i]), 6),
                # Estimates count alike but where quotes are too wide.
                **({"weight": round(float(width[i]) ** -2, 6)} if wide else {}),
            }
            for i in nearest
        ],
    }


def _smile(record: SlotRecord, forward: float, atm: float | None) -> dict[str, Any]:
    strike, own_iv = record.profile["strike"], record.profile["own_iv"]
    near = np.sort(np.argsort(np.abs(strike - forward))[:TOP])
    quoted = strike[np.isfinite(own_iv)]
    return {
        "atm_iv": atm,
        "quoted_from": float(quoted[0]),
        "quoted_to": float(quoted[-1]),
        "near_the_money": [
            {
                "strike": float(strike[i]),
                "iv": float(record.profile["iv"][i]),
                "from_its_own_quote": bool(np.isfinite(own_iv[i])),
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
    """Return the session's flow so far, and the contracts that added most in this interval."""
    row = record.row
    state, _ = record.state
    earlier = dict.fromkeys(("volume", "signed", "dollars"), np.zeros((2, len(state["strike"]))))
    if previous is not None:
        previous_state, _ = previous.state
        columns = np.searchsorted(state["strike"], previous_state["strike"])
        for name in earlier:
            # The earlier chain may lack strikes of this one.
            aligned = np.zeros((2, len(state["strike"])))
            aligned[:, columns] = previous_state[name]
            earlier[name] = aligned
    new = {name: state[name] - earlier[name] for name in earlier} if previous else None
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
                    "contract": f"{state['strike'][i]:g}{'C' if side == CALL else 'P'}",
                    "added": added,
                    "sign": round(float(new["signed"][side, i]) / added, 6),
                    "last": float(state["last"][side, i]),
                    "bid": float(state["bid"][side, i]),
                    "ask": float(state["ask"][side, i]),
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
    """Lay an explanation out as text.

    Parameters
    ----------
    explanation : what ``explain_record`` returned.
    record : the record that it explains.

    Returns
    -------
    str
        Lines of text, without a newline at the end.
    """
    row = record.row
    slot = f"slot {to_new_york(row.slot):%Y-%m-%d %H:%M:%S} New York"
    quoted = f"quoted {to_new_york(row.quoted_at):%H:%M:%S}"
    lines = [f"{row.symbol}, {slot}, {quoted}, source {row.source}", ""]
    for section, content in explanation.items():
        if isinstance(content, dict):
            lines.append(_title(section))
            for name, value in content.items():
                lines += _lines(name, value)
            lines.append("")
        elif isinstance(content, list):
            lines += [_title(section), *_table(content), ""]
    verdict = explanation["recomputed"]
    lines.append(
        "Recomputed from the stored chain: every field equal"
        if verdict == "equal"
        else f"Recomputed from the stored chain: {len(verdict)} fields differ: {', '.join(verdict)}"
    )
    return "\n".join(lines)


def _title(section: str) -> str:
    title = section.replace("_", " ").upper()
    note = _SECTION_NOTES.get(section)
    return f"{title} ({note})" if note else title


def _lines(name: str, value: Any) -> list[str]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [f"  {name.replace('_', ' ')}:", *_table(value)]
    text = _text(value)
    if name in PIN_WEIGHTS:
        weight, component = value
        text = f"{_text(component)} (weight {weight:.2f})"
    return [f"  {name.replace('_', ' '):24} {text}"]


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
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{n} {name}" for name, n in value.items()) or "none"
    return str(value)
