import sys
import time

sys.path.insert(0,"/work/main/tests/storage")
from test_live import *


async def test_x(servers):
    t0=time.monotonic()
    def log(*a): print(round(time.monotonic()-t0,3),*a)
    client=redis.asyncio.Redis.from_url(servers.redis_url, socket_timeout=10)
    channel=Channel(client,PREFIX)
    both, one = Follower(channel, "SPX", "SPY"), Follower(channel, "SPY")
    await both.follows(); log("f")
    for revision, symbol in enumerate(["SPX", "QQQ", "SPY"], start=1):
        await channel.publish(row(symbol=symbol), revision)
        log("p")
    log(await both.take()and 1); log(await both.take()and 1)
    log(await one.take() and 1)
    await both.leave(); log("left")
    await one.leave(); log("left")
    await client.aclose()
