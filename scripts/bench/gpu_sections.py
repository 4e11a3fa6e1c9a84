"""The sections of gpu_check.py: what each asks of the card, and what was expected before any of it had run.

Expectations come from reading code, and those of memory from replaying PyTorch's allocator with the published sizes.
Every section takes a Check and tells its findings; children run in a process of their own and return theirs.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench_arms import Arm, Bench, forced_inputs, speak_ours
from bench_measure import Clock
from bench_models import fill_evenly, overhead_model, published_size
from gpu_times import LINE_FRAMES, MIB, Check, graphs_and_speed, old_kernels_only, release

HERE = Path(__file__).resolve().parent
CHILD_LIMIT_S, PEERS_LIMIT_S = 150, 420
"""On a card; without one a child may take its time."""
CAP = 26
GREEDY_STOCK = {"do_sample": False, "subtalker_dosample": False, "repetition_penalty": 1.05}
CAPS_MIB = (4650, 4813, 5000, 5300)
"""Memory that a 6 GB card leaves to the process, from a full desktop to an empty one"""


# --- the same codes as stock


def parity(check: Check) -> None:
    """Whether stock, eager and graphs draw the same greedy codes, and samples are the same in any batch; float32."""
    import loops
    import tiny_checkpoint
    import torch

    model = loops.load(tiny_checkpoint.build(check.folder() / "model"), check.device)
    speaker = loops.voice(model)
    wanted = [loops.stock_codes(model, [text], speaker, True, CAP, **GREEDY_STOCK)[0].cpu() for text in loops.TEXTS]
    rig = loops.Rig.on(model)
    inputs = rig.inputs(loops.TEXTS, speaker, CAP)
    for arm, graphs in (("eager", False), ("graphs", check.on_card)):
        said: list[str] = []
        loop = rig.loop(rows=3, schedule=loops.CARD_SCHEDULE, announce=said.append, use_graphs=graphs)
        finished = loops.speak(loop, inputs)
        equal = [torch.equal(finished[number].codes, codes) for number, codes in enumerate(wanted)]
        check.tell(
            "parity", arm=arm, equal=equal, captures=loop.runner.captures, said=said, expected="all true, nothing said"
        )
    alone, together = (
        loops.speak(
            rig.loop(loops.PUBLISHED, rows=rows, schedule=loops.CARD_SCHEDULE, use_graphs=check.on_card), inputs
        )
        for rows in (1, 4)
    )
    equal = [torch.equal(alone[row.id].codes, together[row.id].codes) for row in inputs]
    check.tell("parity", arm="sampled, 1 and 4 rows", equal=equal, expected="all true")


# --- a capture that breaks


def poisoned(check: Check) -> None:
    """Whether the process stays usable after a capture that breaks half-way."""
    check.tell(
        "poisoned",
        **run_child(check, "poisoned"),
        expected="all spoken, one phrase said, empty_cache fine; without a mend, "
        "empty_cache fails with captures_underway.empty() INTERNAL ASSERT FAILED",
    )


def poisoned_child(check: Check, _cap_mib: int) -> dict[str, Any]:
    import loops
    import tiny_checkpoint
    import torch

    model = loops.load(tiny_checkpoint.build(check.folder() / "model"), check.device)
    rig, said = loops.Rig.on(model), []
    loop = rig.loop(
        loops.PUBLISHED, rows=4, schedule=loops.CARD_SCHEDULE, announce=said.append, use_graphs=check.on_card
    )
    frame = loop.batch.frame

    def broken(*arguments: Any) -> Any:
        codes = frame(*arguments)
        if check.on_card and torch.cuda.is_current_stream_capturing():
            codes.sum().item()  # a wait, which no capture allows
        return codes

    loop.batch.frame = broken
    finished = loops.speak(loop, rig.inputs(loops.TEXTS, loops.voice(model), 20))
    trouble = release(check.on_card)
    return {
        "spoken": len(finished),
        "use_graphs": loop.runner.use_graphs,
        "said": said,
        "empty_cache": trouble or "fine",
    }


# --- a 6 GB card


def six_gigabytes(check: Check) -> None:
    """Whether the 1.7B model starts within a 6 GB card's memory, with which plan, and whether a batch speaks in it."""
    for cap_mib in CAPS_MIB[:1] if check.quick else CAPS_MIB:
        check.tell(
            "six_gigabytes",
            cap_mib=cap_mib,
            **run_child(check, "six_gigabytes", cap_mib),
            expected="weights fused on the card: out of memory below 4968 MiB; fused in RAM: starts from "
            "4118 MiB, 6 rows at 4650, 8 at 4813",
        )


