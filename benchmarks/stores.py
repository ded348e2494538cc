"""How long cells take to a store at a URL and back: published, listed and fetched, eight at a time.

Without --url an S3 server is started on this machine (moto, which is slower than a real one), and stopped at the end.

    python benchmarks/stores.py --cells 1000 --kilobytes 100
    python benchmarks/stores.py --url s3://my-bucket/trial
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.evaluation.cell_files import NAMES
from bench.evaluation.mirror import at_once, fetch_all, publish, published
from bench.evaluation.object_files import RemoteObjects
from bench.evaluation.store import Store

PORT = 19_777


def main() -> None:
    """A line for each of the three."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default=None, help="where to; else an S3 server that is started here")
    parser.add_argument("--cells", type=int, default=1000, help="how many (1000)")
    parser.add_argument("--kilobytes", type=int, default=100, help="of each (100)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(options.url) as url:
        store, keys = made(Path(folder) / "here", options.cells, options.kilobytes * 1000)
        objects = RemoteObjects(url)
        begun = time.perf_counter()
        at_once(lambda key: publish(store, key, objects), keys)
        print(f"published: {time.perf_counter() - begun:.1f} s")
        begun = time.perf_counter()
        there = published(objects)
        print(f"listed: {time.perf_counter() - begun:.2f} s for {len(there):,} cells")
        begun = time.perf_counter()
        damaged = fetch_all(Store(Path(folder) / "there"), keys, objects)
        print(f"fetched: {time.perf_counter() - begun:.1f} s, {len(damaged)} damaged")


def made(folder: Path, count: int, size: int) -> tuple[Store, list[str]]:
    """A folder with the files of cells; nothing looks into them here."""
    store, draws = Store(folder), random.Random(0)  # noqa: S311 - no secret
    keys = [draws.randbytes(32).hex() for _ in range(count)]
    for key in keys:
        store.adopt(key, {name: draws.randbytes(size // len(NAMES)) for name in NAMES})
    return store, keys


@contextmanager
def served(url: str | None) -> Iterator[str]:
    """The URL, or that of a bucket of a server of this machine."""
    if url is not None:
        yield url
        return
    address = f"http://127.0.0.1:{PORT}"
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
    }  # fmt: skip
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(PORT)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        for _ in range(600):
            try:
                asked = urllib.request.Request(f"{address}/bucket", method="PUT")  # noqa: S310
                urllib.request.urlopen(asked).close()  # noqa: S310
                break
            except OSError:
                if server.poll() is not None:
                    raise SystemExit("no S3 server starts: pip install 'moto[server]' s3fs, or name a --url") from None
                time.sleep(0.1)
        yield "s3://bucket/trial"
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
