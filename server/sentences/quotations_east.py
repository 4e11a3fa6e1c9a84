"""Whether a sentence goes on behind a quotation in Korean, Japanese or Chinese."""

from __future__ import annotations

import re

from server.sentences.place import Place, is_hangul, is_speakable, is_wide
from server.sentences.words import word_set


def clause_of(text: str) -> str:
    """Up to the next stop mark or comma, that one included."""
    found = re.match(r"[^.?!…。？！，,：:]*[.?!…。？！，,：:]?", text)
    return found[0] if found else ""


_KO_PARTICLE = re.compile(
    r"(?:이?라(?:고|며|면서|는|던|니|기|서)|이?란|고|며|는|은|이|가|을|를|의|에|와|과|도|만|로|으로|처럼|같은|까지|부터)(?:\s|[,.])"
)

# What follows a quotation with 하다: 하자, 하더니, 했다. Not 하지만, 하나, 하늘; not 한 남자 nor 해가.
_KO_HA = re.compile(
    r"(?:하(?:고(?:는|선|도|서)?|며|면서?|자(?:마자)?|더(?:니|라|라도|군|라고)|던(?:데)?|니까|니|길래|기(?:에|도|만|까지)?|는(?:데)?"
    r"|다가|여|였다|였고|였지만|시(?:며|면서|더니|자|고|니|는|던|길래|기에|면|다가)|셨(?:다|고|지만|는데|습니다|어요|죠|더니)"
    r"|신|듯이?|려(?:다|고|는|던)|라는|거나|든지?|냐고?|더라도|도록|네|죠|지)"
    r"|했(?:다|습니다|어요|지만|지|는데|더니|던|고|으나|을|단다|대|죠|기에|다고|다는|다며|다가|네|었다|거든요?)"
    r"|한(?:다|단다|다고|다는|다면|다며)|한\s(?:뒤|후|채|것|말|마디|번)[가-힣]*|할\s(?:때|뿐|줄|수|정도|만)[가-힣]*"
    r"|싶[가-힣]+|해(?:서|도|요|야|라)|합니다|합니까|하겠(?:다|습니다|지만|어요|지)|하십니다)(?=[\s,.!?…]|$)(?!\s수\s없이)"
)

_KO_VOICE = (
    r"(?:소리|외침|고함|함성|비명|한마디|목소리|대답|질문|물음|명령|인사|구호|탄성|환호|환호성|절규|호통|꾸중|속삭임|말소리|"
    r"노래|문구|글귀|글자|팻말|메시지|자막|안내문|표지판|간판|안내\s?방송|응답|제안|농담|잔소리|부탁|당부|말씀|말|말투|표정|식|"
    r"감탄|탄식|한숨|웃음|웃음소리|울음|울음소리|박수|야유|욕설|불평|칭찬|노랫소리|발표|선언|고백|변명|핀잔)"
)

_KO_VOICED = re.compile(
    _KO_VOICE + r"(?:에|과|와|로|으로|까지|처럼|을|를|에서|에도|만)\s"
    r"|(?:[가-힣]+[의은는운한린]\s){0,2}" + _KO_VOICE + r"(?:이|가|도|만|은|는)\s(?:[가-힣]+\s){0,3}[가-힣]*"
    r"(?:들리|들렸|들려|울리|울렸|울려|터지|터졌|터져|나오|나왔|나와|쏟아|이어지|이어졌|돌아왔|돌아오|퍼지|퍼졌|번졌|번지|새어|날아|"
    r"끊이|끝나|오가|오갔|떠오르|떠올랐|적혀|적힌|쓰여|쓰인|보이|보였|붙어|걸려|메아리|귀에|맴돌|흘러)"
    r"|한마디(?:뿐|였|가|로|면)"
)

_KO_SAY = (
    r"(?:외치|외쳤|외침|외친|외쳐|소리\s?(?:를\s)?(?:치|쳤|친|쳐|지르|질렀|질러)|말하|말했|말한|말해|말씀하|대답하|대답했|답하|답했|"
    r"(?<!다)묻|(?<!다)물었|(?<!다)물으|(?<!다)물어|되묻|되물|캐묻|캐물|속삭이|속삭였|속삭여|중얼거리|중얼거렸|중얼대|덧붙이|덧붙였|"
    r"반문하|반문했|부르짖|고함치|고함쳤|고함을\s지|울부짖|투덜거리|투덜거렸|투덜대|재촉하|재촉했|타이르|타일렀|다그치|다그쳤|따지|따졌|"
    r"쏘아붙이|쏘아붙였|윽박지르|윽박질렀|읊조리|읊조렸|감탄하|감탄했|탄식하|탄식했|내뱉|애원하|애원했|호소하|호소했|"
    r"설명하|설명했|털어놓|인사하|인사했|장담하|장담했|사과하|사과했|생각하|생각했|느꼈|여겼|되뇌|다짐하|다짐했|기도하|기도했|농담하|농담했|혼잣말하|혼잣말했)"
)

