"""How fast the engine speaks, beside stock qwen-tts and its fast relatives doing the same work.

    python scripts/bench/bench_engine.py

Needs no downloaded model. `overhead` has the real depth and a tiny width: it measures the cost of a frame besides
arithmetic, which is what holds a graphics card back. `0.6b` and `1.7b` have the published sizes with random weights.
Every line is made to speak the same number of frames. Arms take turns, round by round; the figures are medians. The
first round warms up and is not counted. On a CPU the table has ratios of CPU time too, since other programs disturb
wall time; on a card wall time counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support"), str(ROOT / "scripts" / "bench")]
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import bench_peers
from bench_arms import Arm, Bench, counts_per_frame, forced_inputs, peer_arm, speak_ours, speak_stock
from bench_measure import Clock, bandwidth_gb_s
from bench_models import overhead_model, published_size, stock_engine, weight_bytes_per_frame
from bench_profile import Counts

from server.engines.qwen.load.imports import import_qwen_tts

FRAMES_PER_SECOND = 12.5
RAGGED = (24, 38, 41, 45, 52, 55, 58, 60, 63, 66, 71, 78, 84, 92, 105, 120)
"""Frames of a script's lines, dummy included: a tenth are under 3 s, the middle is at 5 s, a tenth are over 8 s."""


def projection_gtx_1060() -> str:
    """Roofline, not a measurement: 192 GB/s at 70 %, 4.4 TFLOPS at 40 % for the codec, talker fp16, predictor fp32."""
    lines = []
    for name, talker_millions, extra in (("0.6B", 443.6, 0.0), ("1.7B", 1415.6, 2.1)):
        gigabytes = talker_millions * 2 / 1e3 + 15 * (78.64 + 2.10 + extra) * 4 / 1e3
        step_s = gigabytes / (192 * 0.7)
        codec_s = 4.96e9 / (4.4e12 * 0.4)
        speeds = [rows / (step_s + rows * codec_s) / FRAMES_PER_SECOND for rows in (1, 8, 16)]
        lines.append(f"{name}: " + ", ".join(f"B={b} {x:.1f}x" for b, x in zip((1, 8, 16), speeds, strict=True)))
    return "; ".join(lines)


def report(bench: Bench, arms: list[Arm], counts: dict[str, Counts], bandwidth: float) -> list[dict[str, Any]]:
    width = max(len(arm.name) for arm in arms)
    print(f"\n{bench.model_name}, {bench.frames} frames a line, {'LM and codec' if bench.with_codec else 'LM only'}")
    figures = [time_figures(bench, arm, arms[0], bandwidth) for arm in arms]
    columns = [("wall", 8), ("CPU", 8), ("IQR", 7), ("x real", 8), ("ratio", 7), ("CPU r.", 7), ("LM r.", 7)]
    columns += [("prefill", 9), ("talker", 8), ("predict", 8), ("codec", 8), ("rest", 7), ("GB/s", 8), ("MBU %", 7)]
    print("ms per kept frame; ratio: of wall time, CPU r.: of CPU time, LM r.: without the codec, all to the first arm")
    print_table(width, columns, [(arm.name, row) for arm, row in zip(arms, figures, strict=True)])
    print("\nper frame of the whole batch, unless it says otherwise; - is not counted here")
    columns = [
        ("peak GiB", 10),
        ("rise MiB", 10),
        ("padding eff.", 14),
        ("codec frames", 13),
        ("reads", 7),
        ("aten ops", 9),
    ]
    columns += [("host waits", 11), ("launches", 9), ("graphs", 7)]
    others = [other_figures(arm, counts.get(arm.name)) for arm in arms]
    print_table(width, columns, [(arm.name, row) for arm, row in zip(arms, others, strict=True)])
    print(
        f"peak: of {'the card' if bench.on_card else 'the process'} while the arm spoke, weights and what other arms "
        "keep included; rise: above what there was when it\nbegan; padding eff.: kept frames / (rows x steps); "
        "codec frames: per kept frame; reads: read-backs; host waits: see counts_of()\n"
        f"weights read per frame {weight_bytes_per_frame(bench.stock.model) / 1e9:.3f} GB; bandwidth measured "
        f"{bandwidth:.1f} GB/s"
    )
    return [
        {"arm": arm.name, "cpu_ms": arm.cpu_ms, "wall_ms": arm.wall_ms, "figures": times | other}
        for arm, times, other in zip(arms, figures, others, strict=True)
    ]


