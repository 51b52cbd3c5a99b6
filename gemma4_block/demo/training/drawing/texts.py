"""The words, numbers and codes that are written into pictures."""

import string

import numpy as np

Rng = np.random.Generator

WORDS = tuple(
    """
    able about air all alpha and area art back bag bake ball band bank bar base bath bay beach bean bed
    bell belt best bike bill bird black block blue board boat body bold bolt bond book boot box boy
    brand bread brick bridge bright brown bulk bus busy button cab cafe cake call calm camp can candy
    card care cargo case cash cat cell center chair change cheap check chef chip city class clean clear
    clip clock close cloud club coal coast code coffee cold color cook cool copper copy corn cost cotton
    count court cover craft cream crew crop cross cut daily dairy dance danger dark data date day deal
    deep delta desk dial diet dinner disk dock doctor dog door double down dream dress drink drive dry
    dust early earth east easy echo edge egg eight empty end energy enter equal event exit express extra
    face fact fair fall farm fast fault field file fill film final fine fire first fish five fix flag
    flat floor flour flow flower fly focus food foot force form four frame free fresh front frost fruit
    fuel full fun game garden gas gate giant gift girl give glass glove go goal gold golf good grain
    grand grape grass gray great green grid group guard guest guide hair half hall hand happy harbor hat
    head heart heat heavy hello help herb high hill hold home honey hope horse hot hotel hour house ice
    idea inch index ink iron island item jacket jam jazz jet job join juice jump keep key kid kind king
    kitchen kite knee lab label lake lamp land large last late leaf left lemon level life lift light
    lime line link lion list live load local lock long look loop lost loud love low lunch machine mail
    main map mark market max meal meat medium melon menu metal middle mild milk mill mine mini mint mix
    model moon more motor mouse music nail name near new next nice night nine no north note nut oak oat
    ocean off office oil old olive one onion open orange order oven own pack page paint pair palm panel
    paper park part party pass path pay peace pear pen pepper phone photo piano pilot pink pipe pizza
    place plan plant plate play plus point pole pool port post pot power press price prime print prize
    pull pump pure push quality queen quick quiet quiz radio rail rain ready real red rest rice right
    ring river road rock roof room root rose round rule run safe sail salad sale salt sand scale school
    sea seat second seed sell serial set seven shade shell ship shoe shop short show side sign silk
    silver six size sky sleep slow small smart smile smoke snack snow soap soda soft solar sold soup
    south space spare speed spice sport spot spring square staff stage star start station steel stem
    step stock stone stop store storm street strong sugar summer sun super sweet table tank taxi tea
    team ten tent test text thin three ticket tiger time tin toast today toilet tool top total tour
    tower town toy track trade train tree truck true tube turn two under union unit up valley value van
    vegan view village voice wait walk wall warm wash watch water wave wax way west wet wheat wheel
    white wide wild wind window wine winter wood wool word work world yard year yellow yes yoga young
    zero zone zoo
    """.split()  # noqa: SIM905 - six hundred quotes
)


def draw_text(rng: Rng) -> list[str]:
    """Return a line to be written, sometimes two: words, known or not, numbers, codes, letters."""
    if rng.random() < 0.16:
        return [_draw_line(rng), _draw_line(rng)]
    return [_draw_line(rng)]


def _draw_line(rng: Rng) -> str:
    choice = rng.random()
    if choice < 0.34:
        return _draw_case(rng, _pick(rng, WORDS))
    if choice < 0.42:
        return _draw_case(rng, f"{_pick(rng, WORDS)} {_pick(rng, WORDS)}")
    if choice < 0.65:
        return _draw_case(rng, _draw_unknown_word(rng))
    if choice < 0.82:
        return _draw_number(rng)
    if choice < 0.92:
        letters = "".join(_pick(rng, string.ascii_lowercase) for _ in range(int(rng.integers(2, 8))))
        return _draw_case(rng, letters)
    return _draw_code(rng)


def _pick(rng: Rng, choices: tuple[str, ...] | str) -> str:
    return choices[int(rng.integers(len(choices)))]


def _draw_case(rng: Rng, text: str) -> str:
    choice = rng.random()
    if choice < 0.4:
        return text.upper()
    return text.title() if choice < 0.65 else text


def _draw_unknown_word(rng: Rng) -> str:
    """Join the halves of two words, so that most have to be read and cannot be guessed."""
    first, second = _pick(rng, WORDS), _pick(rng, WORDS)
    return first[: (len(first) + 1) // 2] + second[len(second) // 2 :]


def _draw_number(rng: Rng) -> str:
    digits = int(rng.choice(6, p=(0.2, 0.25, 0.25, 0.14, 0.08, 0.08))) + 1
    return "".join(_pick(rng, string.digits if place else "123456789") for place in range(digits))


def _draw_code(rng: Rng) -> str:
    letters = "".join(_pick(rng, string.ascii_uppercase) for _ in range(int(rng.integers(1, 4))))
    number = _draw_number(rng)[:4]
    whole, part = _draw_number(rng)[:3], f"{int(rng.integers(100)):02d}"
    return _pick(
        rng,
        (
            f"{letters}-{number}",
            f"{letters}{number}",
            f"{letters} {number}",
            f"{number}{letters[0]}",
            f"{whole}.{part}",
            f"{part}:{int(rng.integers(60)):02d}",
            f"{whole}%",
        ),
    )
