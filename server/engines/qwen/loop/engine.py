"""The qwen engine with a decode loop of our own: several lines at a time, on the stock model's modules and weights.

Imports torch: only `open_qwen` imports this module, in the worker. ENGINE_LOOP=stock takes stock.py's instead, the
reference that this one is held against.
"""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from server.audio.samples import Audio, Samples
from server.contract.codes import ErrorCode
from server.engines import Announce, EngineSettings, TakeRequest
from server.engines.qwen.frame_cap import frame_cap
from server.engines.qwen.load.memory import (
    MIB,
    MIN_CODEC_FRAMES,
    MemoryPlan,
    ModelSizes,
    plan_memory,
    process_fraction,
    usable_memory,
)
from server.engines.qwen.load.precision import card_index
from server.engines.qwen.loop.batch import RowInput, SyncSchedule, choose_schedule
from server.engines.qwen.loop.decode_loop import DecodeLoop, FinishedRow
from server.engines.qwen.loop.incremental_decode import IncrementalDecoder
from server.engines.qwen.loop.slowdown import watch_with_record
from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.codec import Codec, Past, past_bytes
from server.engines.qwen.model.layers import LoopUnsupported
from server.engines.qwen.model.prompt_embedding import PromptWriter
from server.engines.qwen.model.sampling import Draw, Sampling
from server.engines.qwen.model.talker import Talker
from server.engines.qwen.stock import QwenEngine, place, plain_text, refuse_bad_take
from server.errors import TakeFailed, TextRefused
from server.terminal.messages import t
from server.text.languages import LANGUAGES

log = logging.getLogger("server.engines.qwen")

LOOP_VERSION = 2
"""Raised whenever the loop's sampling or its codec changes the sound of a line."""
ROWS_ON_CARD, ROWS_ON_CPU = 32, 8
"""Most lines at a time; a card's memory may allow fewer. A CPU gains little beyond eight: it then computes all the time
instead of waiting for its memory."""
CPU_PLAN = MemoryPlan(rows=ROWS_ON_CPU, cells=2**20, codec_frames=512)
LIVE_TENSORS = 6
"""As many copies of the codec's widest activation exist at once: input, output, residual, and three in the snake
activation."""
SPEEDS = "speeds.json"
"""Beside the voice clone prompts"""
CONTROL_CODES = 1024
"""The last codes of the talker's vocabulary are none of the codec's; only the end of speech may be drawn of them."""