def time_figures(bench: Bench, arm: Arm, first: Arm, bandwidth: float) -> dict[str, float | None]:
    """Figures by column of the table; None where the figure means nothing."""
    parts = {part: statistics.median(values) for part, values in arm.parts_ms.items()}
    base, wall, cpu = (statistics.median(values) for values in (bench.base_ms(arm), arm.wall_ms, arm.cpu_ms))
    quartiles = statistics.quantiles(bench.base_ms(arm), n=4) if len(arm.cpu_ms) > 1 else [base] * 3
    steps = base - parts["prefill"] - parts["codec"] if bench.on_card else parts["talker"] + parts["predictor"]
    achieved = weight_bytes_per_frame(bench.stock.model) / (steps * arm.rows) / 1e6

    def off_card(value: float) -> float | None:
        return None if bench.on_card else value

    return {
        "wall": wall,
        "CPU": cpu,
        "IQR": quartiles[2] - quartiles[0],
        "x real": 1000 / FRAMES_PER_SECOND / wall,
        "ratio": statistics.median(first.wall_ms) / wall,
        "CPU r.": off_card(statistics.median(first.cpu_ms) / cpu),
        "LM r.": lm_ms(bench, first) / lm_ms(bench, arm),
        "prefill": parts["prefill"],
        "talker": off_card(parts["talker"]),
        "predict": off_card(parts["predictor"]),
        "codec": parts["codec"],
        "rest": off_card(cpu - sum(parts.values())),
        "GB/s": achieved,
        "MBU %": 100 * achieved / bandwidth,
    }


def lm_ms(bench: Bench, arm: Arm) -> float:
    return statistics.median(bench.base_ms(arm)) - statistics.median(arm.parts_ms["codec"])


def other_figures(arm: Arm, counts: Counts | None) -> dict[str, float | None]:
    """Figures by column of the table; None where nothing was counted."""
    return {
        "peak GiB": max(arm.peak_bytes) / 2**30 if arm.peak_bytes else None,
        "rise MiB": max(arm.risen_bytes) / 2**20 if arm.risen_bytes else None,
        "padding eff.": arm.notes.get("padding efficiency"),
        "codec frames": arm.notes.get("codec frames per frame"),
        "reads": arm.notes.get("read-backs per frame"),
        "aten ops": counts.operations if counts else None,
        "host waits": counts.waits if counts else None,
        "launches": counts.launches if counts else None,
        "graphs": counts.graph_launches if counts else None,
    }


def print_table(
    name_width: int, columns: list[tuple[str, int]], rows: list[tuple[str, dict[str, float | None]]]
) -> None:
    print("arm".ljust(name_width) + "".join(name.rjust(width) for name, width in columns))
    for arm, figures in rows:
        print(arm.ljust(name_width) + "".join(shown(figures[name]).rjust(width) for name, width in columns))


def shown(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.2f}"


def identity(bench: Bench, rows: int, frames: int) -> None:
    """Prints how many takes are the same alone and in a batch, sampled from the same seeds.

    All of them is promised for float32 only.
    """
    import torch

    from server.engines.qwen.loop.decode_loop import DecodeLoop
    from server.engines.qwen.model.sampling import Sampling

    engine = bench.engines[rows]
    batch = engine.loop.batch
    loop = DecodeLoop(batch.talker, batch.predictor, Sampling(), engine.loop.plan, engine.loop.schedule)
    inputs = forced_inputs(engine, [frames] * rows)

    def speak(waiting: list[Any]) -> dict[int, Any]:
        finished: dict[int, Any] = {}

        def more(free: int) -> list[Any]:
            taken, waiting[:] = waiting[:free], waiting[free:]
            return taken

        loop.run(more, lambda rows: finished.update({row.id: row.codes for row in rows}), lambda _number: False)
        return finished

    together = speak(list(inputs))
    alone = {row.id: speak([row])[row.id] for row in inputs}
    differing = [(together[number] != codes).any(1).nonzero() for number, codes in alone.items()]
    firsts = [int(where[0]) for where in differing if len(where)]
    same = sum(torch.equal(together[number], codes) for number, codes in alone.items())
    print(
        f"alone and among {rows}: {same} of {rows} takes of {frames} frames ({100 * same / rows:.0f} %) have "
        "identical codes" + (f"; the others differ from frame {min(firsts)} on" if firsts else "")
    )


def ragged(bench: Bench, rows: int) -> None:
    """Prints the padding efficiency at a script's lengths: refilled rows, and batches that wait for their longest."""
    lengths = list(RAGGED) * 4
    random.Random(0).shuffle(lengths)
    arm = Arm(f"ragged B={rows}", speak_ours, rows, len(lengths), is_ours=True)
    clock = Clock(bench.on_card)
    with clock:
        kept = speak_ours(replace(bench, with_codec=False), arm, lengths, clock)
    batches = [lengths[start : start + rows] for start in range(0, len(lengths), rows)]
    waiting = sum(max(batch) * len(batch) for batch in batches)
    spent = clock.wall_s if bench.on_card else clock.cpu_s
    print(
        f"ragged, {len(lengths)} lines of {min(RAGGED)} to {max(RAGGED)} frames at B={rows}: {spent * 1000 / kept:.2f} "
        f"ms/frame, of it prefill {clock.parts_s['prefill'] * 1000 / kept:.2f}; padding efficiency "
        f"{arm.notes['padding efficiency']:.2f}; batches in script order that wait for their longest would have "
        f"{kept / waiting:.2f}"
    )


