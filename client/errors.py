"""The client's exceptions; each one's text is a whole sentence in the reader's language.

ClientError            the command cannot go on
+-- DraftRefused       the server speaks draft and --draft was not given
+-- VoiceChanged       this folder holds another voice
+-- FolderBusy         another narrate is at work in this folder
+-- ScriptReplaced     the file of a remembered run holds another script now
+-- RecordsLost        a folder holds recordings and no record of which sentence each one speaks
+-- DiskUnusable       the folder cannot be written: full, read-only, gone
|   +-- FileHeld       another program holds a file, and did not let go of it in time
+-- ServerError        what came back from the server, or did not
    +-- ServerAway     no answer: it may come back
    +-- ServerBusy     not now: it said when to ask again
    +-- KeyRefused     every line would be refused
    +-- LineRefused    this line will never be taken
    +-- LineLost       the connection broke at this line again and again
    +-- TakeRejected   this take is no good; another seed may be
    +-- NotAServer     something else answers at that address
server.script.errors.ScriptError and NameRefused stand beside these.
"""

from __future__ import annotations

from server.terminal.exit_codes import ExitCode


class ClientError(Exception):
    exit_code = ExitCode.ERROR


class DraftRefused(ClientError):
    exit_code = ExitCode.VOICE


class VoiceChanged(ClientError):
    exit_code = ExitCode.VOICE


class FolderBusy(ClientError):
    pass


class RecordsLost(ClientError):
    pass


class ScriptReplaced(ClientError):
    pass


class DiskUnusable(ClientError):
    exit_code = ExitCode.DISK


class FileHeld(DiskUnusable):
    pass


class ServerError(ClientError):
    exit_code = ExitCode.SERVER


class ServerAway(ServerError):
    pass


class ServerBusy(ServerError):
    def __init__(self, sentence: str, retry_after_s: float) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class KeyRefused(ServerError):
    exit_code = ExitCode.KEY


class LineRefused(ServerError):
    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class LineLost(ServerError):
    pass


class TakeRejected(ServerError):
    def __init__(self, sentence: str, code: str) -> None:
        super().__init__(sentence)
        self.code = code


class NotAServer(ServerError):
    pass