@dataclass
class BatchedQwenEngine(QwenEngine):
    writer: PromptWriter
    loop: DecodeLoop
    codec: Codec
    past: Past
    """the codec's state behind the reference"""
    whole_reference: Tensor | None = None
    """(frames, code groups): decoded before each take, as stock does, where that is asked for"""

    def speak(self, text: str, language: str, seed: int) -> Audio:
        self.prompt(0, TakeRequest(text, language, seed))  # raises TextRefused
        waiting, heard = [(0, TakeRequest(text, language, seed))], []

        def more(_free: int) -> list[tuple[int, TakeRequest]]:
            return [waiting.pop()] if waiting else []

        self.speak_rows(more, lambda _id, take: heard.append(take), lambda _id: False)
        (take,) = heard
        if isinstance(take, TakeFailed):
            raise take
        return take

    def speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
    ) -> None:
        """Speaks rows, as many at a time as fit, until none is left and `more` gives none.

        Each row is delivered once, as soon as it is done, failed ones too; cancelled ones are not delivered. A row's
        take depends on its text and seed alone. Errors of the card are passed on: they poison the process.
        """
        with self._hearing() as hearing:
            self._speak_rows(more, deliver, is_cancelled, hearing)

    @contextmanager
    def _hearing(self) -> Iterator[IncrementalDecoder]:
        """On a card the host has nothing to do but wait: listeners think meanwhile. A CPU has no such time."""
        on_card = self.loop.batch.talker.stack.device.type == "cuda"
        executor = ThreadPoolExecutor(1, "listener") if on_card else None
        try:
            yield IncrementalDecoder(self.codec, self.past, self._go_on, executor)
        finally:
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)

    def _speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
        hearing: IncrementalDecoder,
    ) -> None:
        caps: dict[int, int] = {}

        def more_prompts(free: int) -> list[RowInput]:
            prompts: list[RowInput] = []
            while not prompts:
                rows = more(free)
                if not rows:
                    break
                for number, row in rows:
                    try:
                        prompt = self.prompt(number, row)
                    except TextRefused as refusal:
                        deliver(number, TakeFailed(refusal.code.value))
                        continue
                    caps[number] = prompt.cap
                    # Where the reference is decoded before each take, nothing can be heard on the way.
                    hearing.expect(number, row.stop if self.whole_reference is None else None)
                    prompts.append(prompt)
            return prompts

        def deliver_spoken(spoken: list[FinishedRow]) -> None:
            good: dict[int, Tensor] = {}
            for row in spoken:
                flaw = flaw_of(row, caps[row.id])
                if flaw is None or (row.finite and hearing.stopped(row.id, row.codes)):
                    good[row.id] = row.codes
                else:
                    hearing.gone(row.id)
                    deliver(row.id, TakeFailed(flaw))
            for number, samples in self._finished(good, hearing).items():
                deliver(number, checked(samples, caps.pop(number), self.codec))

        self.loop.run(more_prompts, deliver_spoken, is_cancelled, hearing)

    def _finished(self, good: dict[int, Tensor], hearing: IncrementalDecoder) -> dict[int, Samples]:
        if self.whole_reference is None:
            return hearing.finish(good)
        for number in good:
            hearing.gone(number)
        return dict(zip(good, self.decoded(list(good.values())), strict=True))

    def prompt(self, number: int, row: TakeRequest) -> RowInput:
        """Raises TextRefused."""
        spoken = plain_text(row.text, self.model.processor.tokenizer.all_special_tokens)
        if not spoken:
            raise TextRefused(ErrorCode.TEXT_EMPTY)
        if row.language.casefold() not in self.model.get_supported_languages():
            raise TextRefused(
                ErrorCode.LANGUAGE_UNKNOWN, language=row.language, languages=", ".join(LANGUAGES.values())
            )
        written = self.writer.write(spoken, row.language)
        return RowInput(number, written.prompt, written.trailing, row.seed, frame_cap(spoken, row.language))

    def decoded(self, takes: Sequence[Tensor]) -> list[Samples]:
        """The samples of whole takes, (frames, code groups) each."""
        if self.whole_reference is not None:
            return decode_whole(self.model.model.speech_tokenizer, self.whole_reference, takes)
        return [samples for samples, _ in self._go_on([(take, self.past) for take in takes])]

    def _go_on(self, rows: Sequence[tuple[Tensor, Past]]) -> list[tuple[Samples, Past]]:
        """The codec's go_on; when memory runs out in smaller pieces, and at last one row after another.

        Raises torch.OutOfMemoryError when not even that fits.
        """
        while True:
            smallest = self.codec.frames_at_once <= MIN_CODEC_FRAMES
            try:
                return self.codec.go_on(rows)
            except torch.OutOfMemoryError:
                if smallest and len(rows) <= 1:
                    raise
            # Behind the except block: while an exception is alive, so are the tensors of its frames.
            release_memory()
            if smallest:
                return [one for row in rows for one in self._go_on([row])]
            self.codec.frames_at_once = max(MIN_CODEC_FRAMES, self.codec.frames_at_once // 2)


def open_batched(settings: EngineSettings, announce: Announce) -> QwenEngine:
    """The engine with our loop, or stock's where the model is of a kind that the loop does not know.

    Raises EngineUnusable.
    """
    fraction = limit_memory(settings.device)
    stock = QwenEngine.open(settings, announce)
    try:
        return with_loop(
            stock,
            tell_log,
            rows_wanted=settings.rows,
            whole_reference=settings.codec_context == "whole",
            memory_fraction=fraction,
            speeds=Path(settings.prompt_dir) / SPEEDS if settings.prompt_dir else None,
        )
    except LoopUnsupported as difference:
        announce(t("This model is spoken one line at a time ({difference}).", difference=str(difference)))
        place(stock.model, stock.facts.device)
        return stock


def with_loop(
    stock: QwenEngine,
    tell: Announce,
    rows_wanted: int = 0,
    whole_reference: bool = False,
    use_graphs: bool | None = None,
    pace: SyncSchedule | None = None,
    memory_fraction: float = 1.0,
    speeds: Path | None = None,
) -> BatchedQwenEngine:
    """Our loop on an opened stock engine, which goes on sharing its weights.

    tell: told when memory is short, the card slow or a graph refused. rows_wanted: 0 leaves it to the device.
    whole_reference: decode the reference before every take, as stock does. memory_fraction: what this process may have
    of the card. speeds: where the best times of this machine are kept.
    Raises LoopUnsupported.
    """
    model, voice = stock.model, stock.voice[0]
    config = model.model.config.talker_config
    sampling = sampling_of(stock.sampling)
    talker = Talker(model.model.talker, config.vocab_size - CONTROL_CODES, config.codec_eos_token_id)
    predictor = CodePredictor(model.model.talker.code_predictor, 1)
    codec = Codec(model.model.speech_tokenizer, MIN_CODEC_FRAMES)
    # Not before: what cannot be spoken by the loop is spoken by stock, which needs all of it.
    slim(model)
    release_memory()
    device = talker.stack.device
    pace = pace or choose_schedule(device.type)
    past = codec.remember(voice.ref_code if voice.icl_mode else None)
    sizes = sizes_of(talker, predictor, model, pace, past_bytes(past))
    plan = choose_plan(device, sizes, rows_wanted, memory_fraction)
    predictor.resize(plan.rows)
    codec.frames_at_once = plan.codec_frames
    speed = watch_with_record(speeds, f"{card_name(device)}; {stock.facts.model}; {stock.facts.dtype}")
    loop = DecodeLoop(talker, predictor, sampling, plan, pace, tell, use_graphs, speed)
    # Lines that wait while others are spoken: a place that becomes free must not wait for the network.
    in_flight = plan.rows + max(2, plan.rows // 2)
    facts = replace(stock.facts, rows=plan.rows, in_flight=in_flight, sound=f"{stock.facts.sound}; loop {LOOP_VERSION}")
    return BatchedQwenEngine(
        facts,
        model,
        stock.voice,
        stock.sampling,
        PromptWriter(model, voice),
        loop,
        codec,
        past,
        voice.ref_code if whole_reference else None,
    )


def tell_log(phrase: str) -> None:
    """What happens while lines are spoken; `announce` is for opening only, its listener has gone by then."""
    print(phrase, file=sys.stderr, flush=True)


def sampling_of(settings: dict[str, bool | int | float]) -> Sampling:
    """Raises LoopUnsupported."""

    def draw(prefix: str, do_sample: str) -> Draw:
        return Draw(
            bool(settings[do_sample]),
            float(settings[f"{prefix}temperature"]),
            int(settings[f"{prefix}top_k"] or 0),
            float(settings[f"{prefix}top_p"] or 1.0),
        )

    first, rest = draw("", "do_sample"), draw("subtalker_", "subtalker_dosample")
    penalty = float(settings["repetition_penalty"] or 1.0)
    if penalty < 1.0:  # the loop's one minimum of two products is the penalty only from 1 on
        raise LoopUnsupported(f"repetition penalty {penalty}")
    return Sampling(first, rest, penalty)


def flaw_of(row: FinishedRow, cap: int) -> str | None:
    """Why these codes need not be decoded, as a short English phrase."""
    if not row.finite:
        return "audio that is not finite"
    if not row.ended:
        return f"frame cap of {cap} reached"
    return None if len(row.codes) else "no audio"


def checked(samples: Samples, cap: int, codec: Codec) -> Audio | TakeFailed:
    try:
        refuse_bad_take(samples, cap, codec.samples_per_frame)
    except TakeFailed as failure:
        return failure
    return Audio(samples, codec.sample_rate)


def decode_whole(tokenizer: Any, reference: Tensor, takes: Sequence[Tensor]) -> list[Samples]:
    """As stock: reference and take together, one after another, the reference's samples thrown away."""
    found = []
    for take in takes:
        codes = torch.cat((reference, take.to(reference.device)))
        waves, _ = tokenizer.decode([{"audio_codes": codes}])
        found.append(np.asarray(waves[0][len(reference) * tokenizer.get_decode_upsample_rate() :], np.float32))
    return found


def slim(model: Any) -> None:
    """Takes off the card what speaking does not need: the encoders, and the text embedding, of which a line reads a few
    rows. The voice clone prompt must exist."""
    model.model.speaker_encoder = None
    model.model.speech_tokenizer.model.encoder = None
    model.model.talker.model.text_embedding.to("cpu")


def sizes_of(talker: Talker, predictor: CodePredictor, model: Any, pace: SyncSchedule, heard_bytes: int) -> ModelSizes:
    """heard_bytes: what the codec keeps of a row that is heard while it is spoken."""
    decoder = model.model.speech_tokenizer.model.decoder
    noise = talker.tokens + predictor.codes * predictor.tokens
    # The noise itself, and four 64-bit stages of it while it is made.
    row_bytes = noise * pace.noise_frames * (4 + 4 * 8) + predictor.stack.bytes_per_column() * (predictor.codes + 1)
    row_bytes += heard_bytes
    widest = decoder.config.decoder_dim // 2 ** len(decoder.config.upsample_rates)
    samples = int(model.model.speech_tokenizer.get_decode_upsample_rate())
    return ModelSizes(talker.stack.bytes_per_column(), row_bytes, widest * samples * 4 * LIVE_TENSORS)


def card_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def choose_plan(device: torch.device, sizes: ModelSizes, rows_wanted: int, memory_fraction: float) -> MemoryPlan:
    if device.type != "cuda":
        return replace(CPU_PLAN, rows=rows_wanted or ROWS_ON_CPU)
    release_memory()
    free, total = torch.cuda.mem_get_info(device)
    taken, reserved = torch.cuda.memory_allocated(device), torch.cuda.memory_reserved(device)
    usable = usable_memory(free, total, taken, reserved, memory_fraction)
    plan = plan_memory(sizes, usable, rows_wanted or ROWS_ON_CARD)
    log.info(
        "memory of the card: %d MiB free of %d, %d taken, %d reserved, %d usable; %s",
        *(size // MIB for size in (free, total, taken, reserved, usable)),
        plan,
    )
    return plan


def limit_memory(device: str) -> float:
    """Caps what this process may take of the card, before the model is on it; returns that share of the card."""
    if device.strip().casefold() == "cpu" or not torch.cuda.is_available():
        return 1.0
    index = card_index(device)
    if index >= torch.cuda.device_count():
        return 1.0  # open() says what is wrong
    # Streams, graphs and kernels that ask for "the current device" mean this one.
    torch.cuda.set_device(index)
    # cuDNN's attention makes a plan for every new shape, and nearly every prompt has a new one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    fraction = process_fraction(*torch.cuda.mem_get_info(index))
    torch.cuda.set_per_process_memory_fraction(fraction, index)
    return fraction


def release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
