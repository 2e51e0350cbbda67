"""Load on a running `ilora-app serve`: whether all are answered, how fast, and in how much memory.

    ilora-app serve RUN
    python benchmarks/serve_load.py URL [REQUESTS] [CLIENTS]

    python benchmarks/serve_load.py --tiny FOLDER    # makes a run of a small random model there, and says
                                                     # how to serve it: many requests in little time

Each client asks again after a 503. The memory is the server's own gauge `process_resident_memory_bytes`,
printed when a first tenth is answered, which is when buffers have grown, and after each further one.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
import time
from pathlib import Path

import httpx2
import numpy as np

MEMORY = "process_resident_memory_bytes"


async def memory(connection: httpx2.AsyncClient, url: str) -> float:
    """MB that the server has in memory."""
    lines = (await connection.get(f"{url}/metrics")).text.splitlines()
    (value,) = [line.split()[1] for line in lines if line.startswith(f"{MEMORY} ")]
    return float(value) / 1e6


async def main(url: str, requests: int = 640, clients: int = 64) -> None:
    """Prints how long requests took, 503s included as waiting, how many were answered, and the memory."""
    seconds: list[float] = []
    refused = 0
    left = iter(range(requests))
    async with httpx2.AsyncClient(timeout=600, limits=httpx2.Limits(max_connections=clients)) as connection:
        ids = [item["id"] for item in (await connection.get(f"{url}/items")).json()]
        print(f"0 answered: {await memory(connection, url):.1f} MB in memory", flush=True)
        sizes: list[float] = []

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
                assert len(reply.json()["items"]) == 10, "an answer without its items"
                seconds.append(time.perf_counter() - started)
                if len(seconds) % max(1, requests // 10) == 0:
                    sizes.append(await memory(connection, url))
                    print(f"{len(seconds)} answered: {sizes[-1]:.1f} MB", flush=True)

        started = time.perf_counter()
        await asyncio.gather(*(client() for _ in range(clients)))
    took = time.perf_counter() - started
    p50, p95 = np.percentile(seconds, [50, 95])
    print(f"{len(seconds)} of {requests} answered in {took:.1f} s, {len(seconds) / took:.1f} a second")
    print(f"{clients} clients, 20 candidates: p50 {p50:.2f} s, p95 {p95:.2f} s; {refused} times asked again")
    print(f"memory from a tenth of the requests to the last: {sizes[-1] - sizes[0]:+.1f} MB")


def make_tiny(place: Path) -> None:
    """Makes a run of a random model with four layers in a new folder, and prints how it is served."""
    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests import tiny

    place.mkdir(parents=True)
    run, environment = tiny.trained_run(place, "ilora", tiny.save_model(place / "model"))
    words = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    print(f"{words} ilora-app serve {shlex.quote(str(run))}")


if __name__ == "__main__":
    if sys.argv[1] == "--tiny":
        make_tiny(Path(sys.argv[2]))
    else:
        asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
