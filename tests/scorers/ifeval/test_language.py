"""Languages by their script and their commonest words, and by langdetect where it is installed."""

from __future__ import annotations

import pytest

from espalier.core.errors import MissingExtra
from espalier.scorers.ifeval import language
from espalier.scorers.ifeval.judge import Instruction, judged
from espalier.scorers.ifeval.language import SCRIPT, detected, language_of, script_of

TEXTS = {
    "en": "The birds come back in spring, and they build their nests in the old trees by the river.",
    "de": "Die Vögel kommen im Frühling zurück und bauen ihre Nester in den alten Bäumen am Fluss.",
    "fr": "Les oiseaux reviennent au printemps et font leur nid dans les vieux arbres près de la rivière.",
    "es": "Los pájaros vuelven en primavera y hacen sus nidos en los árboles viejos que están junto al río.",
    "pt": "Os pássaros voltam na primavera e fazem os seus ninhos nas árvores velhas da cidade.",
    "it": "Gli uccelli tornano in primavera e fanno il nido negli alberi vecchi che sono vicino alla casa.",
    "nl": "De vogels komen in het voorjaar terug en bouwen hun nesten in de oude bomen bij het water.",
    "sv": "Fåglarna kommer tillbaka på våren och bygger sina bon i de gamla träden som står vid ån.",
    "da": "Fuglene kommer tilbage om foråret og bygger deres reder i de gamle træer, der står ved åen.",
    "fi": "Linnut palaavat keväällä ja tekevät pesänsä vanhoihin puihin, jotka ovat joen rannalla.",
    "pl": "Ptaki wracają na wiosnę, ale nie wszystkie, bo jest za zimno dla tych, które są małe.",
    "tr": "Kuşlar ilkbaharda geri gelir ve eski ağaçlara yuva yapar, ama bu yıl çok geç geldiler.",
    "vi": "Những con chim trở về vào mùa xuân và làm tổ trong các cây già ở bên bờ sông của chúng tôi.",
    "sw": "Ndege hurudi wakati wa majira ya kuchipua na hujenga viota kwa miti ya zamani katika kijiji hii.",
    "id": "Burung itu kembali pada musim semi dan membuat sarang di pohon tua yang ada di tepi sungai.",
    "ru": "Птицы возвращаются весной и вьют гнёзда на старых деревьях, которые стоят у реки, как и всегда.",
    "bg": "Птиците се връщат през пролетта и свиват гнезда в старите дървета, които са до реката.",
    "uk": "Птахи повертаються навесні та в'ють гнізда на старих деревах, що стоять біля річки, як і завжди.",
    "ar": "تعود الطيور في الربيع و تبني أعشاشها على الأشجار القديمة التي كانت إلى جانب النهر.",
    "fa": "پرندگان در بهار باز می گردند و لانه های خود را بر درخت های کهن که کنار رود است می سازند.",
    "ur": "پرندے بہار میں واپس آتے ہیں اور دریا کے کنارے پرانے درختوں پر گھونسلے بناتے ہیں۔",
    "hi": "पक्षी वसंत में लौटते हैं और नदी के किनारे पुराने पेड़ों पर घोंसले बनाते हैं।",
    "mr": "पक्षी वसंतात परत येतात आणि नदीच्या काठावर असे घरटे बांधतात, ते जुने आहे.",
    "ne": "चराहरू वसन्तमा फर्कन्छन् र नदीको किनारमा गुँड बनाउने गर्छन् तर यो वर्ष एक पनि आएको छैन।",
    "bn": "পাখিরা বসন্তে ফিরে আসে এবং পুরোনো গাছে বাসা বানায়।",
    "pa": "ਪੰਛੀ ਬਸੰਤ ਵਿੱਚ ਵਾਪਸ ਆਉਂਦੇ ਹਨ।",
    "gu": "પક્ષીઓ વસંતમાં પાછા આવે છે.",
    "ta": "பறவைகள் வசந்த காலத்தில் திரும்புகின்றன.",
    "te": "పక్షులు వసంతంలో తిరిగి వస్తాయి.",
    "kn": "ಪಕ್ಷಿಗಳು ವಸಂತದಲ್ಲಿ ಮರಳುತ್ತವೆ.",
    "ml": "പക്ഷികൾ വസന്തത്തിൽ മടങ്ങിവരുന്നു.",
    "th": "นกกลับมาในฤดูใบไม้ผลิ",
    "ko": "새들은 봄에 돌아온다.",
    "ja": "鳥は春に戻って来て、古い木に巣を作る。",
    "zh": "鸟儿春天回来，在老树上筑巢。",
    "he": "הציפורים חוזרות באביב.",
    "el": "Τα πουλιά γυρίζουν την άνοιξη.",
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_sentence_is_of_its_language(code: str) -> None:
    assert language_of(TEXTS[code]) == code
    assert SCRIPT[code] == script_of(TEXTS[code])
    told = judged(Instruction("language:response_language", {"language": code}), TEXTS[code], "repaired")
    assert told.strict, told.why


@pytest.mark.parametrize("text", ["", "7 + 7", "🙂", "Okapi", "wren robin"])
def test_what_does_not_say_is_of_none(text: str) -> None:
    assert language_of(text) == ""


@pytest.mark.parametrize("code", TEXTS)
def test_another_language_is_seen(code: str) -> None:
    other = TEXTS["de" if code == "en" else "en"]
    asked = Instruction("language:response_language", {"language": code})
    assert not judged(asked, other, "repaired").strict
    mixed = f"{TEXTS[code]}\n\n{other}"
    assert not judged(asked, mixed, "repaired").strict
    named = f"{TEXTS[code]} (NASA)"
    assert judged(asked, named, "repaired").strict


def test_without_langdetect_it_is_told_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "detector", lambda: None)
    for code, text in TEXTS.items():
        assert detected(text, code) == ("zh-cn" if code == "zh" else code)
    assert detected("Okapi", "en") == "en"
    assert detected("7", "en") is None
    with pytest.raises(MissingExtra, match=r"'et' needs packages .*\[ifeval\]"):
        detected("Linnud tulevad kevadel tagasi.", "et")


def test_with_langdetect_a_text_is_always_of_the_same() -> None:
    pytest.importorskip("langdetect")
    language.detector.cache_clear()
    short = "<<the emerald isle>>\nglistening green gems, gushing gulls,\ngently guiding geese."
    found = set()
    for _ in range(5):
        found.add(detected(short, "en"))
        language.detector.cache_clear()
    assert len(found) == 1
    assert detected(TEXTS["fi"], "fi") == "fi"
    assert detected("7", "fi") is None
    kind = Instruction("language:response_language", {"language": "fi"})
    assert judged(kind, "7", "official").strict  # the public checker counts it as followed
    assert not judged(kind, "7", "repaired").strict
