"""Examples that a prompt for queries shows: what the operations do, and a query that wants some of them. Knows nothing
of how prompts are worded. Written for this project; the services are invented."""

from typing import NamedTuple


class Example(NamedTuple):
    """A query that wants some of the operations.

    Attributes:
        operations: What each does.
        query: What a user says.
        wanted: Numbers of the operations that the query wants, from 1.
    """

    operations: tuple[str, ...]
    query: str
    wanted: tuple[int, ...]


ONE_SERVICE = (
    Example(
        ("tide tables of a harbour", "water temperature of a beach", "list of harbours of a country"),
        "We are sailing into Cork on the 14th of May and must not arrive at low water. When are the tides there that "
        "day, and which other Irish harbours could we make for if it gets too late?",
        (1, 3),
    ),
    Example(
        ("search recipes by ingredient", "nutrition of a recipe", "substitutes for an ingredient", "wines for a dish"),
        "My brother-in-law is coming for dinner and cannot eat dairy. Find me something with aubergines and chickpeas, "
        "tell me what I can take instead of the yoghurt, and how much protein a portion has.",
        (1, 2, 3),
    ),
    Example(
        ("create a parcel label", "price of a shipment", "track a parcel", "book a pickup"),
        "I sold my old turntable, 9 kg in a box of 50 by 40 by 20 cm, to someone in Graz. What does it cost to send it "
        "from Bremen, and can somebody come by on Thursday afternoon to collect it?",
        (2, 4),
    ),
    Example(
        ("exchange rate of two currencies", "history of an exchange rate", "list of currencies"),
        "I have 250,000 yen left from my trip in March. How many Norwegian kroner is that today, and would I have got "
        "more if I had changed them on the 2nd of April?",
        (1, 2),
    ),
    Example(
        ("verify an e-mail address", "find a company's e-mail pattern", "check a domain's reputation"),
        "Before the newsletter goes out to 3,000 people on Tuesday: is j.okafor@brightpath.example an address that "
        "really exists, and does our sender domain brightpath.example sit on any list of spammers by now?",
        (1, 3),
    ),
    Example(
        ("players of a team", "results of a season", "table of a league", "next matches of a team"),
        "I'm preparing the sports quiz at our pub for Friday. I need the final table of the Danish handball league of "
        "2021, the full squad of team 88 and how their last five games of that season ended.",
        (1, 2, 3),
    ),
    Example(
        ("text to speech", "list of voices", "speech to text", "detect the language of speech"),
        "Read the sentence 'The museum closes in fifteen minutes' aloud in a calm female voice with an Irish accent; "
        "look first which voices you have for that, please, and take the deepest.",
        (1, 2),
    ),
    Example(
        ("air quality of a place", "pollen forecast of a place", "stations near a place"),
        "My daughter has asthma and we are looking at a flat in Katowice, near 50.26 north, 19.02 east. How bad is the "
        "air there right now, and where is the closest station that measures it?",
        (1, 3),
    ),
    Example(
        ("look up a word", "synonyms of a word", "rhymes of a word", "random word"),
        "I'm stuck with a birthday poem: what rhymes with 'harbour', what else could I call a 'journey', and give me a "
        "word by chance if none of that fits a lady of ninety.",
        (2, 3, 4),
    ),
    Example(
        ("remove the background of a picture", "enlarge a picture", "recognise text in a picture"),
        "The scan of grandmother's letter, https://pics.example/letter3.png, is tiny. Make it four times as large and "
        "then write down what it says, because nobody here can read her hand any more.",
        (2, 3),
    ),
    Example(
        ("open positions by keyword", "details of a position", "salaries of a profession"),
        "My wife has been offered a professorship, so we are moving. Which vacancies for marine biologists are there "
        "within 60 km of Bergen, and what do people in that job earn on average in Norway?",
        (1, 3),
    ),
    Example(
        ("create a short link", "clicks of a short link", "delete a short link"),
        "The posters of our cycling club go to the printer tonight. Shorten the address "
        "https://cycling-club.example/tours/2025/spring so that it ends in 'spring25', and take the one of last year, "
        "spring24, away, since nobody needs it any more.",
        (1, 3),
    ),
)

