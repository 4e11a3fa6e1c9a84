"""Tables of the sentence splitter: abbreviations, words that begin sentences, units."""

from __future__ import annotations

import re
from dataclasses import dataclass


def word_set(text: str) -> frozenset[str]:
    """The words of a text that are separated by white space."""
    return frozenset(text.split())


UNITS = word_set("h m km cm mm g kg mg l ml w kw kwh mah gb mb tb")

RU_UNITS = word_set("мм см м км кг мг л руб коп мин сек тыс млн млрд чел шт")

CLOCK = word_set("h hs hrs min")
"""Units that a number may follow: 8 h. 30"""

KO_LETTERED = re.compile(
    r"(?:비타민|플랜|등급|학점|옵션|타입|그룹|코스|파트|보기|정답|답은|시리즈|[가-힣]형|[가-힣]조|팀|반)\s[A-Z]$"
)
"""비타민 C. ends a sentence, 작가 J. is half of a name."""


@dataclass(frozen=True)
class _Abbreviations:
    """Abbreviations in small letters, without their last full stop and without spaces between their parts."""

    leading: frozenset[str]
    """Never at the end of a sentence: Dr., z. B."""
    numbered: frozenset[str]
    """An abbreviation only before a number: No. 1, S. 12"""
    closing: frozenset[str]
    """A capital after it begins a sentence: etc."""
    either: frozenset[str]
    """A capital after it may be a name or a new sentence, and the next word decides: 5 p. m., EE. UU., 1799 г."""
    endings: tuple[str, ...] = ()
    """Like `either`, as the end of a compound: Hauptstr."""


WORDS_AFTER_ALL = {
    "de": word_set("mag ass art bis al"),
    "fr": word_set("vol sous dir sup al ex"),
    "es": word_set("un con en no nos da di mar re sub para pro ex bis uni ten"),
    "pt": word_set("ex con rev"),
    "ru": word_set("муж жен куб дол тел о у с в к и а"),
    "it": word_set(
        "mai via ore no me te ci vi lo la li le ma se si so sa sai va vai da dai fa fai fan io tu su tra bar gas foto "
        "top web pop vip film pass tv cd dvd usa euro oro mi ne re san con per di in al col sul mano mal cosa auto "
        "ama are ago chi età po due sei uno una mila seta volo volt sole sono stato casa cade cadi caro card long "
        "fin fine fino gusto luna luce mare mese noi voi lui lei qui qua già giù più può sud nord est ovest pari pace "
        "radar scuba sonar ufo pin puk led laser asia iran miglio port sport test top tour"
    ),
}
"""Words that sentencex takes for abbreviations."""


def _table(leading: str, numbered: str, closing: str, either: str, endings: str = "") -> _Abbreviations:
    return _Abbreviations(
        word_set(leading),
        word_set(numbered),
        word_set(closing),
        word_set(either),
        tuple(endings.split()),
    )


WORDS_OF_ONE_LETTER = {"ru": "я", "it": "è", "pt": "é"}
"""Small letters that end sentences; capitals are initials."""

NEVER_LAST = {
    "en": word_set(
        "the a an of to my your his her our their its is was are were am and or but with from into like than"
    ),
    "fr": word_set(
        "le la les l un une des du de mon ma mes ton ta tes son sa ses et ou mais est était à au aux par que"
    ),
    "es": word_set("el la los las un una de del mi mis tu tus su sus y o pero es era fue a al por que con se"),
    "it": word_set("il lo la i gli le un una di del della mio mia tuo sua suo e o ma è era a al alla per che con si"),
    "pt": word_set("o a os as um uma de do da meu minha seu sua e ou mas é era foi ao à por que com se no na"),
    "ru": word_set("и а но или в во на с со к ко у о об от до из за под при для по не ни что как это мой моя его её"),
}
"""Words that end no sentence, so that three dots behind them are a pause: `It was... Tom.`"""

ABBREVIATIONS_ELSEWHERE = _table(
    "dr mr mrs ms mx prof st mt vs feat ft gen lt rev capt cpt sgt col maj gov sen hon adm cmdr ph.d e.g i.e cf",
    "no nos vol fig ver ep p pp ch op sec eq art jan feb aug sept oct nov dec approx",
    "etc",
    "inc ltd co jr sr corp bros dept univ",
)
"""English abbreviations in Korean, Japanese and Chinese text."""

