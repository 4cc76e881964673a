#!/usr/bin/env python3
"""Follows a load that swings: the autoscaler starts and stops workers between 1 and 8. Draws load, workers and lag over time.

    cargo build --release --workspace --bins
    python3 benches/sine.py target/release/frazil docs/images/sine.svg [--seconds 360] [--rows 300000]

Rows come at a rate that swings by 90 % around its mean, once in two minutes, and are counted by key. Slots are to work a small part of
their time only, so that eight of them have room on a machine with few cores. Lag is how long the oldest row that is read and not yet
committed has waited; commits come every second. Ends with 1 if the lag while workers leave exceeds twice the greatest that it has while
nothing changes. Only the standard library is needed.
"""

import argparse
import itertools
import pathlib
import sys
import tempfile
import time

from failover import COMMIT, Cluster

LOAD = """
CREATE TABLE events (k BIGINT, v BIGINT) WITH ('connector' = 'datagen', 'splits' = '64', 'rows-per-second' = '{rows}',
  'rate.shape' = 'sine', 'rate.amplitude' = '0.9', 'rate.period' = '{period}s',
  'fields.k.kind' = 'random', 'fields.k.min' = '0', 'fields.k.max' = '100000',
  'fields.v.kind' = 'sequence', 'fields.v.start' = '0', 'fields.v.end' = '1000000000000');
CREATE MATERIALIZED VIEW by_key AS SELECT k, COUNT(*) AS n, SUM(v) AS s FROM events GROUP BY k;
"""
PERIOD = 120
SAMPLE = 0.5
# After workers have come or gone, for so many seconds what happens belongs to that.
AROUND = 4


def sample(cluster, began):
    job = next(job for job in cluster.get("/api/v1/jobs")["jobs"] if job["name"] == "by_key")
    workers = [worker for worker in cluster.get("/api/v1/workers")["workers"] if worker["state"] == "active"]
    return time.monotonic() - began, job["rows_in"], len(workers), (job["lag_ms"] or 0) / 1000


def rates(samples, window=6):
    """Rows per second. While a job moves, what its old slots have read is not counted for a moment."""
    totals = list(itertools.accumulate((rows for _, rows, _, _ in samples), max))
    read = [later - earlier for earlier, later in zip(totals, totals[1:])]
    times = [later[0] - earlier[0] for earlier, later in zip(samples, samples[1:])]
    smooth = [sum(read[max(0, i - window) : i + 1]) / sum(times[max(0, i - window) : i + 1]) for i in range(len(read))]
    return [(samples[i + 1][0], rate) for i, rate in enumerate(smooth)]


def verdict(samples):
    """The greatest lag while nothing changes, and the greatest while workers leave."""
    left = [later[0] for earlier, later in zip(samples, samples[1:]) if later[2] < earlier[2]]
    moved = [later[0] for earlier, later in zip(samples, samples[1:]) if later[2] != earlier[2]]
    near = lambda at, moments: any(moment - AROUND / 2 <= at <= moment + AROUND for moment in moments)
    started = samples[0][0] + 2 * AROUND
    steady = max(lag for at, _, _, lag in samples if at > started and not near(at, moved))
    leaving = max((lag for at, _, _, lag in samples if near(at, left)), default=0.0)
    return steady, leaving


def panel(title, unit, points, top, y, width, height, seconds, steps=False):
    x = lambda at: 70 + (width - 90) * at / seconds
    level = lambda value: y + height - (height - 22) * value / top
    parts = [f'<text x="70" y="{y + 10}" class="title">{title}</text>']
    for share in (0, 0.5, 1):
        at = level(top * share)
        parts.append(f'<line x1="70" x2="{width - 20}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        parts.append(f'<text x="64" y="{at + 4:.1f}" text-anchor="end">{top * share:g}{unit}</text>')
    path, last = [], None
    for at, value in points:
        if steps and last is not None and last != value:
            path.append(f"{x(at):.1f},{level(last):.1f}")
        path.append(f"{x(at):.1f},{level(value):.1f}")
        last = value
    parts.append(f'<polyline points="{" ".join(path)}" class="line"/>')
    return "\n".join(parts)


def draw(samples, seconds):
    width, height = 860, 150
    load = [(at, rate / 1000) for at, rate in rates(samples)]
    workers = [(at, count) for at, _, count, _ in samples]
    lag = [(at, lag) for at, _, _, lag in samples]
    ceil = lambda values, step: step * (1 + int(max(values) / step))
    panels = [
        panel("Load: rows read per second", " k", load, ceil([v for _, v in load], 50), 10, width, height, seconds),
        panel("Workers", "", workers, 8, 180, width, height, seconds, steps=True),
        panel("Lag: age of the oldest uncommitted row", " s", lag, ceil([v for _, v in lag], 1), 350, width, height, seconds),
    ]
    ticks = "\n".join(
        f'<text x="{70 + (width - 90) * at / seconds:.0f}" y="520" text-anchor="middle">{at} s</text>' for at in range(0, int(seconds) + 1, 60)
    )
    style = (
        "text{font:12px sans-serif;fill:#444}.title{font-weight:bold;fill:#111}"
        ".grid{stroke:#ddd}.line{fill:none;stroke:#0b6bcb;stroke-width:1.5}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="530" viewBox="0 0 {width} 530">\n<style>{style}</style>\n'
        f'<rect width="100%" height="100%" fill="#fff"/>\n' + "\n".join(panels) + f"\n{ticks}\n</svg>\n"
    )


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary", type=pathlib.Path)
    arguments.add_argument("picture", type=pathlib.Path)
    arguments.add_argument("--seconds", type=int, default=3 * PERIOD)
    arguments.add_argument("--rows", type=int, default=300_000)
    arguments.add_argument("--target", default="0.25")
    arguments = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="frazil-sine-") as directory:
        options = ("--autoscale", "1..8", "--autoscale-target", arguments.target)
        cluster = Cluster(str(arguments.binary.absolute()), pathlib.Path(directory), 0, options)
        try:
            cluster.wait_for_workers(1)
            cluster.submit(LOAD.format(rows=arguments.rows, period=PERIOD))
            began, samples = time.monotonic(), []
            while time.monotonic() - began < arguments.seconds:
                samples.append(sample(cluster, began))
                time.sleep(SAMPLE)
        finally:
            cluster.close()
    arguments.picture.write_text(draw(samples, arguments.seconds))
    steady, leaving = verdict(samples)
    counts = [count for _, _, count, _ in samples]
    print(f"workers: {min(counts)} to {max(counts)}, {sum(a != b for a, b in zip(counts, counts[1:]))} changes")
    print(f"greatest lag: {steady:.2f} s while nothing changes, {leaving:.2f} s while workers leave (commits every {COMMIT} s)")
    sys.exit(leaving > 2 * steady)


if __name__ == "__main__":
    main()
