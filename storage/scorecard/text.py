"""The scorecard as text, for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from storage.scorecard.summary import ENOUGH_SESSIONS, SAYS_NOTHING

_WORDS = {
    SAYS_NOTHING: "says nothing yet",
    "agrees": "agrees with what happened",
    "disagrees": "DISAGREES with what happened",
    "no_difference": "no difference beyond chance",
    "difference": "a difference beyond chance",
}
_TITLES = {
    "frozen": "frozen before the outcome",
    "backfilled": "made afterwards from stored rows",
    "recorded": "recorded frames at their own times, made afterwards",
}


def format_scorecard(symbol: str, kinds: Mapping[str, Any]) -> str:
    """Lay a scorecard out as text.

    Parameters
    ----------
    symbol : the underlying.
    kinds : what ``scorecard`` returns.

    Returns
    -------
    str
        Lines of text, without a newline at the end.
    """
    lines = []
    for kind, card in kinds.items():
        if card is None:
            continue
        lines.append(
            f"{symbol}, {_TITLES[kind]}: {card['n']} forecasts of {card['sessions']} sessions"
            + (f", {card['first']} to {card['last']}" if card["n"] else "")
            + (", SIMULATED" if card["simulated"] else "")
        )
        if card.get("missed") or card.get("not_scored"):
            missed = [f"{count} missed: {why}" for why, count in card["missed"].items()]
            unscored = [f"{card['not_scored']} not scored"] if card["not_scored"] else []
            lines.append(f"  {'; '.join(missed + unscored)}")
        if card["n"]:
            lines += _figures(card)
    if not lines:
        return f"{symbol}: nothing is scored."
    lines.append(
        f"  Intervals are of 95 %, and count sessions. Below {ENOUGH_SESSIONS} sessions a figure"
        " says nothing yet."
    )
    return "\n".join(lines)


def _figures(card: Mapping[str, Any]) -> list[str]:
    pin = card["pin"]
    lines = []
    if pin["n"]:
        lines.append(
            f"  pin: predicted {pin['predicted_pct']:.1f} %, came true {_rate(pin, 'happened')};"
            f" Brier {pin['brier']:.4f}{_ends(pin, 'brier_low', 'brier_high', '.4f')}, base"
            f" rate {pin['brier_of_base_rate']:.4f}; {_said(pin)}"
        )
        lines += [
            f"    {bin_['from_pct']:3}-{bin_['to_pct']:<3} %  predicted"
            f" {bin_['predicted_pct']:5.1f} %, came true {_rate(bin_, 'happened')}"
            f" (n {bin_['n']}, {bin_['sessions']} sessions)"
            for bin_ in pin["deciles"]
        ]
    for times in (1, 2):
        held = card[f"range_{times}sigma"]
        if held["n"]:
            lines.append(
                f"  {times}σ range: held {_rate(held, 'within')}, expected"
                f" {held['expected_pct']:.1f} %; {_said(held)}"
            )
    walls = card["walls"]
    if walls["n"]:
        for name, words in (("touched", "touched"), ("broken_once_touched", "broken, if touched")):
            both = walls[name]
            sides = ", ".join(
                f"{title} {_rate(both[side], 'rate')} of {both[side]['n']}"
                for side, title in (("walls", "walls"), ("other_levels", "others as far"))
                if both[side]["n"]
            )
            lines.append(f"  {words}: {sides}; {_said(both)}")
    regime = card["regime"]
    if regime["n"]:
        lines.append(
            f"  regime: {regime['positive_gamma']} after positive gamma,"
            f" {regime['negative_gamma']} after negative"
        )
        for name, unit in (
            ("volatility_difference_pct", " %"),
            ("autocorrelation_difference", ""),
        ):
            for how in ("raw", "conditioned"):
                figure = regime[name][how]
                if figure["value"] is not None:
                    lines.append(
                        f"    {name.removesuffix('_pct').replace('_', ' ')}, {how}:"
                        f" {figure['value']:+.3g}{unit} ({figure['low']:+.3g} to"
                        f" {figure['high']:+.3g}); {_WORDS[figure['verdict']]}"
                    )
    for span, flow in card["flow"].items():
        if flow["n"]:
            lines.append(
                f"  flow, {span} later: same sign {_rate(flow, 'same_sign')}, mean"
                f" {flow['mean_bp']:+.2f} bp{_ends(flow, 'mean_low_bp', 'mean_high_bp', '+.2f')};"
                f" {_said(flow)}"
            )
    return lines


def _ends(figure: Mapping[str, Any], low: str, high: str, form: str) -> str:
    """An interval in brackets; nothing where there is none."""
    if figure[low] is None or figure[high] is None:
        return ""
    return f" ({figure[low]:{form}} to {figure[high]:{form}})"


def _rate(rates: Mapping[str, Any], name: str) -> str:
    value, low, high = (rates[f"{name}{end}_pct"] for end in ("", "_low", "_high"))
    return "unknown" if value is None else f"{value:.1f} % ({low:.1f} to {high:.1f})"


def _said(figure: Mapping[str, Any]) -> str:
    """The verdict with its counts."""
    counts = f" (n {figure['n']}, {figure['sessions']} sessions)" if "n" in figure else ""
    return _WORDS[figure["verdict"]] + counts
