"""English words for the event-duration checks: tokens, function words, and roots that join "fought" to
"fight".

No tagger and no model: a table of irregular forms before the Porter stemmer is enough to compare a question
with the sentence it is about, and costs microseconds.
"""

from __future__ import annotations

import re
from functools import lru_cache

from espalier.core.porter import stem

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?|\d+(?:[.,:]\d+)*")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# Base form: its other forms, and nouns made from it that a stemmer does not join to it.
_FORMS = """
arise arose arisen|beat beaten|become became|begin began begun beginning|bend bent|bind bound
bite bit bitten|blow blew blown|break broke broken|breed bred|bring brought|build built|burn burnt|burst
buy bought|catch caught|choose chose chosen choice|come came|creep crept|deal dealt|dig dug|do did done does
draw drew drawn|dream dreamt|drink drank drunk|drive drove driven|eat ate eaten|fall fell fallen|feed fed
feel felt|fight fought|find found|flee fled flight|fly flew flown|forget forgot forgotten
freeze froze frozen|get got gotten|give gave given|go went gone goes|grind ground|grow grew grown growth
hang hung|hear heard|hide hid hidden|hold held|keep kept|kneel knelt|know knew known knowledge|lay laid
lead led|lean leant|leap leapt|learn learnt|leave left|lend lent|lie lay lain|light lit|lose lost loss
make made|mean meant|meet met meeting|pay paid|ride rode ridden|ring rang rung|rise rose risen
run ran runner|say said|see saw seen|seek sought|sell sold sale sales|send sent|set|sew sewn
shake shook shaken|shine shone|shoot shot|show shown|shrink shrank shrunk|sing sang sung song|sink sank sunk
sit sat|sleep slept asleep|slide slid|sow sown|speak spoke spoken speech|spend spent|spin spun|spread
spring sprang sprung|stand stood|steal stole stolen|stick stuck|strike struck|strive strove
swear swore sworn|sweep swept|swim swam swum|swing swung|take took taken|teach taught|tear tore torn
tell told|think thought|throw threw thrown|wake woke woken awake|wear wore worn|weave wove woven|weep wept
win won|wind wound|withdraw withdrew withdrawn|write wrote written|live life lives
die died death deaths dead|marry married marriage|serve service|govern government|move movement|wait wait
believe belief|arrive arrival|survive survival|refuse refusal|approve approval|perform performance
be been being|divorce divorced|pursue pursuit|argue argument|imprison imprisonment|employ employment
see sight|child children|man men|woman women
"""
# A word that is a form of two verbs keeps its own root, so that it is joined to neither by mistake.
_OWN = {
    "flight": "flight",
    "ground": "ground",
    "lay": "lay",
    "wound": "wound",
    "left": "leave",
    "found": "find",
}
_IRREGULAR = {
    form: entry.split()[0] for entry in re.split(r"[|\n]", _FORMS) if entry for form in entry.split()
} | _OWN

# Words for one event that share no letters: "the operation" of "a nine-hour surgery". Near synonyms only.
_SYNONYMS = """
fire blaze flame|surgery operation|electricity power|stuck strand trap
talk speak chat conversation discuss discussion debate|trip journey travel voyage trek crossing cross
film movie|war conflict fight battle combat|strike walkout|jail prison imprison detain
build construct erect assemble|repair fix mend restore renovate renovation|sleep nap doze snooze
storm downpour thunderstorm|rain drizzle downpour|wait queue stand|meet negotiate talks|marry wed marriage
live reside stay dwell remain|search look hunt|walk hike stroll|ride drive|begin start|finish complete
cook prepare bake simmer boil|clean scrub tidy wash|cry weep sob|rule reign govern|teach lecture|study learn
repeat rehearse practise practice|vacation holiday|work job employ serve|extinguish put|close shut
drought dry|protest demonstrate demonstration rally|hold keep|watch view|read recite|write compose
paint decorate|quarrel argue argument dispute|illness sick ill|climb ascend ascent scale|play perform
exhibit exhibition show|fast starve|hide shelter|swim float|grow age mature|heal recover recovery|date court
siege besiege|investigate investigation inquiry probe|blackout outage power|train coach|visit stay
carve sculpt|dig excavate|own keep have
"""
PRONOUNS = _listed(
    """i you he she it we they me him her us them this that these those one someone something"""
)
POSSESSIVES = _listed("my your his her its our their")
AUXILIARIES = _listed(
    """is are was were be been being am do does did have has had will would can could should shall may
    might must"""
)
DETERMINERS = _listed("a an the some any each every both all no") | POSSESSIVES
PREPOSITIONS = _listed(
    """about above across after against along among around as at before behind below beneath beside besides
    between beyond by despite down during for from in inside into like near of off on onto out outside
    over past through throughout to toward towards under until till up upon via with within without"""
)
_OTHER = _listed(
    """and or but nor so if than then not never there here how what when where which who whom whose why
    while because although though whereas unless once also just only very too more most less least much
    many few several such same other another own again ever still yet already however therefore usually
    typically normally generally likely probably really quite rather almost nearly about long time times
    take takes took taken taking last lasts lasted lasting spend spends spent spending continue
    continued go going get let together along it's don't didn't doesn't 's t s"""
)
FUNCTION_WORDS = PRONOUNS | POSSESSIVES | AUXILIARIES | DETERMINERS | PREPOSITIONS | _OTHER


@lru_cache(maxsize=65536)
def root(word: str) -> str:
    """Return what the forms of a word have in common: 'fight' for "fought", 'marri' for "married"."""
    plain = re.sub(r"['’].*$", "", word.lower())
    return stem(_IRREGULAR.get(plain, plain))


def same_event(one: str, other: str) -> bool:
    """Tell whether two roots may name one event: a word family, or near synonyms."""
    return same_root(one, other) or bool(
        _synonym_groups().get(one, frozenset()) & _synonym_groups().get(other, frozenset())
    )


@lru_cache(maxsize=1)
def _synonym_groups() -> dict[str, frozenset[int]]:
    groups: dict[str, set[int]] = {}
    for number, entry in enumerate(re.split(r"[|\n]", _SYNONYMS.strip())):
        for word in entry.split():
            groups.setdefault(root(word), set()).add(number)
    return {key: frozenset(numbers) for key, numbers in groups.items()}


def same_root(one: str, other: str) -> bool:
    """Tell whether two roots are of one word family: equal, or one begins the other and is long."""
    if one == other:
        return True
    short, long = sorted((one, other), key=len)
    return len(short) >= 5 and long.startswith(short)


def lowered(text: str) -> str:
    """Return the text in lower case with each character in its place (a few would become two)."""
    return "".join(low if len(low := character.lower()) == 1 else character for character in text)


def words(text: str) -> list[str]:
    """Return the words and numbers of a text, as written."""
    return WORD.findall(text)


def content_roots(text: str) -> list[str]:
    """Return the roots of the words that carry meaning, in order."""
    return [root(word) for word in words(text) if word.lower() not in FUNCTION_WORDS and len(word) > 1]


def is_verb_form(word: str) -> bool:
    """Guess from the form alone whether a word is a past tense or a participle."""
    word = word.lower()
    return (len(word) > 4 and word.endswith(("ed", "ing"))) or (
        word in _IRREGULAR and _IRREGULAR[word] != word and word not in FUNCTION_WORDS
    )