ABBREVIATIONS = {
    "en": _table(
        "dr mr mrs ms mx prof st gen sen rep gov capt cpt sgt lt col maj rev hon mt messrs e.g i.e vs cf approx feat "
        "adm cmdr supt brig pres amb insp asst",
        "no nos vol fig figs p pp ch sec eq art ver ep op jan feb apr jun jul aug sept oct nov dec",
        "etc",
        "",
    ),
    "de": _table(
        "dr prof hr hrn frl st sog bzw ca evtl ggf inkl exkl zzgl max vgl bspw insb dipl ing z.b d.h i.d.r z.zt u.a.m "
        "u.a geb gest hl o.g s.o s.u i.a",
        "nr nrn s bd abb kap art abs ziff tel fig jan febr mär apr jun jul aug sept okt nov dez op",
        "usw etc uvm u.v.m usf",
        "jh jhd chr v.chr n.chr ff f mio mrd tsd std min sek z.t o.ä u.ä str pl",
        "str",
    ),
    "fr": _table(
        "m mm mme mmes mlle mlles dr drs pr me mgr st ste env boul bd av p.ex c.-à-d cf vs",
        "p pp n no nos art fig vol chap tél t éd janv févr avr juil sept oct nov déc op",
        "etc",
        "j.-c av.j.-c apr.j.-c s hab min",
    ),
    "es": _table(
        "sr sra srta sres sras dr dra drs dras d dña prof profa lic ing arq gral av avda pza sto sta fr mons p.ej ej "
        "excmo ee vs admón mt dir gral gob cap ntra",
        "núm num n no nº pág págs p pp fig art cap vol tel c s pta km ene feb mar abr may jun jul ago sep sept set oct "
        "nov dic lun mié jue vie sáb dom op párrf",
        "etc",
        "p.m a.m ee.uu uu a.c d.c s.a s.l cía ud uds vd vds dpto depto min",
    ),
    "pt": _table(
        "sr sra srs sras srta dr dra drs dras prof profa eng arq av r pe d sto sta exmo exma v p.ex ex gal cel vs "
        "cap ten gen maj pç al trav",
        "núm num n nº pág págs p pp fig art cap vol tel séc jan fev mar abr jun jul ago set out nov dez seg ter qui "
        "sex sáb op",
        "etc",
        "a.c d.c s.a ltda cia p.m a.m min exa",
    ),
    "it": _table(
        "sig sigg sig.ra sig.na dott dott.ssa dr dr.ssa prof prof.ssa avv ing arch geom rag on mons s ss p.es es v.le "
        "p.zza c.so cfr vs egr gent dir amm gen col cap magg ten pres min psicol comm cav",
        "n nn no num pag pagg p pp fig art artt cap vol tel sez co let lett cpv gen feb mar apr mag giu lug ago set "
        "sett ott nov dic lun mer gio ven sab dom op",
        "ecc etc",
        "a.c d.c s.p.a s.r.l sec",
    ),
    "ru": _table(
        "ул просп пл пер наб кв корп обл проф акад доц инж св гр тов ср напр т.е т.к т.н т.о г-н г-жа д-р "
        "см д ген гл п",
        "рис табл ст стр с т гл п тел разд кн янв февр мар апр июн июл авг сент окт нояб дек соч оп",
        "т.д т.п пр",
        "г гг в вв н.э руб коп тыс млн млрд мин сек км кг чел шт др р ч им о",
    ),
}

STARTERS: dict[str, frozenset[str]] = {
    "ko": word_set(
        "그리고 그래서 하지만 그런데 그러나 그럼 그러면 또 또한 이제 다음 다음은 이 그 저 우리 오늘 오늘은 "
        "여기 여기서 이것은 그것은 하나"
    ),
    "ja": frozenset(),
    "zh": frozenset(),
    "en": word_set(
        "i it he she we they you this that these those the a an and but so then now there here what why how "
        "when where who if in on at after before later my your his her our their its let no yes not"
    ),
    "de": word_set(
        "er sie es das die der den dem wir ich du ihr dann danach doch aber und heute jetzt hier dort da so "
        "nun man wer was wie wo warum wann wenn als weil auch nur noch schon später dazu deshalb darum dafür "
        "dabei damit außerdem alle alles ein eine einen kein keine mein meine sein seine unser unsere ja "
        "nein niemand jemand alles nichts in im am an auf mit nach von zu für bei vor seit trotzdem "
        "dies diese dieser dieses oder denn ob morgen gestern zuerst vielleicht leider natürlich zum zur"
    ),
    "fr": word_set(
        "il elle ils elles on je j tu nous vous ce c cela ça ces cette cet le la les l un une des mais et "
        "puis ensuite alors donc or car aujourd hier demain ici là maintenant après avant dans en sur "
        "pour avec sans si quand comme qui que qu' quoi où pourquoi comment son sa ses mon ma mes notre nos "
        "leur leurs plus tout tous oui non enfin voici voilà"
    ),
    "es": word_set(
        "él ella ellos ellas yo tú usted ustedes nosotros esto eso este esta estos estas ese esa el la los "
        "las lo un una unos unas pero y luego después entonces así hoy ayer mañana aquí allí ahora en con "
        "por para sin si cuando como qué quién dónde cómo por su sus mi mis nuestro nuestra es son era fue "
        "hay no sí también además finalmente nadie todo todos se nos le les me te"
    ),
    "pt": word_set(
        "ele ela eles elas eu você vocês nós isto isso este esta estes estas esse essa o a os as um uma mas "
        "e depois então assim hoje ontem amanhã aqui ali agora em no na nos nas com por para sem se quando "
        "como que quem onde seu sua seus suas meu minha nosso nossa é são era foi há não sim também além "
        "finalmente ninguém tudo todos logo"
    ),
    "it": word_set(
        "lui lei loro io tu noi voi egli ella questo questa questi queste quello quella il lo la i gli le l "
        "un uno una ma e poi dopo allora così oggi ieri domani qui lì ora adesso in nel nella con per senza "
        "se quando come che chi dove perché cosa suo sua suoi sue mio mia nostro nostra è sono era fu c ci "
        "no non sì anche inoltre infine nessuno tutto tutti si vi mi ti"
    ),
    "ru": word_set(
        "никто ничто ничего "
        "он она оно они я ты мы вы это этот эта эти тот та те то и а но или да нет не ни в во на по с со к у "
        "о об от до для из за под при через после перед затем потом тогда теперь сейчас сегодня вчера завтра "
        "здесь там тут так такой как когда где куда почему зачем что кто если хотя его её их мой моя наш "
        "наша ваш все всё вся очень уже ещё только также однако поэтому например"
    ),
}
"""Words that begin a sentence far more often than they are part of a name."""
