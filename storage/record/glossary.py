"""Every number by name: formula, unit, and what a positive one means.

q is the dealers' position (``docs/definitions.md``): live in a row and its ``detail``, settled in
``settled``. A name that a profile also has stands there for each strike's part.
"""

from __future__ import annotations

from typing import NamedTuple


class Term(NamedTuple):
    """One entry: formula or meaning, unit, what positive means ("" where sign says nothing)."""

    meaning: str
    unit: str
    positive: str = ""


_DAMPEN = "dealers dampen moves"
_BUY = "dealers buy"
_LONG = "holders are long"
_SELL_ON_VOL = "vol up: dealers sell"
_BOUGHT = "customers bought"

GLOSSARY: dict[str, Term] = {
    # What a row is.
    "symbol": Term("underlying, as the exchange lists it", "text"),
    "expiration": Term("day that the options expire, New York", "date"),
    "slot": Term("point of the 30 s grid nearest to quoted_at", "UTC"),
    "quoted_at": Term("when the source says the quotes were made; T counts from here", "UTC"),
    "fetched_at": Term("when they were fetched", "UTC"),
    "source": Term("name of the source", "text"),
    "delay_seconds": Term("how far the source declares its quotes to lie behind", "s"),
    "definitions": Term("version of these formulas", "text"),
    "oi_confidence": Term("κ: part of signed volume taken to have opened positions", "0–1"),
    # Underlying and time.
    "spot": Term("S: source_spot, or forward where that is stale or missing", "$"),
    "source_spot": Term("underlying price as the source gave it", "$"),
    "forward": Term("F: median of K + C − P over the 12 strikes of smallest |C − P|", "$"),
    "years_to_expiry": Term("T: seconds from quoted_at to the last trade / 31,536,000", "years"),
    # Exposures.
    "net_gex": Term("call_gex + put_gex", "$ per 1 %", _DAMPEN),
    "call_gex": Term("Σ q·Γ·M·S²·0.01 of calls", "$ per 1 %", _DAMPEN),
    "put_gex": Term("Σ q·Γ·M·S²·0.01 of puts", "$ per 1 %", _DAMPEN),
    "gross_gex": Term("Σ |q·Γ·M·S²·0.01|, every contract by itself", "$ per 1 %"),
    "net_dex": Term("call_dex + put_dex", "$", _LONG),
    "call_dex": Term("Σ Δ·OI·M·S of calls, OI effective in the live book", "$", _LONG),
    "put_dex": Term("Σ Δ·OI·M·S of puts (Δ < 0), OI likewise", "$", _LONG),
    "net_vex": Term("Σ q·vanna·M·S·0.01", "$ per vol point", _SELL_ON_VOL),
    "net_chex": Term("Σ q·M·S·(Δ(T) − Δ(T/2)) at fixed forward and smile", "$", _BUY),
    "dealer_delta": Term("Σ q·Δ·M·S: the dealers' options before hedging", "$", "book is long"),
    "charm_dollars_per_hour": Term(
        "Σ q·M·S·(Δ(T) − Δ(T − charm_horizon_seconds)); null if T < 60 s", "$", _BUY
    ),
    "charm_horizon_seconds": Term("min(1 h, T/2); null if T < 60 s", "s"),
    "net_gex_volume": Term("net_gex with φ·V in place of q", "$ per 1 %", _DAMPEN),
    "net_gex_se": Term("κ·M·S²·0.01·√Σ(Γ²·ΣΔV²): sides by coin toss", "$ per 1 %"),
    "net_gex_se_measured": Term(
        "net_gex_se·√(1 − (2a − 1)²), a: measured part of right sides", "$ per 1 %"
    ),
    # Levels.
    "gamma_flip": Term("level nearest S where repriced G(x) crosses zero", "$"),
    "gamma_flip_status": Term("available, no_boundary, insufficient_local_coverage", "text"),
    "distance_to_flip_sigmas": Term("|gamma_flip − S|/σ_rem; null without either", "σ"),
    "flip_out_of_reach": Term("distance_to_flip_sigmas > 4", "true or false"),
    "regime": Term("positive_gamma or negative_gamma by net_gex; unknown if it is 0", "text"),
    "regime_confidence": Term(
        "N(|net_gex|/net_gex_se_measured), given κ and the dealer convention", "0–1"
    ),
    "call_wall": Term("strike of the largest call GEX", "$"),
    "put_wall": Term("strike of the largest |put GEX|", "$"),
    "magnet": Term("strike of the largest |call GEX + put GEX|", "$"),
    "magnet_gex": Term("call GEX + put GEX at the magnet", "$ per 1 %", "holds price"),
    "max_pain": Term("settlement of least Σ OI·intrinsic value, among the strikes", "$"),
    # Pin.
    "pin_score": Term("0.30·oi + 0.25·proximity + 0.25·time + 0.20·gamma, half up", "0–100"),
    "pin_oi": Term("100·clip(e/0.277), e: excess share of the top three strikes", "0–100"),
    "pin_proximity": Term("100·exp(−½((S − magnet)/σ_rem)²)", "0–100"),
    "pin_time": Term("part of the session elapsed at quoted_at", "%"),
    "pin_gamma": Term("100·clip(max(magnet_gex, 0)/(0.45·Σ_K |net GEX|))", "0–100"),
    "pin_probability_pct": Term("P(S_T > pin_lower) − P(S_T > pin_upper)", "%"),
    # Volatility.
    "atm_iv": Term("smile at F, linear in K; null if T < 60 s", "decimal"),
    "remaining_1sd": Term("σ_rem = F·atm_iv·√T; null if T < 60 s", "$"),
    # Flow.
    "hedge_flow_call_cumulative": Term("Σ s·ΔV·M·Δ·S of calls since flow_since", "$", _BUY),
    "hedge_flow_put_cumulative": Term("Σ s·ΔV·M·Δ·S of puts since flow_since", "$", _BUY),
    "hedge_flow_cumulative_all": Term("calls + puts, to the cent", "$", _BUY),
    "hedge_flow_se": Term("√Σ(ΔV·M·Δ·S)² since flow_since", "$"),
    "classified_share": Term("Σ ΔV with s ≠ 0 over Σ ΔV; null before any volume", "0–1"),
    "flow_since": Term("baseline slot that flow counts from", "UTC"),
    "differenced_from": Term("slot whose volumes were subtracted; null on a baseline", "UTC"),
    # The chain.
    "contracts": Term("contracts that settle on today's close and were used", "count"),
    "strikes": Term("their strikes", "count"),
    "strikes_with_iv": Term("strikes with a volatility of their own", "count"),
    "total_oi": Term("call_oi + put_oi", "contracts"),
    "call_oi": Term("settled open interest of calls, this morning's", "contracts"),
    "put_oi": Term("settled open interest of puts, this morning's", "contracts"),
    "total_volume": Term("call_volume + put_volume", "contracts"),
    "call_volume": Term("day's volume of calls", "contracts"),
    "put_volume": Term("day's volume of puts", "contracts"),
    "dropped": Term("contracts left out, by reason", "count"),
    "quotes_unused": Term("quotes that gave no volatility, by reason", "count"),
    "flags": Term("what the row says against itself", "list"),
    "quote_age_seconds": Term("fetched_at − quoted_at", "s"),
    "settled": Term("the book's figures again, for q = φ·OI; see below", "object"),
    "detail": Term("the live book's figures beside the row's; see below", "object"),
    # Of a book beside its headline: in ``settled`` and in ``detail``.
    "pin_probability_noise": Term(
        "√Σ(∂pin_probability_pct/∂σ·u)² over the strikes whose σ enters it", "points"
    ),
    "crossings": Term("every level within ±10 % where G(x) crosses zero, ascending", "$"),
    "pin_lower": Term("listed strike below the magnet; null: none", "$"),
    "pin_upper": Term("listed strike above the magnet; null: none", "$"),
    "hedging": Term("−Σ q·(Δ(S(1 + p)) − Δ(S))·M for p = ±0.1, ±0.25, ±0.5, ±1 %", "shares", _BUY),
    "convexity_at_spot": Term("Σ q·Γ·M", "shares per $", _DAMPEN),
    "net_theta_dollars": Term("−Σ q·(price − intrinsic value)·M until expiry", "$", "book gains"),
    "theta_per_hour_remaining": Term(
        "net_theta_dollars over the hours left", "$ per hour", "book gains"
    ),
    "gamma_acceleration": Term("Σ|q|·Γ at max(T − 1 h, T/2) over Σ|q|·Γ at T", "ratio"),
    "charm_curve": Term(
        "pairs of level x and Σ q·M·x·(Δ(T) − Δ(0)) with spot at x, S ± 2 σ_rem", "$ and $", _BUY
    ),
    "projection": Term(
        "gamma and charm by time and level until the close, and the flip; each five minutes",
        "$ per 1 % and $",
        "dampens; dealers buy",
    ),
    # Without a position: in ``detail``.
    "atm_iv_uncertainty": Term(
        "u at F, linear in K: half the IV at ask − the IV at bid", "decimal"
    ),
    "implied_1sd": Term("F·atm_iv·√(whole session's seconds / 31,536,000)", "$"),
    "straddle_price": Term("C + P (mids) at the strike nearest F", "$"),
    "skew_25d": Term("σ of the 25-delta put − σ of the 25-delta call", "decimal", "puts dearer"),
    "atm_spread_pct": Term("mean of call's and put's (a − b)/mid at the strike nearest F", "%"),
    "weighted_spread_pct": Term("(a − b)/mid within ±2 % of S, weighted by volume", "%"),
    "median_spread_pct": Term("median (a − b)/mid of two-sided quotes within ±2 % of S", "%"),
    "execution_score": Term("100·clip(1 − weighted_spread_pct/20), half up", "0–100"),
    "data_quality_score": Term(
        "100·mean of b/a of the quotes within ±3 % of S, 0 for one that is not two-sided", "0–100"
    ),
    "greek_smoothness_score": Term(
        "part of own_iv within ±3 % of S near its neighbours' line", "0–100"
    ),
    "total_chain_net_gex": Term(
        "Σ φ·OI·Γ·M·S²·0.01 over every expiry of the source", "$ per 1 %", _DAMPEN
    ),
    "seven_dte_atm_iv": Term("ATM IV of the expiry nearest 7 days away, 5 to 9", "decimal"),
    "iv_ratio_0dte_7dte": Term("√(σ²T/sessions left) today over the same of that expiry", "ratio"),
    "other_expiries_age_seconds": Term(
        "age of the oldest answer for another expiry; null where all come in one answer", "s"
    ),
    "future_forward": Term(
        "median of K + C − P of the expiry on which the index's nearest quarterly future settles",
        "$",
    ),
    "future_forward_scatter": Term("half the interquartile range of its K + C − P", "$"),
    "vix": Term("the VIX index; null where the source has none", "points"),
    "contracts_with_flow": Term("contracts with B ≠ 0", "count"),
    "total_abs_delta_contracts": Term("Σ |B·Δ|", "contracts"),
    "volume_unattributed": Term(
        "volume before its contract's first readable figure, since flow_since", "contracts"
    ),
    "multi_leg_share": Term(
        "legs of spreads in the slot's volume; null where the source does not tell them", "0–1"
    ),
    "pages_seconds": Term(
        "from the request of an answer's first page to that of its last; null for one piece", "s"
    ),
    "flag_amounts": Term("what each flag means in numbers", "object"),
    # Of a profile, by strike.
    "strike": Term("K, ascending", "$"),
    "iv": Term("smile with gaps filled", "decimal"),
    "own_iv": Term("IV of the strike's own quote; NaN without one", "decimal"),
    "call_delta": Term("N(d₁); the put's is N(d₁) − 1", "0–1"),
    "gamma": Term("Γ = n(d₁)/(S·σ√T)", "delta per $"),
    "theta": Term("−F·n(d₁)·σ/(2√T)", "$ per year"),
    "call_bid": Term("as quoted", "$"),
    "call_ask": Term("as quoted", "$"),
    "put_bid": Term("as quoted", "$"),
    "put_ask": Term("as quoted", "$"),
    "call_signed": Term("B = Σ s·ΔV of the call since flow_since", "contracts", _BOUGHT),
    "put_signed": Term("B = Σ s·ΔV of the put since flow_since", "contracts", _BOUGHT),
    "call_flow": Term("Σ s·ΔV·M·Δ·S of the call since flow_since", "$", _BUY),
    "put_flow": Term("Σ s·ΔV·M·Δ·S of the put since flow_since", "$", _BUY),
    "gamma_flow": Term("Σ s·ΔV·Γ·M·S²·0.01 of both since flow_since", "$ per 1 %", _BOUGHT),
    "vex": Term("q·vanna·M·S·0.01, call and put", "$ per vol point", _SELL_ON_VOL),
    "chex": Term("q·M·S·(Δ(T) − Δ(T/2)), call and put", "$", _BUY),
    "settled_call_gex": Term("call_gex for q = φ·OI", "$ per 1 %", _DAMPEN),
    "settled_put_gex": Term("put_gex for q = φ·OI", "$ per 1 %", _DAMPEN),
    "settled_call_dex": Term("call_dex on settled OI", "$", _LONG),
    "settled_put_dex": Term("put_dex on settled OI", "$", _LONG),
    "settled_vex": Term("vex for q = φ·OI", "$ per vol point", _SELL_ON_VOL),
    "settled_chex": Term("chex for q = φ·OI", "$", _BUY),
}
