"""Check the live channel: reachable, of a kind that has streams, writable, with room."""

from __future__ import annotations

from storage.doctor.finding import Finding, fail, ok, warn
from storage.errors import LiveError
from storage.redis.channel import ChannelHealth, RedisChannel

#: From this part of its memory on a server is nearly full.
_NEARLY_FULL = 0.9


async def check_channel(url: str, dataset: str, identity: str) -> Finding:
    """Check the Redis or Valkey server of the live channel.

    Parameters
    ----------
    url : its URL.
    dataset : the dataset whose channel it is.
    identity : that of its database; empty while it cannot be read.

    Returns
    -------
    Finding
        What the server has shown.
    """

    async def identify() -> str:
        return identity

    try:
        async with RedisChannel.open(
            url, f"flow:{dataset}", identify if identity else None
        ) as channel:
            health = await channel.health()
            if not health.refusal:
                await channel.require_usable()
    except LiveError as error:
        return fail("redis", str(error), "start the server, or correct FLOW_REDIS_URL")
    return _judge_channel(health, dataset, identity)


def _judge_channel(health: ChannelHealth, dataset: str, identity: str) -> Finding:
    if health.refusal:
        advice = "raise maxmemory, or free memory; bars arrive a second late until then"
        return fail("redis", f"it is alive, and takes no writes: {health.refusal}", advice)
    if health.limit and health.used > _NEARLY_FULL * health.limit:
        sentence = f"{health.used / 1e6:.0f} of {health.limit / 1e6:.0f} MB are used"
        return warn("redis", sentence, "raise maxmemory")
    if health.policy.startswith("allkeys"):
        return warn(
            "redis",
            f"version {health.version}, maxmemory-policy {health.policy}: it may delete quota"
            " counts and streams",
            "set maxmemory-policy to noeviction or volatile-ttl",
        )
    keys = f"{health.keys} keys of the dataset {dataset}"
    if identity:
        keys += f" in the channel flow:{dataset}:{identity} of this database"
        if health.others:
            keys += f"; {health.others} other databases have channels there"
    return ok("redis", f"version {health.version}, writable, {keys}")
