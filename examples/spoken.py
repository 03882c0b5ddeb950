"""Make the rows and sounds of the recipes spoken-digits and spoken-intents, with espeak-ng.

    python examples/spoken.py digits digits --human /usr/share/asterisk/sounds/en_US_f_Allison/digits

Needs espeak-ng (Debian: espeak-ng) and the extra `media`. The human digits are Debian's
asterisk-core-sounds-en-wav, which need not be installed: `dpkg -x` unpacks it. The same seed makes the same
files.

What is tested is not heard in training: neither the voices nor one of the accents, and nothing of the person.
Speech that runs on at one pace does not carry over to a person, so that what is trained on varies: pace,
pitch, pauses, words spoken one by one, telephone bands, noise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.signal import butter, resample_poly, sosfilt

from espalier.media import sounds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Samples = NDArray[np.floating[Any]]

RATE = 16_000
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ACCENTS = ("en-us", "en-gb", "en-029")
VOICES = [f"{a}+{v}" for a in ACCENTS for v in ("m1", "m2", "m4", "m5", "m6", "m8", "f1", "f3", "f4")]
NEW_VOICES = [f"{a}+{v}" for a in (*ACCENTS, "en-gb-scotland") for v in ("m3", "m7", "f2", "f5")]
# What is wanted, and phrases for it, of which every fourth is held out.
INTENTS = {
    "alarm": """wake me up at {time}|set an alarm for {time}|i need to get up at {time}
        let the alarm ring at {time}|do not let me sleep past {time}|get me out of bed at {time}
        the alarm should go off at {time}|alarm at {time} {day}|i have to be awake by {time}
        make sure i am up by {time}|ring the bell at {time} so that i wake up|cancel the alarm at {time}""",
    "timer": """set a timer for {count} minutes|count down {count} minutes|start a timer of {count} minutes
        tell me when {count} minutes are over|{count} minutes for the {food}|beep after {count} minutes
        time the {food} for {count} minutes|how long is left on the timer|stop the timer
        let me know in {count} minutes|the {food} needs {count} minutes
        give me a countdown of {count} seconds""",
    "weather": """what is the weather like in {city}|will it rain {day}|do i need an umbrella {day}
        is it going to be sunny in {city}|how cold will it get {day}|what is the forecast for {city}
        will there be snow in {city}|is it windy outside|how warm is it in {city}
        tell me the weather for {day}|are there any storms coming {day}|should i take a coat {day}""",
    "music": """play some {music}|put on a song by {artist}|i want to listen to {music}
        start my {music} playlist|turn up the music|skip this song|what is this song called
        play the new album of {artist}|let me hear {music}|stop playing {music}|next track
        shuffle all songs by {artist}""",
    "lights": """turn on the lights in the {room}|it is too dark in the {room}
        switch off the lamp in the {room}
        dim the lights in the {room}|make the {room} brighter|lights off in the {room}
        is the lamp in the {room} still on|turn the {room} lights to {colour}
        i need some light in the {room}|shut off all lamps in the {room}|light up the {room}
        put the {room} lamp on""",
    "call": """call {name}|phone {name}|give {name} a ring|dial the number of {name}
        i want to speak to {name} on the phone|get {name} on the line|ring up {name}
        start a call with {name}|call {name} back|hang up the phone|connect me with {name}
        make a phone call to {name}""",
    "message": """send a message to {name}|text {name} that i am late|write to {name} that i am on my way
        tell {name} by text that dinner is ready|read my new messages|send {name} an email
        reply to the message of {name}|let {name} know that i cannot come|do i have any unread mail
        drop {name} a line|answer the text of {name}|write {name} a short note saying thanks""",
    "calendar": """what is on my calendar {day}|add a meeting with {name} {day}|am i free {day} at {time}
        put the dentist on my calendar {day}|when is my next appointment
        schedule a lunch with {name} {day}|move the meeting with {name} to {time}
        cancel my appointment {day}|what are my plans for {day}|book an hour with {name} {day}
        do i have anything planned {day}|remind me when the meeting with {name} begins""",
    "heating": """turn up the heating in the {room}|it is too cold in the {room}
        set the thermostat to {degrees} degrees|make it warmer in the {room}
        heat the {room} to {degrees} degrees|turn the radiator down in the {room}
        i am freezing in the {room}|the {room} is too hot|lower the temperature in the {room}
        switch the heater off|keep the {room} at {degrees} degrees|raise the temperature by two degrees""",
    "shopping": """add {item} to the shopping list|we need more {item}|put {item} on my list
        we are out of {item}
        buy {item}|what is on the shopping list|take {item} off the list
        remember to get {item} from the store|order some {item}|i have to buy {item} {day}
        there is no {item} left|write {item} on the grocery list""",
    "directions": """how do i get to {place}|take me to {place}|show me the way to {place}|navigate to {place}
        how far is it to {place}|what is the fastest route to {place}|find the nearest {place}
        guide me home|is there a lot of traffic on the way to {place}|which bus goes to {place}
        give me directions to {place}|where is the closest {place}""",
    "news": """what is in the news|read me the headlines|what happened in the world {day}
        any news about {topic}|tell me the latest on {topic}|give me the news about {topic}
        what are the top stories {day}|is there anything new in {topic}|open the daily news report
        what do the papers say about {topic}|play the news bulletin|catch me up on {topic}""",
}
SLOTS = {
    "time": "six|seven|half past six|eight thirty|nine|ten to seven|five forty five|noon",
    "day": "today|tomorrow|on monday|on friday|this weekend|tonight|on wednesday|next week",
    "count": "two|three|five|ten|twelve|fifteen|twenty|forty",
    "food": "eggs|pasta|rice|tea|pizza|cake|potatoes",
    "city": "london|paris|berlin|chicago|boston|dublin|madrid",
    "music": "jazz|rock music|classical music|some blues|party songs|piano music",
    "artist": "queen|the beatles|madonna|abba|elvis",
    "room": "kitchen|bedroom|bathroom|living room|hall|office|garage",
    "colour": "red|blue|green|warm white",
    "name": "anna|my mother|peter|my boss|doctor brown|susan|my brother|the office",
    "degrees": "eighteen|twenty|twenty one|nineteen",
    "item": "milk|bread|butter|apples|coffee|soap|cheese|paper towels",
    "place": "station|airport|hospital|post office|museum|city hall|gas station",
    "topic": "sports|the election|football|science|the economy|technology",
}
POLITE = ("{}", "{}", "{}", "please {}", "{} please", "okay {}", "hey {}", "{} thanks", "well {}")
LOUDEST = 0.9  # of full scale, that a clip reaches


def speak(text: str, voice: str, *, pace: int = 165, pitch: int = 50, gap: int = 0) -> Samples:
    """Return what espeak-ng says [n] at RATE: words a minute, pitch of 0 to 99, pauses of 10 ms."""
    command = ["espeak-ng", "-v", voice, "-s", str(pace), "-p", str(pitch), "-g", str(gap), "--stdout", text]
    made = subprocess.run(command, capture_output=True, check=True).stdout
    own = int.from_bytes(made[24:28], "little")
    heard = np.frombuffer(made[44:], "<i2").astype(np.float32) / np.float32(32768)
    return sounds.resampled(heard, own, RATE)


def trimmed(heard: Samples) -> Samples:
    """Return what is between the first and the last sample of a fiftieth of the loudest."""
    loud = np.flatnonzero(np.abs(heard) > np.abs(heard).max() / 50)
    return heard[loud[0] : loud[-1] + 1]


def silence(seconds: float) -> Samples:
    """Return silence."""
    return np.zeros(round(seconds * RATE), np.float32)


def spoken_by_words(words: list[str], voice: str, rng: np.random.Generator) -> Samples:
    """Return words that were spoken one by one, each at a pace, pitch and loudness of its own."""
    pace, pitch, pause = int(rng.integers(90, 180)), int(rng.integers(25, 75)), rng.uniform(0, 0.35)
    parts: list[Samples] = []
    for word in words:
        own = pace + int(rng.integers(-20, 20)), pitch + int(rng.integers(-15, 15))
        said = speak(word, voice, pace=own[0], pitch=own[1])
        parts += [trimmed(said) * np.float32(rng.uniform(0.5, 1)), silence(pause * rng.uniform(0.2, 1.3))]
    return np.concatenate(parts)


def heard_elsewhere(heard: Samples, rng: np.random.Generator) -> Samples:
    """Return what was said as another throat, another line and another room might have it."""
    # Faster and higher, or slower and lower.
    heard = resample_poly(heard, int(rng.integers(85, 118)), 100).astype(np.float32)
    heard = np.concatenate([silence(rng.uniform(0, 0.25)), heard, silence(rng.uniform(0, 0.25))])
    if rng.random() < 0.6:
        band = butter(4, (rng.uniform(60, 300), rng.uniform(3000, 3900)), "bandpass", fs=RATE, output="sos")
        heard = np.asarray(sosfilt(band, heard))
    if rng.random() < 0.5:  # louder highs or lows
        heard = heard + rng.uniform(-0.6, 0.6) * np.roll(heard, -1)
    heard = heard / np.abs(heard).max() * rng.uniform(0.15, LOUDEST)
    if rng.random() < 0.5:
        heard = heard + rng.normal(0, np.std(heard) * 10 ** rng.uniform(-2, -0.9), len(heard))
    return heard.astype(np.float32)


def spoken(text: str, voice: str, rng: np.random.Generator) -> Samples:
    """Return words that run on, at a pace and pitch drawn for all of them."""
    pace, gap = int(rng.integers(100, 220)), int(rng.choice([0, 0, 2, 5, 10]))
    return speak(text, voice, pace=pace, pitch=int(rng.integers(20, 80)), gap=gap)


def digits(rng: np.random.Generator, least: int, most: int) -> list[str]:
    """Return a string of digits, of which two in a row are the same more often than by chance."""
    said = [str(rng.choice(WORDS))]
    for _ in range(int(rng.integers(least, most + 1)) - 1):
        said.append(said[-1] if rng.random() < 0.08 else str(rng.choice(WORDS)))
    return said


def write(folder: Path, name: str, count: int, make: Callable[[int], tuple[Samples, str, str]]) -> None:
    """Write sounds, and a file of rows with what each says or asks for; a voice is a source."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.jsonl").open("w") as rows:
        for number in range(count):
            heard, text, voice = make(number)
            path = folder / name / f"{number:05}.wav"
            sounds.soundfile().write(path, heard, RATE, subtype="PCM_16")
            row = {"audio": f"{name}/{path.name}", "text": text, "espalier": {"source": voice}}
            rows.write(f"{json.dumps(row)}\n")


