"""The qwen engine with a decode loop of our own: several lines at a time, on the stock model's modules and weights.

Imports torch: only `open_qwen` imports this module, in the worker. ENGINE_LOOP=stock takes the engine of stock.py
instead, against which tests compare this one.
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
from server.engines.qwen.loop.incremental_decode import IncrementalDecoder, TakeDecoder, WholeReferenceDecoder
from server.engines.qwen.loop.slowdown import watch_with_record
from server.engines.qwen.model.code_predictor import CodePredictor
from server.engines.qwen.model.codec import Codec, CodecState, state_bytes
from server.engines.qwen.model.input_embedding import InputEmbedder
from server.engines.qwen.model.layers import LoopUnsupported
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
"""Most lines at a time; a card's memory may allow fewer. A CPU gains little beyond eight rows: arithmetic then takes
longer than reading the weights."""
CPU_PLAN = MemoryPlan(rows=ROWS_ON_CPU, cells=2**20, codec_frames=512)
LIVE_TENSORS = 6
"""Copies of the codec's widest activation that exist at once: input, output, residual, and three in the snake
activation."""
SPEEDS_FILE = "speeds.json"
"""Lies beside the voice clone prompts."""
CONTROL_CODES = 1024
"""The last entries of the talker's vocabulary are no codec codes; of them only the end of speech may be drawn."""


