"""Which entry of docs/en/troubleshooting.md and docs/ko/troubleshooting.md helps with which error.

Holds headings only, and knows errors by their names: those of both programs are listed, and none is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from server.terminal.messages import current_language, t


@dataclass(frozen=True)
class Entry:
    english: str
    """Heading in docs/en/troubleshooting.md."""
    korean: str
    """Heading in docs/ko/troubleshooting.md."""


_KEY = Entry('"The key is missing or wrong" (401)', '"키가 없거나 틀렸습니다" (401)')
_SENTENCE = Entry("A line fails again and again", "한 문장이 자꾸 실패할 때")
_ENGINE_DIED = Entry("After a CUDA error: how does the server recover?", "CUDA 오류가 난 뒤에는 어떻게 복구하나요?")
_DOWNLOAD = Entry(
    'The model is not downloaded: "could not be downloaded", "trying again in ... s"',
    '모델 다운로드 실패: "내려받지도 못했습니다", "...초 뒤에 다시 시도합니다"',
)
_DISK = Entry(
    '"There is too little room for this script", "The disk is full" (exit code 7)',
    '"이 대본을 저장할 자리가 모자랍니다", "디스크가 가득 차서" (종료 코드 7)',
)

ENTRIES: Mapping[str, Entry] = MappingProxyType(
    {
        # Error codes of an answer.
        "unauthorized": _KEY,
        "host_unknown": Entry(
            '"This server is not known by the name ..." (421)', '"이 서버는 ...(이)라는 이름을 모릅니다" (421)'
        ),
        "kanji_unreadable": Entry(
            '"Draft speech cannot read the kanji in this line"',
            '"드래프트(연습용 로봇) 음성은 이 문장의 일본어 한자를 읽지 못합니다"',
        ),
        "text_unspeakable": _SENTENCE,
        "text_too_long": _SENTENCE,
        "take_failed": _SENTENCE,
        "deadline": _SENTENCE,
        "worker_died": _ENGINE_DIED,
        "poison_input": _ENGINE_DIED,
        # The client's exceptions, by the name of their class.
        "ServerAway": Entry(
            'The narrator\'s PC cannot connect ("does not answer")',
            '작업 PC에서 접속이 안 될 때 ("서버가 응답하지 않습니다")',
        ),
        "NotAServer": Entry(
            '"Something answers at ..., but it is not a voice-server"', '"... 응답이 왔지만 voice-server가 아닙니다"'
        ),
        "KeyRefused": _KEY,
        "DraftRefused": Entry(
            '"This server speaks only DRAFT" (exit code 6)', '"이 서버는 드래프트(DRAFT) 음성만 만듭니다" (종료 코드 6)'
        ),
        "VoiceChanged": Entry(
            '"finished lines ... were spoken by another voice"',
            '"지금 서버의 목소리와 다른 목소리로 만든 문장이 ...개 있습니다"',
        ),
        "FolderBusy": Entry('"Another narrate is at work in ..."', '"다른 narrate가 ... 폴더에서 작업하고 있습니다"'),
        "RecordsLost": Entry(
            '"... holds recordings, but ... are all lost or damaged"',
            '"폴더에 녹음은 있지만 ... 기록이 모두 없거나 망가져서"',
        ),
        "DiskUnusable": _DISK,
        "FileHeld": Entry(
            '"Another program holds ..."',
            '"다른 프로그램(편집기, 백신, 동기화 프로그램)이 ... 파일을 쓰고 있습니다"',
        ),
        "LineLost": _SENTENCE,
        # The server's.
        "PortTaken": Entry(
            '"cannot listen at ...:7860", "Port 7860 is in use"',
            '"...:7860 주소에서 접속을 받을 수 없습니다", "포트 7860번은 이미 사용 중입니다"',
        ),
        "EngineBroken": _ENGINE_DIED,
        "NoGpu": Entry(
            '"Torch not compiled with CUDA enabled", "No GPU can be used: torch ... is the CPU build"',
            '"Torch not compiled with CUDA enabled", '
            '"그래픽 카드를 사용할 수 없습니다. 이 PC의 torch ... CPU용 빌드입니다"',
        ),
        "NoGpuCode": Entry(
            '"no kernel image is available", "This build of torch has no code for the GPU"',
            '"no kernel image is available", "이 torch 빌드에는 그래픽 카드 ...용 코드가 없습니다"',
        ),
        "ModelNotDownloaded": _DOWNLOAD,
        "ModelDamaged": _DOWNLOAD,
    }
)
"""Error code, or name of an exception's class, to its entry. An error without an entry is not in here."""


def entry_for(*names: str) -> Entry | None:
    """The entry of the first name that has one; a code before a class, a class before its bases."""
    return next((ENTRIES[name] for name in names if name in ENTRIES), None)


def entry_of(error: BaseException) -> Entry | None:
    """By the error's code, then by its class and bases; an error without an entry may have a cause with one."""
    now: BaseException | None = error
    while now is not None:
        code = getattr(now, "code", None)
        codes = [code] if isinstance(code, str) else []
        if entry := entry_for(*codes, *(each.__name__ for each in type(now).__mro__)):
            return entry
        now = now.__cause__
    return None


def see_sentence(error: BaseException) -> str | None:
    """Where the reader finds what to do; None for an error without an entry."""
    entry = entry_of(error)
    if entry is None:
        return None
    title = entry.korean if current_language() == "ko" else entry.english
    return t("See docs/en/troubleshooting.md: {title}", title=title)


def with_entry(error: BaseException) -> str:
    """The error's sentence and, on a line of its own, the entry."""
    see = see_sentence(error)
    return f"{error}\n{see}" if see else str(error)
