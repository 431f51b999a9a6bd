"""Models of the answers that OpenBB Workspace and charting libraries prescribe."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field


class UdfError(BaseModel):
    """An error as UDF words it."""

    s: Literal["error"]
    errmsg: str


class UdfChoice(BaseModel):
    """An exchange or a kind of symbol."""

    name: str
    value: str
    desc: str | None = Field(default=None)


class UdfConfig(BaseModel):
    """What the datafeed can do."""

    supported_resolutions: list[str] = Field(description="Minutes; `30S` is 30 seconds.")
    supports_group_request: bool
    supports_search: bool
    supports_marks: bool
    supports_timescale_marks: bool
    supports_time: bool
    exchanges: list[UdfChoice]
    symbols_types: list[UdfChoice]


class UdfSymbol(BaseModel):
    """One symbol of the datafeed: an underlying, or a figure of it."""

    name: str
    ticker: str
    description: str = Field(description="Begins with SIMULATED where the market is made up.")
    type: Literal["price", "figure"]
    exchange: str
    listed_exchange: str
    timezone: str
    session: str
    session_regular: str = Field(alias="session-regular")
    minmov: int
    minmov2: int
    pricescale: int
    pointvalue: int
    format: Literal["price", "volume"]
    has_intraday: bool
    has_seconds: bool
    seconds_multipliers: list[str]
    intraday_multipliers: list[str]
    has_daily: bool
    has_weekly_and_monthly: bool
    visible_plots_set: Literal["ohlc", "c"]
    supported_resolutions: list[str]
    data_status: Literal["streaming"]


class UdfMatch(BaseModel):
    """A symbol that a search has."""

    symbol: str
    full_name: str
    description: str
    exchange: str
    ticker: str
    type: Literal["price", "figure"]


class UdfBars(BaseModel):
    """Bars as columns, ascending; of the 30 s samples of each bucket."""

    s: Literal["ok"]
    t: list[int] = Field(description="Start of the bucket. [s since 1970]")
    o: list[float] = Field(description="The first sample.")
    h: list[float] = Field(description="The largest sample.")
    l: list[float] = Field(description="The smallest sample.")
    c: list[float] = Field(description="The last sample.")


class UdfNothing(BaseModel):
    """No bar in the window."""

    s: Literal["no_data"]
    next_time: int | None = Field(
        default=None, alias="nextTime", description="The newest sample before it. [s since 1970]"
    )


class UdfMarks(BaseModel):
    """Marks as columns, ascending."""

    id: list[str]
    time: list[int]
    color: list[str]
    text: list[str]
    label: list[str] = Field(description="R: the regime changed; G: samples are missing.")
    labelFontColor: list[str]  # noqa: N815
    minSize: list[int]  # noqa: N815


class WorkspaceWidget(BaseModel):
    """One widget of OpenBB Workspace."""

    name: str
    description: str
    category: str
    subCategory: str  # noqa: N815
    type: Literal["metric", "table", "chart", "advanced_charting"]
    endpoint: str
    gridData: dict[str, int]  # noqa: N815
    source: list[str]
    refetchInterval: int  # noqa: N815
    staleTime: int  # noqa: N815
    params: list[dict[str, Any]] | None = Field(default=None)
    data: dict[str, Any] | None = Field(default=None)


class WorkspaceApp(BaseModel):
    """One dashboard of OpenBB Workspace."""

    name: str
    img: str
    img_dark: str
    img_light: str
    description: str
    allowCustomization: bool  # noqa: N815
    tabs: dict[str, dict[str, Any]]
    groups: list[dict[str, Any]]


class WorkspaceOption(BaseModel):
    """A value of a widget's parameter."""

    label: str
    value: str


class WorkspaceFigure(BaseModel):
    """A figure's label and its value as text."""

    label: str
    value: str


class WorkspaceLevel(BaseModel):
    """A level."""

    name: str
    level: float = Field(description="[$]")
    distance_pct: float = Field(description="From spot; positive: above. [%]")
    doubts: str = Field(description="Flags that say not to rely on it.")


class WorkspaceBar(BaseModel):
    """A bar of five minutes: its last sample."""

    t: str = Field(description="Start of the bucket, UTC.")
    spot: float
    gamma_flip: float | None
    call_wall: float | None
    put_wall: float | None
    magnet: float | None
    net_gex: float
    net_dex: float
    hedge_flow_cumulative_all: float
    pin_score: int
    atm_iv: float | None
    regime: str


class PlotlyFigure(BaseModel):
    """A figure of Plotly."""

    data: list[dict[str, Any]]
    layout: dict[str, Any]