SEVERAL_SERVICES = (
    Example(
        ("hotels: search by city", "hotels: reviews", "trains: connections", "trains: delays", "weather: forecast"),
        "From the 3rd to the 6th of October we are meeting in Ljubljana, eleven people, most of us coming from Vienna. "
        "Please look for a quiet hotel with good reviews, for a train on Friday after 2 pm, and tell us whether to "
        "pack rain coats.",
        (1, 2, 3, 5),
    ),
    Example(
        ("stocks: price", "stocks: dividends", "news: search", "currencies: convert"),
        "I inherited 120 shares of a ferry company, ticker NFL.OL. What are they worth in Swiss francs today, and has "
        "anything been written about the company this week that should worry me?",
        (1, 3, 4),
    ),
    Example(
        ("songs: search", "lyrics: of a song", "translation: text", "concerts: by artist"),
        "My choir wants to sing 'Gracias a la vida'. Find the words, put them into English for those "
        "of us who have no Spanish, and see whether anybody performs it near Leeds before Christmas.",
        (2, 3, 4),
    ),
    Example(
        ("books: by subject", "books: editions", "libraries: near a place", "films: by title"),
        "I teach a seminar on polar exploration with 24 students. Which books on the subject exist in editions after "
        "2010, and which libraries around Tromsø could lend them to us?",
        (1, 2, 3),
    ),
    Example(
        ("messages: send", "calendar: create an event", "phone numbers: validate"),
        "Put 'boiler inspection' into my calendar for the 21st of November at 8:30, and text Mr Lindqvist at "
        "+46 70 555 01 29 that he can come then. Make sure first that the number is a real one.",
        (1, 2, 3),
    ),
    Example(
        ("food: calories", "fitness: calories burnt", "recipes: search", "fitness: body mass index"),
        "I weigh 82 kg, am 1.76 m tall and ran 9 km this morning. How much have I burnt, what is my body mass index, "
        "and how many calories are in two slices of rye bread with salmon?",
        (1, 2, 4),
    ),
    Example(
        ("football: fixtures", "football: odds", "weather: by stadium", "tickets: search"),
        "When does Rosenborg play at home next month, and are there still four tickets together? My father is 81 and "
        "will only come if it is warmer than 10 degrees.",
        (1, 3, 4),
    ),
    Example(
        ("domains: whois", "websites: screenshot", "websites: certificate", "addresses: geolocation"),
        "A shop called cheap-lenses.example emptied my account last night. Who registered that domain and when, does "
        "it have a valid certificate, and where in the world does its server, 203.0.113.77, stand?",
        (1, 3, 4),
    ),
    Example(
        ("jokes: random", "facts: about a number", "quotes: by author", "pictures: cats"),
        "For the wedding speech on Saturday I want to begin with something funny about the number 31, which is how "
        "long they have known each other in weeks, and to end with a line of Oscar Wilde's.",
        (2, 3),
    ),
    Example(
        ("cars: decode a VIN", "cars: recalls", "prices: used cars", "fuel: prices near a place"),
        "I'm about to buy a used estate, VIN 1HGCM82633A004352, for 6,900 euros. Which model is it exactly, was it "
        "ever called back by its maker, and is that a fair price?",
        (1, 2, 3),
    ),
    Example(
        ("text: sentiment", "text: summary", "posts: by keyword", "posts: by author"),
        "What have people written since Monday about the new tram line in Aarhus? Three sentences are enough, but I "
        "must know whether the mood is for it or against it.",
        (1, 2, 3),
    ),
    Example(
        ("holidays: of a country", "time: in a city", "flights: status", "maps: distance"),
        "Is the 9th of May a holiday in Luxembourg, and if my flight LG 9302 is on time, can I still make it from the "
        "airport to 12 Rue des Bains before 6 pm local time?",
        (1, 2, 3, 4),
    ),
)