def six_gigabytes_child(check: Check, cap_mib: int) -> dict[str, Any]:
    """The weights in RAM first, then placed as stock.py places them, under a cap, with an old card's kernels."""
    import torch

    from server.engines.qwen.stock import place

    fraction = 1.0
    if check.on_card:
        fraction = cap_mib * MIB / torch.cuda.get_device_properties(check.device).total_memory
        torch.cuda.set_per_process_memory_fraction(fraction, check.device)
        old_kernels_only()
    if check.quick:
        model = overhead_model(check.folder())
    else:
        model = published_size("1.7b", check.folder(), "cpu", torch.float16, torch.float32, fill_evenly, True)
    model.model.speaker_encoder.float()
    place(model, check.device, text_on_device=False)
    codec = model.model.speech_tokenizer
    codec.model.float().to(check.device)
    codec.device = torch.device(check.device)
    placed = memory_mib(check)
    engine = check.engine(model, 0, memory_fraction=fraction)
    plan, opened, free = engine.loop.plan, memory_mib(check), check.free_mib()
    lengths = [8 if check.quick else LINE_FRAMES] * min(24, 3 * plan.rows)
    bench = Bench("1.7b", check.device, None, {plan.rows: engine}, lengths[0], True)
    arm = Arm("six gigabytes", speak_ours, plan.rows, len(lengths), is_ours=True)
    with Clock(check.on_card) as clock:
        frames = speak_ours(bench, arm, lengths, clock)
    return {
        "placed_mib": placed,
        "opened_mib": opened,
        "spoken_mib": memory_mib(check),
        "plan": str(plan),
        "plan_after": str(engine.loop.plan),
        "frames": frames,
        "restarts": engine.loop.counters.restarts,
        "captures": engine.loop.runner.captures,
        "driver_mib_while_speaking": round(free - check.free_mib()),
        "codec_frames_at_once": engine.codec.frames_at_once,
        "seconds": round(clock.wall_s, 1),
    }


def memory_mib(check: Check) -> dict[str, int]:
    """Of torch's allocator on the card; empty without a card."""
    if not check.on_card:
        return {}
    import torch

    figures = {
        "allocated": torch.cuda.memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
        "peak_reserved": torch.cuda.max_memory_reserved(),
    }
    return {name: round(size / MIB) for name, size in figures.items()}


# --- an old card's formats


def pascal_formats(check: Check) -> None:
    """Whether a float16 talker with a float32 code predictor stays finite, and graphs draw the eager path's codes."""
    import torch

    if check.on_card:
        old_kernels_only()
    engine = check.engine(check.model(torch.float16, torch.float32), 8)
    frames, eager = 6 if check.quick else 24, None
    for graphs in (False, True) if check.on_card else (False,):
        engine.loop.runner.use_graphs = graphs
        finished = spoken_rows(engine, [frames] * 8)
        eager = eager or finished
        same = sum(torch.equal(row.codes, eager[number].codes) for number, row in finished.items())
        check.tell(
            "pascal_formats",
            graphs=graphs,
            finite=all(row.finite for row in finished.values()),
            same_as_eager=f"{same} of {len(finished)}",
            use_graphs=engine.loop.runner.use_graphs,
            expected="finite; 8 of 8 or nearly, since one card adds in one order",
        )


def spoken_rows(engine: Any, lengths: list[int]) -> dict[int, Any]:
    waiting, finished = forced_inputs(engine, lengths), {}

    def more(free: int) -> list[Any]:
        taken, waiting[:] = waiting[:free], waiting[free:]
        return taken

    engine.loop.run(more, lambda rows: finished.update({row.id: row for row in rows}), lambda _number: False)
    return finished


# --- beside stock and faster-qwen3-tts


def peers(check: Check) -> None:
    """The engine's benchmark, from text to WAV, beside stock and its fast relatives on the same weights."""
    command = [sys.executable, str(HERE / "bench_engine.py"), "--device", check.device, "--rounds", "1"]
    command += ["--no-operations", "--threads", "8" if check.on_card else "1", "--stock-rows", "1"]
    if check.quick:
        command += ["--model", "overhead", "--rows", "1,8", "--frames", "6"]
    else:
        command += ["--model", "1.7b", "--dtype", "bfloat16", "--rows", "1,8,32,64", "--peer-rows", "8"]
    limit_s = PEERS_LIMIT_S if check.on_card else None
    run = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    check.tell(
        "peers",
        exit=run.returncode,
        table=run.stdout[-5000:].splitlines(),
        error=run.stderr.strip().splitlines()[-2:],
        expected="H100, times real time: stock 0.4; faster 3 to 4; ours 5 to 8 (B=1), 30 to 55 (8), 70 to 150 (32), "
        "90 to 220 (64)",
    )


# --- children


def run_child(check: Check, name: str, cap_mib: int = 0) -> dict[str, Any]:
    """Runs a child of gpu_check.py. Returns its exit status (None past the limit), finding and last error line."""
    command = [sys.executable, str(HERE / "gpu_check.py"), "--child", name, "--device", check.device]
    command += ["--cap-mib", str(cap_mib)] + (["--quick"] if check.quick else [])
    limit_s = CHILD_LIMIT_S if check.on_card else None
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
    except subprocess.TimeoutExpired:
        return {"exit": None, "found": None, "error": [f"not done in {limit_s} s"]}
    lines = run.stdout.strip().splitlines()
    # A child that dies prints nothing, or half a line.
    found = json.loads(lines[-1]) if run.returncode == 0 and lines else None
    return {"exit": run.returncode, "found": found, "error": run.stderr.strip().splitlines()[-1:]}


SECTIONS: dict[str, Callable[[Check], None]] = {
    "parity": parity,
    "poisoned": poisoned,
    "graphs_and_speed": graphs_and_speed,
    "six_gigabytes": six_gigabytes,
    "pascal_formats": pascal_formats,
    "peers": peers,
}
CHILDREN: dict[str, Callable[[Check, int], dict[str, Any]]] = {
    "poisoned": poisoned_child,
    "six_gigabytes": six_gigabytes_child,
}