@dataclass
class BatchedQwenEngine(QwenEngine):
    embedder: InputEmbedder
    loop: DecodeLoop
    codec: Codec
    reference: CodecState
    """the codec's state behind the reference"""
    whole_reference: Tensor | None = None
    """(frames, code groups): decoded before each take, as stock does; None goes on from `reference`"""

    def speak(self, text: str, language: str, seed: int) -> Audio:
        request = TakeRequest(text, language, seed)
        self.row_input(0, request)  # raises TextRefused
        waiting, takes = [(0, request)], []

        def more(_free: int) -> list[tuple[int, TakeRequest]]:
            return [waiting.pop()] if waiting else []

        self.speak_rows(more, lambda _id, take: takes.append(take), lambda _id: False)
        (take,) = takes
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

        Each row is delivered once, as soon as it is done, failed ones too; cancelled rows are not delivered. A row's
        take depends on its text and seed alone. CUDA errors are passed on: they poison the process.
        """
        with self._take_decoder() as decoder:
            self._speak_rows(more, deliver, is_cancelled, decoder)

    @contextmanager
    def _take_decoder(self) -> Iterator[TakeDecoder]:
        if self.whole_reference is not None:
            yield WholeReferenceDecoder(self.model.model.speech_tokenizer, self.whole_reference)
            return
        # On a card the host mostly waits, so stop conditions are asked in a thread. On a CPU a thread would only take
        # time from the loop.
        on_card = self.loop.batch.talker.layers.device.type == "cuda"
        executor = ThreadPoolExecutor(1, "stop-condition") if on_card else None
        try:
            yield IncrementalDecoder(self.codec, self.reference, self._decode_next, executor)
        finally:
            if executor is not None:
                executor.shutdown(wait=False, cancel_futures=True)

    def _speak_rows(
        self,
        more: Callable[[int], Sequence[tuple[int, TakeRequest]]],
        deliver: Callable[[int, Audio | TakeFailed], None],
        is_cancelled: Callable[[int], bool],
        decoder: TakeDecoder,
    ) -> None:
        def more_inputs(free: int) -> list[RowInput]:
            inputs: list[RowInput] = []
            while not inputs:
                requests = more(free)
                if not requests:
                    break
                for number, request in requests:
                    try:
                        inputs.append(self.row_input(number, request))
                    except TextRefused as refusal:
                        deliver(number, TakeFailed(refusal.code.value))
                        continue
                    decoder.expect(number, request.stop)
            return inputs

        def deliver_finished(rows: list[FinishedRow]) -> None:
            good: dict[int, FinishedRow] = {}
            for row in rows:
                flaw = flaw_of(row)
                if flaw is None or (row.finite and decoder.is_met(row.id, row.codes)):
                    good[row.id] = row
                else:
                    decoder.drop(row.id)
                    deliver(row.id, TakeFailed(flaw))
            for number, samples in decoder.finish({row.id: row.codes for row in good.values()}).items():
                deliver(number, checked(samples, good[number].cap, self.codec))

        self.loop.run(more_inputs, deliver_finished, is_cancelled, decoder)

    def row_input(self, number: int, request: TakeRequest) -> RowInput:
        """Raises TextRefused."""
        text, language = plain_text(request.text, self.model.processor.tokenizer.all_special_tokens), request.language
        if not text:
            raise TextRefused(ErrorCode.TEXT_EMPTY)
        if language.casefold() not in self.model.get_supported_languages():
            raise TextRefused(ErrorCode.LANGUAGE_UNKNOWN, language=language, languages=", ".join(LANGUAGES.values()))
        embedded = self.embedder.embed(text, language)
        return RowInput(number, embedded.prefill, embedded.trailing, request.seed, frame_cap(text, language))

    def decoded(self, takes: Sequence[Tensor]) -> list[Samples]:
        """The samples of whole takes, (frames, code groups) each."""
        numbered = dict(enumerate(takes))
        with self._take_decoder() as decoder:
            for number in numbered:
                decoder.expect(number, None)
            samples = decoder.finish(numbered)
        return [samples[number] for number in numbered]

    def _decode_next(self, rows: Sequence[tuple[Tensor, CodecState]]) -> list[tuple[Samples, CodecState]]:
        """The codec's decode_next; where memory runs out, in smaller pieces, and at last one row after another.

        Raises torch.OutOfMemoryError when not even that fits.
        """
        while True:
            smallest = self.codec.frames_at_once <= MIN_CODEC_FRAMES
            try:
                return self.codec.decode_next(rows)
            except torch.OutOfMemoryError:
                if smallest and len(rows) <= 1:
                    raise
            # After the except block: while an exception is alive, so are the tensors of its frames.
            release_memory()
            if smallest:
                return [one for row in rows for one in self._decode_next([row])]
            self.codec.frames_at_once = max(MIN_CODEC_FRAMES, self.codec.frames_at_once // 2)


def open_batched(settings: EngineSettings, announce: Announce) -> QwenEngine:
    """The engine with our loop; the stock engine where the loop does not support the model.

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
            speeds_file=Path(settings.prompt_dir) / SPEEDS_FILE if settings.prompt_dir else None,
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
    schedule: SyncSchedule | None = None,
    memory_fraction: float = 1.0,
    speeds_file: Path | None = None,
) -> BatchedQwenEngine:
    """Our loop on an opened stock engine, whose weights it shares.

    tell: called when memory is short, the card has become slow, or a graph cannot be captured. rows_wanted: most rows;
    0 leaves it to the device. whole_reference: decode the reference before every take, as stock does. use_graphs,
    schedule: None leaves them to the device. memory_fraction: share of the card that this process may take.
    speeds_file: where the best times of this machine are kept; None keeps none.
    Raises LoopUnsupported.
    """
    model, voice = stock.model, stock.voice[0]
    config = model.model.config.talker_config
    sampling = sampling_of(stock.sampling)
    talker = Talker(model.model.talker, config.vocab_size - CONTROL_CODES, config.codec_eos_token_id)
    predictor = CodePredictor(model.model.talker.code_predictor, 1)
    codec = Codec(model.model.speech_tokenizer, MIN_CODEC_FRAMES)
    # Not earlier: a model that the loop does not support is spoken by stock, which needs all of its modules.
    slim(model)
    release_memory()
    device = talker.layers.device
    schedule = schedule or choose_schedule(device.type)
    reference = codec.state_after(voice.ref_code if voice.icl_mode else None)
    sizes = sizes_of(talker, predictor, model, schedule, state_bytes(reference))
    plan = choose_plan(device, sizes, rows_wanted, memory_fraction)
    predictor.resize(plan.rows)
    codec.frames_at_once = plan.codec_frames
    watch = watch_with_record(speeds_file, f"{card_name(device)}; {stock.facts.model}; {stock.facts.dtype}")
    loop = DecodeLoop(talker, predictor, sampling, plan, schedule, tell, use_graphs, watch)
    # More lines than rows: a row that becomes free must not wait for the network.
    in_flight = plan.rows + max(2, plan.rows // 2)
    facts = replace(stock.facts, rows=plan.rows, in_flight=in_flight, sound=f"{stock.facts.sound}; loop {LOOP_VERSION}")
    return BatchedQwenEngine(
        facts,
        model,
        stock.voice,
        stock.sampling,
        InputEmbedder(model, voice),
        loop,
        codec,
        reference,
        voice.ref_code if whole_reference else None,
    )


def tell_log(phrase: str) -> None:
    """To stderr, which the parent logs: `announce` works only while the engine opens."""
    print(phrase, file=sys.stderr, flush=True)


def sampling_of(settings: dict[str, bool | int | float]) -> Sampling:
    """The loop's form of stock's settings; 0 or nothing for top_k and top_p keeps all tokens.

    Raises LoopUnsupported.
    """

    def draw(prefix: str, do_sample: str) -> Draw:
        return Draw(
            bool(settings[do_sample]),
            float(settings[f"{prefix}temperature"]),
            int(settings[f"{prefix}top_k"] or 0),
            float(settings[f"{prefix}top_p"] or 1.0),
        )

    first, rest = draw("", "do_sample"), draw("subtalker_", "subtalker_dosample")
    penalty = float(settings["repetition_penalty"] or 1.0)
    if penalty < 1.0:  # `penalised` is right only from 1 on
        raise LoopUnsupported(f"repetition penalty {penalty}")
    return Sampling(first, rest, penalty)


def flaw_of(row: FinishedRow) -> str | None:
    """Why this row's codes need not be decoded, as a short English phrase; None for a good row."""
    if not row.finite:
        return "audio that is not finite"
    if not row.ended:
        return f"frame cap of {row.cap} reached"
    return None if len(row.codes) else "no audio"


def checked(samples: Samples, cap: int, codec: Codec) -> Audio | TakeFailed:
    try:
        refuse_bad_take(samples, cap, codec.samples_per_frame)
    except TakeFailed as failure:
        return failure
    return Audio(samples, codec.sample_rate)


def slim(model: Any) -> None:
    """Frees the encoders, and moves the text embedding to RAM, since a line reads only a few of its vectors.

    The voice clone prompt must have been made: it needs the encoders.
    """
    model.model.speaker_encoder = None
    model.model.speech_tokenizer.model.encoder = None
    model.model.talker.model.text_embedding.to("cpu")


def sizes_of(
    talker: Talker, predictor: CodePredictor, model: Any, schedule: SyncSchedule, codec_bytes: int
) -> ModelSizes:
    """codec_bytes: the codec's state of one row."""
    decoder = model.model.speech_tokenizer.model.decoder
    noise = talker.tokens + predictor.codes * predictor.tokens
    # The float32 noise, and four 64-bit tensors while it is made.
    row_bytes = noise * schedule.noise_frames * (4 + 4 * 8)
    row_bytes += predictor.layers.bytes_per_column() * (predictor.codes + 1) + codec_bytes
    widest = decoder.config.decoder_dim // 2 ** len(decoder.config.upsample_rates)
    samples = int(model.model.speech_tokenizer.get_decode_upsample_rate())
    return ModelSizes(talker.layers.bytes_per_column(), row_bytes, widest * samples * 4 * LIVE_TENSORS)


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
    """Limits this process to the memory of the card that is free now, less a reserve; returns the share of the card.

    To be called before the model is on the card. Returns 1.0 without a card.
    """
    if device.strip().casefold() == "cpu" or not torch.cuda.is_available():
        return 1.0
    index = card_index(device)
    if index >= torch.cuda.device_count():
        return 1.0  # open() says what is wrong
    # Streams, graphs and some kernels use the current device.
    torch.cuda.set_device(index)
    # cuDNN's attention makes a plan for every new shape, and nearly every prefill has a new one.
    torch.backends.cuda.enable_cudnn_sdp(False)
    fraction = process_fraction(*torch.cuda.mem_get_info(index))
    torch.cuda.set_per_process_memory_fraction(fraction, index)
    return fraction


def release_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