def open_peers(stock: Any, asked: argparse.Namespace) -> list[Arm]:
    """Arms of the peers that run here; for each of the others, prints why not."""
    arms = []
    for kind, package in bench_peers.PACKAGES.items():
        reason = bench_peers.why_not(kind, asked.device, asked.eager_shim)
        for rows in [1] if kind == "faster" else numbers(asked.peer_rows):
            peer = reason or bench_peers.open_peer(kind, stock, rows, asked.peer_length)
            if isinstance(peer, str):
                print(f"{package}: {peer}")
                break
            arms.append(peer_arm(peer))
    return arms


def formats(asked: argparse.Namespace) -> tuple[Any, Any]:
    """The formats of talker and code predictor; the code predictor overflows float16."""
    import torch

    predictor = asked.predictor_dtype or ("float32" if asked.dtype == "float16" else asked.dtype)
    return getattr(torch, asked.dtype), getattr(torch, predictor)


def numbers(listed: str) -> list[int]:
    return [int(number) for number in listed.split(",") if number]


def load_average() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "n/a"  # Windows has none


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    dtypes = ("float32", "float16", "bfloat16")
    parser.add_argument("--model", choices=("overhead", "0.6b", "1.7b"), default="overhead")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:0")
    parser.add_argument("--dtype", choices=dtypes, default="float32", help="of the talker; the codec is in float32")
    parser.add_argument(
        "--predictor-dtype", choices=dtypes, help="of the code predictor; default: float32 beside float16, else --dtype"
    )
    parser.add_argument("--frames", type=int, default=60, help="of each line")
    parser.add_argument("--reference", type=int, default=125, help="frames of the reference clip; 125 are ten seconds")
    parser.add_argument("--rows", default="1,4,8,16", help="batch sizes of our loop")
    parser.add_argument("--stock-rows", default="1,8", help="batch sizes of stock; the first is the base of all ratios")
    parser.add_argument("--peer-rows", default="8", help="batch sizes of faster-qwen3-tts-batch")
    parser.add_argument(
        "--peer-length",
        type=int,
        default=bench_peers.PACKAGE_LENGTH,
        help="columns of the peers' static keys and values, prompt and speech together; default: theirs",
    )
    parser.add_argument(
        "--eager-shim", action="store_true", help="on a CPU, run the peers' algorithm with their graphs left out"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-codec", action="store_true")
    parser.add_argument(
        "--no-operations", action="store_true", help="count no operations, waits and launches, which takes minutes"
    )
    parser.add_argument("--json", type=Path, help="write all figures here")
    asked = parser.parse_args()
    if asked.eager_shim and asked.device != "cpu":
        parser.error("--eager-shim is for --device cpu: on a card the peers run as they are")
    return asked


def main() -> None:
    asked = arguments()
    import_qwen_tts()
    import torch

    from server.engines.qwen.loop.engine import with_loop

    torch.set_num_threads(asked.threads)
    torch.set_flush_denormal(True)
    dtype, predictor = formats(asked)
    print(
        f"torch {torch.__version__}, {asked.threads} thread(s) of {os.cpu_count()}, load {load_average()}, "
        f"{platform.machine()}, {asked.device}, talker {asked.dtype}, code predictor {str(predictor).split('.')[1]}, "
        "codec float32"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if asked.model == "overhead":
            model = overhead_model(folder, asked.device, dtype, predictor)
        else:
            model = published_size(asked.model, folder, asked.device, dtype, predictor)
        stock = stock_engine(model, asked.reference)
        engines = {rows: with_loop(stock, lambda phrase: print(phrase), rows) for rows in numbers(asked.rows)}
        if asked.device != "cpu":
            model.model.talker.model.text_embedding.to(asked.device)  # stock reads it there
        bench = Bench(asked.model, asked.device, stock, engines, asked.frames, not asked.no_codec)
        arms = [Arm(f"stock B={rows}", speak_stock, rows, rows) for rows in numbers(asked.stock_rows)]
        arms += open_peers(stock, asked)
        arms += [Arm(f"ours B={rows}", speak_ours, rows, rows, is_ours=True) for rows in engines]
        for number in range(1 + asked.rounds):
            for arm in arms:
                # The warm-up has full length too: the CPU's convolutions prepare themselves for each new length.
                bench.run(arm, keep=number > 0)
        counted = [] if asked.no_operations else [arm for arm in arms if arm.rows in (1, 8)]
        counts = {arm.name: counts_per_frame(bench, arm) for arm in counted}
        figures = report(bench, arms, counts, bandwidth_gb_s(asked.device))
        if 8 in engines:
            identity(bench, 8, 24)
        if 8 in engines and asked.model == "overhead":
            ragged(bench, 8)
        print(f"GTX 1060, projected from the roofline: {projection_gtx_1060()}")
        if asked.json:
            asked.json.write_text(json.dumps({"arms": figures}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