def make_digits(folder: Path, human: Path, *, train: int, test: int, seed: int) -> None:
    """Write strings of digits: to train on, by voices that are not trained on, and by a person."""

    def trained(number: int) -> tuple[Samples, str, str]:
        rng = np.random.default_rng([seed, 0, number])
        words, voice = digits(rng, 1, 5), str(rng.choice(VOICES))
        alone = rng.random() < (0.8 if len(words) == 1 else 0.55)
        said = spoken_by_words(words, voice, rng) if alone else spoken(" ".join(words), voice, rng)
        return heard_elsewhere(said, rng), " ".join(words), voice

    def held_out(number: int) -> tuple[Samples, str, str]:
        rng = np.random.default_rng([seed, 1, number])
        words, voice = digits(rng, 3, 5), NEW_VOICES[number % len(NEW_VOICES)]
        return speak(" ".join(words), voice, pace=int(rng.integers(140, 190))), " ".join(words), voice

    def person(number: int) -> tuple[Samples, str, str]:
        words = digits(np.random.default_rng([seed, 2, number]), 3, 5)
        parts = [sounds.samples(human / f"{WORDS.index(word)}.wav", RATE) for word in words]
        return np.concatenate(parts), " ".join(words), f"person {number}"

    write(folder, "train", train, trained)
    write(folder, "voices", test, held_out)
    write(folder, "human", test, person)


