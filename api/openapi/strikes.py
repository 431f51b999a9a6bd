"""One strike of a snapshot or an exposure."""

from __future__ import annotations

from pydantic import BaseModel, Field


class Strike(BaseModel):
    """Contracts, exposures, greeks and quotes of a strike."""

    strike: float
    distance_from_spot_pct: float = Field(description="Positive: above spot.")
    call_symbol: str = Field(examples=["SPY-260319-C-590"])
    put_symbol: str = Field(examples=["SPY-260319-P-590"])
    call_gex: float
    put_gex: float
    net_gex: float
    call_dex: float
    put_dex: float
    net_dex: float
    net_vex: float
    net_chex: float
    call_oi: int
    put_oi: int
    call_volume: int
    put_volume: int
    gex_share_pct: float = Field(description="|net GEX| in % of the chain's.")
    oi_share_pct: float
    volume_share_pct: float
    call_iv: float | None = Field(description="[decimal]")
    put_iv: float | None = Field(description="[decimal]")
    call_delta: float | None
    put_delta: float | None
    call_gamma: float | None
    put_gamma: float | None
    call_theta: float | None = Field(description="[$ per calendar day]")
    put_theta: float | None = Field(description="[$ per calendar day]")
    call_mid: float | None = Field(description="Null without a usable quote. [$]")
    put_mid: float | None = Field(description="Null without a usable quote. [$]")
    call_spread_pct: float | None = Field(description="Null without a bid and an ask. [%]")
    put_spread_pct: float | None = Field(description="Null without a bid and an ask. [%]")
