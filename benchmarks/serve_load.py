"""Load on a running `ilora-app serve`: `python benchmarks/serve_load.py URL [REQUESTS] [CLIENTS]`."""

from __future__ import annotations

import asyncio
import sys
import time

import httpx2
import numpy as np


async def main(url: str, requests: int = 640, clients: int = 64) -> None:
    """Prints how long requests took, 503s included as waiting, and how many were answered."""
    seconds: list[float] = []
    refused = 0
    left = iter(range(requests))
    async with httpx2.AsyncClient(timeout=600, limits=httpx2.Limits(max_connections=clients)) as connection:
        ids = [item["id"] for item in (await connection.get(f"{url}/items")).json()]

        async def client() -> None:
            nonlocal refused
            for number in left:
                started = time.perf_counter()
                body = {"history": [ids[(number * 7 + step) % len(ids)] for step in range(10)]}
                body["candidates"] = [ids[(number * 13 + step) % len(ids)] for step in range(20)]
                while (reply := await connection.post(f"{url}/recommend", json=body)).status_code == 503:
                    refused += 1
                    await asyncio.sleep(0.1)
                reply.raise_for_status()
                seconds.append(time.perf_counter() - started)

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - started
    p50, p95 = np.percentile(seconds, [50, 95])
    print(f"{len(seconds)} of {requests} answered in {took:.1f} s, {len(seconds) / took:.1f} a second")
    print(f"{clients} clients, 20 candidates: p50 {p50:.2f} s, p95 {p95:.2f} s; {refused} times asked again")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
