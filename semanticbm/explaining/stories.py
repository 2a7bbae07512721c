"""Prepared pairs of the book's explorer, each with what there is to see.

A story is a query, a document and a question to look for. The texts are written for this book. Stories come in small groups
that share a query, so that one thing changes from one to the next: the word itself, a synonym, a repeated word, a long
document, the order of the words, a negation, a name, and where the model or the reading fails.

When it misleads: a prepared pair shows that something can happen, not how often it does. The chapters have the counts.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Story:
    """A pair with a title and the thing to look for."""

    title: str
    query: str
    document: str
    look_for: str


_BIKE = "fix a flat bicycle tire"
_RIVER = "why rivers flood in spring"
_BREAD = "how to bake sourdough bread"
_OXYGEN = "the oxygen in the blood"

STORIES = (
    Story(
        "Exact match",
        _BIKE,
        "To fix a flat bicycle tire, take the wheel off, pull out the tube and find the hole.",
        "each word of the query looks at its own copy",
    ),
    Story(
        "Synonyms",
        _BIKE,
        "To repair a punctured bike tyre, take the wheel off, pull out the tube and find the hole.",
        "hardly a word in common: BM25 gives almost nothing, the model much",
    ),
    Story(
        "Another meaning",
        _BIKE,
        "The flat on the second floor has a bicycle room, and tired tenants fix it.",
        "words match, and the sense does not",
    ),
    Story(
        "Nothing in common",
        _BIKE,
        "Cocoa beans are dried in the sun for a week before they are shipped.",
        "what is left without any match",
    ),
    Story(
        "The rare word",
        _OXYGEN,
        "Oxygen is a gas without colour or smell.",
        "the weight of the rare word beside that of 'the' and 'in'",
    ),
    Story(
        "The common words",
        _OXYGEN,
        "The letter in the drawer was the one in the blue envelope.",
        "matches of common words earn little",
    ),
    Story(
        "Both rare words",
        _OXYGEN,
        "Red blood cells carry oxygen from the lungs to every organ.",
        "two rare words, two shares",
    ),
    Story(
        "Once",
        _RIVER,
        "A river rises when the snow in the hills melts. Towns on its banks prepare for high water every year.",
        "one copy of the word",
    ),
    Story(
        "Five times",
        _RIVER,
        "A river rises when the river takes the snow of the hills. The river is high, the river is fast, the river floods.",
        "five copies: attention on each is smaller, the share is not five times as large",
    ),
    Story(
        "The word stuffed",
        _RIVER,
        "rivers rivers rivers rivers rivers rivers rivers rivers rivers rivers rivers rivers",
        "saturation, and a text that is no text",
    ),
    Story(
        "A short answer",
        _BREAD,
        "Bake sourdough bread in a very hot pot with a lid.",
        "few words: each match stands for much of the document",
    ),
    Story(
        "The same answer in a long text",
        _BREAD,
        "Our street has a cinema, two cafes and a shop for used records. On Sundays there is a market with cheese and flowers "
        "and the baker at the corner opens at six. Bake sourdough bread in a very hot pot with a lid. The post office moved "
        "to the station, and the library is closed until the roof is mended.",
        "the same matches in a longer document",
    ),
    Story(
        "The words shuffled",
        _BREAD,
        "pot a lid sourdough in hot with very bread a bake",
        "BM25 sees no difference; how much does the model?",
    ),
    Story(
        "What it is about, without its words",
        _BREAD,
        "Feed the starter, fold the dough, let it rise overnight and put the loaf into a hot oven.",
        "a helpful passage with no word of the query that counts",
    ),
    Story(
        "A statement", "does coffee stunt growth", "Coffee stunts the growth of children.", "compare with the next one"
    ),
    Story(
        "Its negation",
        "does coffee stunt growth",
        "Coffee does not stunt the growth of children.",
        "the opposite, and nearly the same score",
    ),
    Story("Who did what", "dog bites man", "The dog bit the man in the park.", "compare with the next one"),
    Story(
        "Who did what, turned round",
        "dog bites man",
        "The man bit the dog in the park.",
        "another event with the same words",
    ),
    Story(
        "A name",
        "when was ada lovelace born",
        "Ada Lovelace was born in London in December 1815.",
        "a name of two words, each in several pieces perhaps",
    ),
    Story(
        "Another person",
        "when was ada lovelace born",
        "Charles Babbage was born in London in December 1791.",
        "all fits but the name",
    ),
    Story(
        "A number",
        "speed limit 30 zone",
        "In a 30 zone the limit of speed holds for bicycles, too.",
        "is a number a word like others?",
    ),
    Story(
        "Another number",
        "speed limit 30 zone",
        "In a 50 zone the limit of speed holds for bicycles, too.",
        "one number changed",
    ),
    Story(
        "A word in the plural",
        "bank",
        "Banks lend money to people who can prove that they need none.",
        "one word, and BM25 misses it",
    ),
    Story(
        "The other bank",
        "bank",
        "The bank of the stream is steep and covered with nettles.",
        "the sense is open: what does the model make of it?",
    ),
    Story(
        "Split into pieces",
        "photosynthesis chlorophyll",
        "Chlorophyll takes up the light that photosynthesis needs.",
        "words in several pieces: how is a share divided?",
    ),
    Story(
        "A failure",
        "films without violence",
        "This film is full of violence: explosions, fist fights and two wars.",
        "the query asks for the opposite of what matches",
    ),
)
