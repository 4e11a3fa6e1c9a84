"""The benchmark of the engine's loop: its counters count what they claim, and its arms speak what they are told to."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import loops
import pytest
import torch

from server.engines.qwen.loop.engine import with_loop

ROOT = Path(__file__).parents[2]

before = list(sys.path)
sys.path.insert(0, str(ROOT / "scripts" / "bench"))

import bench_arms  # noqa: E402  (the path above)
import bench_engine  # noqa: E402
import bench_measure  # noqa: E402
import bench_models  # noqa: E402
import bench_peers  # noqa: E402
import bench_profile  # noqa: E402

sys.path[:] = before


@pytest.fixture(scope="module")
def stock(tiny_checkpoint: Path) -> Any:
    return bench_models.stock_engine(loops.load(tiny_checkpoint), 12)


@pytest.fixture(scope="module")
def bench(stock: Any) -> Any:
    engines = {rows: with_loop(stock, lambda _phrase: None, rows) for rows in (1, 2)}
    return bench_arms.Bench("tiny", "cpu", stock, engines, 5, True)


def arm_of(name: str, rows: int, lines: int | None = None) -> Any:
    speak = {"stock": bench_arms.speak_stock, "ours": bench_arms.speak_ours}[name]
    return bench_arms.Arm(f"{name} B={rows}", speak, rows, lines or rows, is_ours=name == "ours")


# --- counting


@pytest.mark.parametrize(
    ("job", "waits"),
    [
        (lambda numbers: [numbers[0].item() for _ in range(7)], 7),
        (lambda numbers: bool(numbers[0] > 0), 1),
        (lambda numbers: int(numbers[0]), 1),
        (lambda numbers: numbers.nonzero(), 1),
        (lambda numbers: numbers[numbers > 2], 1),
        (lambda numbers: numbers.unique(), 1),
        (lambda numbers: torch.equal(numbers, numbers), 1),
        (lambda numbers: numbers @ numbers + 1, 0),
        (lambda numbers: numbers.clone().masked_fill_(numbers > 2, 0.0), 0),
    ],
)
def test_a_wait_is_counted_once_however_it_is_asked_for(job: Any, waits: int) -> None:
    numbers = torch.arange(1.0, 6.0)
    assert bench_profile.counts_of(lambda: job(numbers)).waits == waits


def test_multinomial_counts_as_no_wait_where_it_asserts_on_the_card() -> None:
    """From torch 2.6 on. On a CPU the assertion itself reads a number, which a plain count would count as a wait."""
    odds = torch.rand(3, 20)
    assert bench_profile.counts_of(lambda: torch.multinomial(odds, 1)).waits == 0
    assert bench_profile.counts_of(lambda: torch.multinomial(odds, 1).max().item()).waits == 1


def test_filling_by_mask_reads_no_number_from_the_card() -> None:
    numbers = torch.arange(5.0)
    mask = numbers > 2

    def fill() -> None:
        numbers[mask] = float("-inf")

    assert bench_profile.counts_of(fill).waits == 0


def test_operations_count_with_what_they_are_made_of() -> None:
    number = torch.ones(1)
    # `item` and the `_local_scalar_dense` inside it
    assert bench_profile.counts_of(number.item).operations == 2
    assert bench_profile.counts_of(lambda: [number.item() for _ in range(5)]).operations == 10


def test_what_the_host_does_with_what_it_read_back_is_no_wait() -> None:
    batch = SimpleNamespace(
        frame=lambda: torch.ones(1).item(), draw_noise=lambda: None, read_back=lambda: torch.ones(1).item()
    )

    def job() -> None:
        batch.frame()
        batch.read_back()
        torch.ones(1).item()

    with bench_profile.marks(batch):
        assert bench_profile.counts_of(job, marked=True).waits == 2
    assert bench_profile.counts_of(job).waits == 3


def test_driver_calls_are_told_apart_by_name() -> None:
    names = (
        ["cudaLaunchKernel"] * 5 + ["cudaGraphLaunch"] * 2 + ["cudaStreamSynchronize", "cudaMemcpyAsync", "aten::mm"]
    )
    assert bench_profile.tally(names, bench_profile.LAUNCHES) == 5
    assert bench_profile.tally(names, bench_profile.GRAPH_LAUNCHES) == 2
    assert bench_profile.tally(names, bench_profile.CARD_WAITS) == 1


def test_counts_of_a_frame_are_the_difference_of_two_jobs() -> None:
    longer, shorter = bench_profile.Counts(180, 26, 90, 10), bench_profile.Counts(100, 10, 10, 2)
    assert longer.per_frame(shorter, 8) == bench_profile.Counts(10, 2, 10, 1)
    assert bench_profile.Counts(180, 26).per_frame(bench_profile.Counts(100, 10), 8).launches is None


def test_our_loop_waits_for_nothing_but_its_read_backs(bench: Any) -> None:
    counts = bench_arms.counts_per_frame(bench, arm_of("ours", 2))
    assert counts.waits == 1  # on a CPU the loop reads back after every frame
    assert counts.operations > 100
    assert counts.launches is None


def test_stock_waits_many_times_a_frame(bench: Any) -> None:
    # Stock's stopping criteria alone wait in each of fifteen steps of the code predictor and one of the talker.
    assert bench_arms.counts_per_frame(bench, arm_of("stock", 1), apart=1).waits >= 16


# --- the arms


@pytest.mark.parametrize(("name", "rows", "lines"), [("stock", 1, 1), ("stock", 2, 4), ("ours", 1, 1), ("ours", 2, 4)])
def test_an_arm_speaks_the_frames_it_is_told_to(bench: Any, name: str, rows: int, lines: int) -> None:
    arm = arm_of(name, rows, lines)
    bench.run(arm, keep=True)  # asserts the frames
    assert len(arm.cpu_ms) == len(arm.wall_ms) == 1
    assert arm.notes["padding efficiency"] == pytest.approx(1)
    # 12 frames of reference before each line of 5 for stock; ours goes on from them.
    assert arm.notes["codec frames per frame"] == pytest.approx((12 + 5) / 5) or name == "ours"
    assert all(arm.parts_ms[part][0] > 0 for part in ("prefill", "talker", "predictor", "codec"))


def test_a_batch_that_is_not_full_shows_in_the_padding_efficiency(bench: Any) -> None:
    arm = arm_of("ours", 2, 3)
    bench.run(arm, keep=False)
    assert arm.notes["padding efficiency"] == pytest.approx(3 / 4)


def test_an_arm_that_speaks_other_frames_is_refused(bench: Any) -> None:
    arm = bench_arms.Arm("one short", lambda _bench, _arm, lengths, _clock: sum(lengths) - 1, 1, 1)
    with pytest.raises(AssertionError, match="one short"):
        bench.run(arm, keep=True)


def test_without_the_codec_nothing_is_decoded(bench: Any) -> None:
    from dataclasses import replace

    arm = arm_of("stock", 2)
    replace(bench, with_codec=False).run(arm, keep=True)
    assert "codec frames per frame" not in arm.notes


def test_the_tables_have_a_row_for_each_arm(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    arms = [arm_of("stock", 1), arm_of("ours", 2)]
    for arm in arms:
        bench.run(arm, keep=True)
    counts = {"ours B=2": bench_profile.Counts(1234, 1)}
    figures = bench_engine.report(bench, arms, counts, bandwidth=10.0)
    printed = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("stock B=1 ") for line in printed) == 2
    assert sum(line.startswith("ours B=2 ") for line in printed) == 2
    assert max(map(len, printed)) <= 160
    assert figures[0]["figures"]["ratio"] == figures[0]["figures"]["CPU r."] == figures[0]["figures"]["LM r."] == 1
    assert figures[1]["figures"]["MBU %"] == pytest.approx(10 * figures[1]["figures"]["GB/s"])
    assert (figures[0]["figures"]["aten ops"], figures[1]["figures"]["aten ops"]) == (None, 1234)


def test_on_a_card_wall_time_is_the_base(bench: Any) -> None:
    from dataclasses import replace

    arm = arm_of("ours", 1)
    bench.run(arm, keep=True)
    arm.cpu_ms, arm.wall_ms = [1.0], [8.0]
    on_card = replace(bench, device="cuda")
    assert (bench.base_ms(arm), on_card.base_ms(arm)) == ([1.0], [8.0])
    figures = bench_engine.time_figures(on_card, arm, arm, 10.0)
    assert figures["CPU r."] is figures["talker"] is figures["rest"] is None
    assert figures["x real"] == pytest.approx(10)


def test_the_overhead_model_takes_two_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tiny_checkpoint

    monkeypatch.setattr(loops, "build_deep", tiny_checkpoint.build)
    model = bench_models.overhead_model(tmp_path, "cpu", torch.bfloat16, torch.float32).model
    assert model.talker.dtype == torch.bfloat16
    assert next(model.talker.code_predictor.model.parameters()).dtype == torch.float32
    assert next(model.speech_tokenizer.model.parameters()).dtype == torch.float32


@pytest.mark.parametrize(
    ("dtype", "predictor", "chosen"),
    [
        ("float32", None, torch.float32),
        ("bfloat16", None, torch.bfloat16),
        ("float16", None, torch.float32),
        ("float16", "float16", torch.float16),
        ("bfloat16", "float32", torch.float32),
    ],
)
def test_the_code_predictor_is_in_float32_beside_float16(
    dtype: str, predictor: str | None, chosen: torch.dtype
) -> None:
    asked = SimpleNamespace(dtype=dtype, predictor_dtype=predictor)
    assert bench_engine.formats(asked) == (getattr(torch, dtype), chosen)


# --- memory


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells the peak of a process")
def test_the_peak_is_that_of_the_arm_and_not_of_the_one_before() -> None:
    if not bench_measure.forget_peak():
        pytest.skip("this container forbids writing /proc/self/clear_refs")

    def rise_mib(mebibytes: int) -> float:
        with bench_measure.PeakMemory("cpu") as memory:
            torch.ones(mebibytes * 2**18)
        return float(memory.bytes - memory.before) / 2**20

    assert 190 < rise_mib(200) < 260
    assert rise_mib(1) < 40


def test_where_nothing_tells_the_peak_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_measure, "CLEAR_REFS", ROOT / "no such folder" / "clear_refs")
    with bench_measure.PeakMemory("cpu") as memory:
        pass
    assert memory.bytes is None


def test_bandwidth_is_a_plausible_figure() -> None:
    assert 0.1 < bench_measure.bandwidth_gb_s("cpu", 2**22) < 10_000


# --- peers


@pytest.mark.parametrize("kind", ["faster", "faster-batch"])
def test_on_a_cpu_a_peer_is_not_available_and_the_line_says_why(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Installed or not: on a CPU the missing card is the reason.
    monkeypatch.setattr(bench_peers.importlib.util, "find_spec", lambda _name: object())
    reason = bench_peers.why_not(kind, "cpu", False)
    assert reason == "n/a on cpu (it needs CUDA; --eager-shim runs its algorithm without graphs)"
    assert bench_peers.why_not(kind, "cpu", True) is None
    assert bench_peers.why_not(kind, "cuda:0", False) is None


def test_a_peer_that_is_not_installed_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_peers.importlib.util, "find_spec", lambda _name: None)
    command = 'pip install --no-deps "faster-qwen3-tts<0.4"'
    assert bench_peers.why_not("faster", "cuda", False) == f"n/a (not installed: {command})"
    assert bench_peers.why_not("faster-batch", "cpu", True) == f"n/a (not installed: {command} faster-qwen3-tts-batch)"


def test_a_peer_that_fails_to_open_is_left_out_with_its_reason(stock: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any) -> None:
        raise TypeError("lazy_initialization() takes 2 positional\narguments")

    monkeypatch.setattr(bench_peers, "faster", refuse)
    reason = bench_peers.open_peer("faster", stock, 1, 64)
    assert reason.startswith(
        "n/a (it does not run here: TypeError: lazy_initialization() takes 2 positional arguments;"
    )


def test_the_shim_gives_torch_its_functions_back() -> None:
    before = (torch.cuda.synchronize, torch.cuda.Stream, torch.cuda.device)
    with bench_peers.no_card():
        torch.cuda.synchronize()
        with torch.cuda.stream(torch.cuda.Stream()), torch.cuda.device(0):
            torch.cuda.current_stream().wait_stream(torch.cuda.Stream())
    assert (torch.cuda.synchronize, torch.cuda.Stream, torch.cuda.device) == before


@pytest.mark.parametrize(("kind", "rows"), [("faster", 1), ("faster-batch", 2)])
def test_a_peer_under_the_shim_speaks_the_frames_it_is_told_to(bench: Any, kind: str, rows: int) -> None:
    reason = bench_peers.why_not(kind, "cpu", True)
    if reason is not None:
        pytest.skip(reason)
    peer = bench_peers.open_peer(kind, bench.stock, rows, 128)
    assert not isinstance(peer, str), peer
    assert peer.label.endswith("(eager shim)")
    arm = bench_arms.peer_arm(peer)
    bench.run(arm, keep=True)
    assert arm.notes["padding efficiency"] == 1
    assert all(arm.parts_ms[part][0] > 0 for part in ("prefill", "talker", "predictor", "codec"))
