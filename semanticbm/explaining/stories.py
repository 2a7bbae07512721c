"""Prepared pairs of the book's explorer, each with what there is to see.

A story is a query, a document and a question to look for. The texts are written for this book. Stories come in small groups
that share a query, so that one thing changes from one to the next: the word itself, a synonym, a repeated word, the length, the
order of the words, a negation, a name. Most documents are passages, because the reading is made for them; where a story is
about what the model or the reading does not manage, its title says so.

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


_BIKE = "how to fix a flat tire"
_BLOOD = "oxygen in the blood"
_RIVER = "melting snow floods a river"
_BREAD = "bake sourdough bread"
_COFFEE = "coffee and growth"
_DOG = "man bitten by dog"
_ADA = "ada lovelace birth"
_LIMIT = "speed limit 30 zone"
_BANK = "bank of a river"

STORIES = (
    Story(
        "Exact match",
        _BIKE,
        "A flat tire is easy to fix at home. Take the wheel off the bicycle and lift one side of the tire over the "
        "rim with two levers. Pull out the tube, pump it up and hold it under water until you see where the air "
        "escapes. Dry it, glue a patch on, and feel for the thorn before you put it all back.",
        "each word of the query looks at its own copy",
    ),
    Story(
        "Synonyms",
        _BIKE,
        "A punctured tyre is easy to repair at home. Take the wheel off the bike and lift one side of the casing over "
        "the rim with two levers. Pull out the tube, pump it up and hold it under water until you see where the air "
        "escapes. Dry it, glue a patch on, and feel for the thorn before you put it all back.",
        "hardly a word in common: BM25 gives almost nothing, the model much",
    ),
    Story(
        "Another meaning",
        _BIKE,
        "The flat on the second floor has two rooms and a view of the harbour. Tenants may leave a bicycle in the hall, and "
        "they soon tire of the stairs. The landlord has promised to fix the lift, the bell and the lamp above the door, "
        "but he promised the same to those who lived there before.",
        "flat, tire and fix are all there, and the sense is not",
    ),
    Story(
        "Nothing in common",
        _BIKE,
        "Cocoa beans are taken from the pod by hand and heaped under banana leaves, where they ferment for about a week. "
        "Then they are spread out in the sun and turned with a rake until they are dry enough to be shipped. Only the "
        "roasting, far away and much later, gives them the smell of chocolate.",
        "what is left without any match",
    ),
    Story(
        "The rare word",
        _BLOOD,
        "Oxygen is a gas without colour or smell, and a fifth of the air is made of it. It was found twice, by a chemist in "
        "Sweden and by a minister in England, within three years. Steel works buy it by the ton, divers carry it in "
        "bottles, and a candle under a glass goes out when it is used up.",
        "the weight of the rare word beside that of 'the' and 'in'",
    ),
    Story(
        "The common words",
        _BLOOD,
        "The letter in the drawer was the one in the blue envelope, and the key lay in the box under the stairs. In the "
        "evening the old man put the key in the lock, took the letter to the window and read it in the last of the light. "
        "The name in the first line was the name of the ship.",
        "matches of common words earn little",
    ),
    Story(
        "Both rare words",
        _BLOOD,
        "Red blood cells carry oxygen from the lungs to every organ. Each of them is packed with a protein that holds four "
        "molecules of the gas and lets them go where there is little of it. A clip on the finger tells how much oxygen is "
        "in the blood by the colour of the light that comes through.",
        "two rare words, two shares",
    ),
    Story(
        "Once",
        _RIVER,
        "When the snow in the hills melts in April, a river may rise by two metres in a night. The ground is still frozen "
        "and takes up nothing, so that all the water runs off at once. Towns on the banks keep sandbags ready, and farmers "
        "drive their sheep from the meadows to the dike.",
        "one copy of 'river'",
    ),
    Story(
        "Four times",
        _RIVER,
        "When the snow in the hills melts in April, a river may rise by two metres in a night. The river finds the ground "
        "still frozen, so that all the water runs off at once. Towns on the river keep sandbags ready, and farmers drive "
        "their sheep away from the river to the dike.",
        "four copies: attention on each is smaller, and the share is not four times as large",
    ),
    Story(
        "The answer itself",
        _RIVER,
        "Many a river floods in spring, and the reason lies upstream. The snow of a whole winter melts within weeks, often "
        "in warm rain, and the ground below is still frozen or full. What falls and what thaws arrives at the same time. "
        "Where ice breaks up, it jams at bridges, and the river floods the land behind.",
        "every word is there, and the text is about it",
    ),
    Story(
        "The word and nothing else",
        _RIVER,
        "river river river river river river river river river river river river river river river river river river "
        "river river river river river river river river river river river river river river river river river river "
        "river river river river",
        "saturation: compare the share of 'river' with that of four copies",
    ),
    Story(
        "A passage that answers",
        _BREAD,
        "Anybody can bake sourdough bread who has a starter and an evening to spare. Mix it with flour, water and "
        "salt, fold the dough a few times and let it stand overnight. In the morning shape a loaf, cut it across the "
        "top and put it into a very hot pot with a lid, which you take off for the last ten minutes.",
        "compare with the next three",
    ),
    Story(
        "The words shuffled",
        _BREAD,
        "it can who fold salt hot and the in has flour you a overnight let sourdough evening a a water the spare into "
        "for and minutes the times and top which bake an lid with a the it a and few put very last pot it to mix "
        "shape with take anybody off bread ten across stand cut dough starter morning loaf it",
        "the same words in random order: BM25 sees no difference; how much does the model?",
    ),
    Story(
        "A long document: the answer among other things",
        _BREAD,
        "Our street has a cinema, two cafes, a shop for used records and a school whose bell rings at odd times. On "
        "Sundays there is a market with cheese, flowers and old coats, and a woman shows how to bake sourdough bread "
        "in a hot pot with a lid. The post office has moved to the station, and the library is closed until the roof "
        "is mended. In summer the children play on the square until it is dark. Every few years somebody proposes to "
        "plant trees along the pavement, there is a meeting in the back room of the inn, and nothing comes of it, "
        "because nobody wants to give up the place where the cars stand.",
        "the same words in a document twice as long and about something else",
    ),
    Story(
        "Its subject without its words",
        _BREAD,
        "Feed the starter twice a day until it doubles within hours. Mix it with flour, water and salt, fold the dough now "
        "and then, and let it rise overnight in a cool kitchen. Shape a loaf, cut it across the top, and put it into a "
        "heated pot with a lid. The crust should sing when it comes out of the oven.",
        "a helpful passage with no word of the query",
    ),
    Story(
        "A statement",
        _COFFEE,
        "For a hundred years parents have been told that coffee stunts growth. A study of two thousand pupils now says that "
        "it does: those who drank three cups a day from the age of ten were shorter at eighteen than the others. The "
        "authors believe that the drink keeps calcium out of the bones.",
        "compare with the next one",
    ),
    Story(
        "Its negation",
        _COFFEE,
        "For a hundred years parents have been told that coffee stunts growth. A study of two thousand pupils now says that "
        "it does not: those who drank three cups a day from the age of ten were as tall at eighteen as the others. The "
        "authors do not believe that the drink keeps calcium out of the bones.",
        "the opposite: does the score know?",
    ),
    Story(
        "Who did what",
        _DOG,
        "A dog bit a man in the park on Sunday. The man, a postman of fifty, had thrown a stick into the pond and was "
        "slow to step aside. The dog held on to his sleeve until its owner came running. A doctor looked after the wound, "
        "and the two have since been seen on the same bench.",
        "compare with the next one",
    ),
    Story(
        "Who did what, turned round",
        _DOG,
        "A man bit a dog in the park on Sunday. The dog, a terrier of three, had carried his stick into the pond and was "
        "slow to let go. The man held on to its collar until its owner came running. A vet looked after the wound, and the "
        "two have since been seen on the same bench.",
        "another event with the same words; the query asks for the first",
    ),
    Story(
        "A name",
        _ADA,
        "Ada Lovelace was born in London in December 1815, the only child of a poet who left the country when she was a few "
        "weeks old. Her mother had her taught mathematics, so that she would not take after him. At seventeen she was shown "
        "a machine for computing tables, and did not forget it.",
        "two words and one person: which of them counts?",
    ),
    Story(
        "A failure of the reading: one short sentence",
        _ADA,
        "Ada Lovelace was born in London in December 1815.",
        "compare with the passage: much more stays unexplained, for the reading is made for passages",
    ),
    Story(
        "Another person",
        _ADA,
        "Charles Babbage was born in London in December 1791, the son of a banker who had moved there from the west. He was "
        "often ill as a child and had private teachers. As a student he knew more mathematics than those who taught it. "
        "His machine for computing tables was never finished in his life.",
        "all fits but the name",
    ),
    Story(
        "A number",
        _LIMIT,
        "In a 30 zone the limit of speed holds for bicycles, too. The sign stands where the zone begins and is not repeated "
        "at each corner, so who turns in from a side street has to remember it. Most of these streets lie near schools, "
        "and since they have had the sign, fewer children are hurt.",
        "is a number a word like others?",
    ),
    Story(
        "Another number",
        _LIMIT,
        "In a 50 zone the limit of speed holds for bicycles, too. The sign stands where the zone begins and is not repeated "
        "at each corner, so who turns in from a side street has to remember it. Most of these streets lie near schools, "
        "and since they have had the sign, fewer children are hurt.",
        "one number changed",
    ),
    Story(
        "The other sense of a word",
        _BANK,
        "The bank at the corner lends money to people who want to open a shop. It asks for a plan, for two years of papers "
        "and for someone who will pay if all goes wrong. What it lends belongs to those who keep their savings there, and "
        "who trust that they can have them back on any day.",
        "'bank' has its match; does 'river', which is not there, take something off?",
    ),
    Story(
        "The sense that was meant",
        _BANK,
        "The bank of the stream is steep and covered with nettles. A kingfisher has dug its hole there, an arm's length "
        "deep, and flies in and out with small fish from morning to night. When the water rises, the hole is flooded, and "
        "the bird begins another one higher up, where the roots hold the earth.",
        "'river' is not in this text either: what does it earn?",
    ),
    Story(
        "Split into pieces",
        "chlorophyll in leaves",
        "Chlorophyll is the green of leaves. It takes up red and blue light, which photosynthesis needs to make sugar from "
        "air and water, and sends the green back. In autumn the tree breaks chlorophyll down and stores what it is made "
        "of, so that the yellow shows that was there all summer.",
        "a word in several pieces: how does it find its copy?",
    ),
    Story(
        "A failure of the reading: a question",
        "when was ada lovelace born",
        "Ada Lovelace was born in London in December 1815, the only child of a poet who left the country when she was "
        "a few weeks old. Her mother had her taught mathematics, so that she would not take after him. At seventeen "
        "she was shown a machine for computing tables, and did not forget it.",
        "without a match this query scores very low: the way up is long, and the slope at its foot says too little of it",
    ),
    Story(
        "A failure of the model: a negation",
        "films without violence",
        "This is a film full of violence. It begins with an explosion, goes on with a fist fight on a roof, and ends in a "
        "war in which nobody is left to bury the dead. Those who like films with violence will sit through its three hours "
        "with pleasure, and everybody else should stay at home.",
        "the query asks for the opposite of what matches",
    ),
)