def phrases(intent: str, *, held_out: bool) -> list[str]:
    """Return the phrases for an intent that are held out, or the others."""
    every = [phrase.strip() for phrase in INTENTS[intent].replace("\n", "|").split("|")]
    return [phrase for at, phrase in enumerate(every) if (at % 4 == 3) == held_out]


def make_intents(folder: Path, *, train: int, test: int, seed: int) -> None:
    """Write spoken wishes with their kinds: to train on, and in phrases and voices that are not trained on.

    `words.jsonl` has clips of their words in random order: of whole wishes the phrases would be learned, and
    not what is heard.
    """
    said: list[str] = []

    def make(number: int, place: int, voices: Sequence[str]) -> tuple[str, str, np.random.Generator, str]:
        rng = np.random.default_rng([seed, 3 + place, number])
        intent = list(INTENTS)[number % len(INTENTS)]
        chosen = phrases(intent, held_out=bool(place))
        fill = {slot: str(rng.choice(values.split("|"))) for slot, values in SLOTS.items()}
        text = str(rng.choice(POLITE)).format(str(rng.choice(chosen)).format(**fill))
        return intent, text, rng, str(rng.choice(voices))

    def trained(number: int) -> tuple[Samples, str, str]:
        intent, text, rng, voice = make(number, 0, VOICES)
        said.append(text)
        return heard_elsewhere(spoken(text, voice, rng), rng), intent, voice

    def held_out(number: int) -> tuple[Samples, str, str]:
        intent, text, rng, voice = make(number, 1, NEW_VOICES)
        return speak(text, voice, pace=int(rng.integers(140, 190))), intent, voice

    write(folder, "train", train, trained)
    write(folder, "test", test, held_out)
    known = sorted({word for text in said for word in text.split()})

    def mixed(number: int) -> tuple[Samples, str, str]:
        rng = np.random.default_rng([seed, 5, number])
        words = [str(word) for word in rng.choice(known, int(rng.integers(2, 6)))]
        voice, alone = str(rng.choice(VOICES)), rng.random() < 0.5
        heard = spoken_by_words(words, voice, rng) if alone else spoken(" ".join(words), voice, rng)
        return heard_elsewhere(heard, rng), " ".join(words), voice

    write(folder, "words", train, mixed)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, or these."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["digits", "intents"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--human", type=Path, help="folder of 0.wav to 9.wav")
    parser.add_argument("--train", type=int, default=2400, help="clips to train on")
    parser.add_argument("--test", type=int, default=96, help="clips of each test")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.what == "intents":
        make_intents(given.folder, train=given.train, test=given.test, seed=given.seed)
    elif given.human:
        make_digits(given.folder, given.human, train=given.train, test=given.test, seed=given.seed)
    else:
        parser.error("digits are tested on a person's, too: name their folder by --human")


if __name__ == "__main__":
    main()