_KO_SAID = re.compile(
    rf"{_KO_SAY}(?!지\s?(?:않|못|말))[가-힣]*(?=[\s,.!?…]|$)(?!\s(?:않|못|말))"
    rf"|(?:[가-힣\w]+\s){{0,2}}[가-힣\w]+(?:이|가|은|는|도|께서|들이)\s(?:[가-힣]+(?:게|히|로|서|며|고|도록|듯이?|이)\s){{0,2}}{_KO_SAY}"
    r"(?:며|면서|자|자마자|고|고는|더니|는데|지만|었고|였고|했고|자고)(?=[\s,])"
)

_KO_SPEECH = re.compile(
    r"(?:[가-힣\w]+\s){0,4}"
    r"(?:[가-힣]*(?:(?<!다)물었|말했|외쳤|대답했|소리쳤|속삭였|답했|중얼거렸|덧붙였|반문했|부르짖었|설명했|털어놓았|소리질렀|되물었|투덜거렸"
    r"|쏘아붙였|(?<!배)불렀|울부짖었|읊조렸|내뱉었|타일렀|다그쳤)(?:다|습니다|어요|죠|지)"
    r"|[가-힣]*(?:물으셨|말씀하셨|대답하셨|외치셨|타이르셨)(?:다|습니다|어요|죠))$"
)

_KO_QUOTATIONS = re.compile(r"(?:[“\"‘'「『][^“”\"‘’'「」『』]{1,80}[”\"’'」』][,\s]*)+")

_KO_CITED = re.compile(r"(?:이?라(?:고|는|며|면서)|이?란|는|고|며|던|든가)\s")

_KO_TO_NEXT = re.compile(r"(?:다음(?:에는?|으로)?|뒤에|이어서?|아니면|또는|혹은|그리고|다시)\s[“\"‘'「『]")
"""“왜?” 다음에 “어떻게?”를 묻는다."""


def continues_in_korean(place: Place) -> bool:
    if not place.gap:
        return is_hangul(place.rest[0])  # 이라고, 라는, 를 …: particles are written to the quote
    return _goes_on_in_korean(place.rest) or _KO_TO_NEXT.match(place.rest) is not None


def _goes_on_in_korean(rest: str) -> bool:
    clause = clause_of(rest).rstrip(".!?…, ")
    forms = (_KO_PARTICLE, _KO_HA, _KO_VOICED, _KO_SAID)
    return any(form.match(rest) for form in forms) or _KO_SPEECH.fullmatch(clause) is not None


def is_cited_in_korean(place: Place) -> bool:
    """`긴장이 감돌았다…는 말`: a particle written to the mark."""
    return place.code == "ko" and not place.gap and _KO_CITED.match(place.rest) is not None


def leads_to_korean_quotations(place: Place) -> bool:
    """`아이들이 “꽃이요!” “나비요!” 하고 외쳤다.`: quotations side by side that one verb reports."""
    embedded = is_speakable(place.before_bracket)
    quotations = _KO_QUOTATIONS.match(place.rest)
    if place.code != "ko" or not embedded or not quotations:
        return False
    behind = place.rest[quotations.end() :]
    return _KO_PARTICLE.match(behind) is not None or _KO_HA.match(behind) is not None


_JA_TO = re.compile(
    r"と(?!ころ|ても|っても|にかく|りあえず|もかく|もあれ|ある|はいえ|は言え|(?:いう|言う)(?:わけ|こと)で|いっても|き(?!い[たて]|きまし)|うとう|びきり)"
)

_JA_PARTICLE = re.compile(
    r"って(?!こと|か)|など|を"
    r"|[がにはものへ](?=[\u4e00-\u9fff\u30a1-\u30fa「『“A-Za-z0-9０-９])|は、"
    r"|の(?![\u4e00-\u9fff]|ち|んび|っ|ど|び|ぞ|ろ|り)|が(?!んば|っ|、|む|つ|ち|ら)|は(?=と|す|ど|こ|ま)"
)

# Behind a closing bracket small words in hiragana are particles, but for words that begin alike: にっこり, もう.
_JA_PARTICLE_QUOTED = re.compile(
    r"に(?!っこ|やり|やに|こに|わか|ぎや|んま|ちゃ|せ|こり|んじ)|も(?!う|ち|し|っ|と[もよ]|ど|の|り|や|ら|ぞ|じ|ぐ)|へ(?!え|い|ん|と|た|ら|っ)"
    r"|から(?!から|す|だ|っ)|まで(?=[\u4e00-\u9fffぁ-ゖ、])|より(?!に|そ|か)|だけ|しか(?=[\u4e00-\u9fff])|ばかり|ほど|くらい|ぐらい|なら(?!、)"
    r"|みたい|のよう|らし[いく]|なの(?=か|で|に|だ)|とか|や(?=「|『)|といった|という|ごっこ|さえ|こそ"
    r"|で(?=は[\u4e00-\u9fff]|も[\u4e00-\u9fff]|あ[っるりろ]|し[たょ])"
)

_JA_COPULA = re.compile(
    r"(?:です|でした|だった|だと|だ(?=[。、！？]|ろう|よ[。ね]|ね[。、]|な[。と]|けど)|である|じゃない|なんて(?:言|思|聞|声|こと))"
)

_JA_SPEECH = re.compile(
    r"[^。！？、「」を]{0,10}(?:聞い|訊い|言っ|叫ん|尋ね|たずね|答え|つぶやい|呟い|ささやい|囁い|怒鳴っ|問いかけ|返し)(?:た|ました)[。、]?"
)


def continues_in_japanese(place: Place, *, quoted: bool) -> bool:
    """A particle never begins a sentence: `「本当？」と聞いた`, and `モーニング娘。の新曲` too."""
    if place.code != "ja" or (place.gap and not quoted):
        return False
    rest = place.rest
    if _JA_TO.match(rest) or _JA_PARTICLE.match(rest):
        return True
    if not quoted:
        return False
    if not place.gap and _JA_PARTICLE_QUOTED.match(rest):
        return True
    return bool(re.match(r"で(?=[\u4e00-\u9fff\u30a1-\u30fa])", rest) or _JA_COPULA.match(rest)) or bool(
        _JA_SPEECH.fullmatch(clause_of(rest))
    )


_ZH_SPEECH = re.compile(
    r"[^。！？，：“”「」]{0,8}?"
    r"(?:[说說问問喊叫答笑叹嘆吼嚷骂罵哭吩咐]道|[说說问問喊叫答嚷吼]|回答|回应|解释|解釋|补充|補充|追问|追問|反问|反問|嘀咕|感叹|感嘆)"
    r"(?:[着了过著過])?(?:[我你他她](?:们|們)?|大家)?[。！？，…]?"
)

_ZH_BETWEEN = re.compile(r"[^。！？，：“”「」]{1,12}，[“「]")
"""“不行。”老板摇摇头，“太晚了。”"""

_ZH_PRONOUN = re.compile(r"[我你他她它咱]|大家|所有人")

_ZH_CONTINUES = re.compile(
    r"的|是(?![的吗嗎啊呀，。])|这[个個句样種种一]|這[個句樣種一]|那[个個句]|然后|然後|于是|於是|便|就|并|並|却|而|等|之[类類]|一[声聲句]"
)


def continues_in_chinese(place: Place) -> bool:
    rest = place.rest
    if _ZH_CONTINUES.match(rest) or _ZH_BETWEEN.match(rest):
        return True
    before = place.before_bracket
    introduced = before.endswith(("：", ":"))
    clause = clause_of(rest)
    # `…”她问：“…` names the next speaker.
    if not introduced and not clause.endswith(("：", ":")) and _ZH_SPEECH.fullmatch(clause):
        return True
    # A quotation that no mark introduces is a part of its sentence, unless a verb of speech stands before it.
    embedded = is_wide(before[-1:] or " ")
    spoken = re.search(r"[说說问問喊叫答道]([着著]?)$", before)
    return embedded and not (spoken and (not spoken[1] or _ZH_PRONOUN.match(rest)))


GOES_ON_QUOTING = {"ko": word_set("라고 이라고 라며 라면서 라는 이라는 하고")}
