"""The made-up world of the course's documents: organizations, topics, and the trade's jargon.

Everything here is fictional. A page prints the plain words (`Topic.title`); a query may ask in jargon
(`Topic.jargon`), which no page prints. That dictionary is shared by all splits, the organizations are not:
it is what fine-tuning can learn on the train split and use on the others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

SEED = "course documents 1"

MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]
QUARTERS = ["First", "Second", "Third", "Fourth"]
REGIONS = ["North", "South", "East", "West", "Center", "Coast", "Islands", "Hills"]
SITES = [
    "Lurdan",
    "Moxby",
    "Tessel",
    "Quorn",
    "Hadle",
    "Brevik",
    "Ostra",
    "Pelham",
    "Zerin",
    "Calva",
    "Dorn",
    "Effing",
    "Yarrow",
    "Kelso",
    "Nimbar",
    "Varde",
    "Rusk",
    "Jaska",
    "Wexel",
    "Fjall",
]
GROUPS = ["Office", "Sales", "Drivers", "Plant", "Service", "Lab", "Stores", "Design"]

SECTORS: dict[str, tuple[list[str], list[str]]] = {  # sector -> (words of the name, products)
    "food": (["Foods", "Bakery", "Dairy"], ["Bread", "Soup", "Cheese", "Juice", "Pasta", "Honey", "Cakes"]),
    "transport": (
        ["Logistics", "Freight", "Cargo"],
        ["Parcels", "Pallets", "Crates", "Trucks", "Trains", "Vans"],
    ),
    "energy": (["Energy", "Power"], ["Gas", "Heat", "Wind", "Hydro", "Biogas", "Cables"]),
    "textile": (["Textiles", "Apparel"], ["Coats", "Shirts", "Socks", "Gloves", "Carpets", "Scarves"]),
    "machines": (
        ["Robotics", "Machines", "Pumps"],
        ["Pumps", "Valves", "Motors", "Arms", "Drives", "Sensors"],
    ),
    "health": (["Clinics", "Pharma"], ["Tablets", "Syrups", "Masks", "Lamps", "Beds", "Drops"]),
    "money": (["Savings", "Insurance"], ["Loans", "Cards", "Deposits", "Leases", "Funds", "Bonds"]),
    "travel": (["Hotels", "Airways", "Railways"], ["Rooms", "Tours", "Meals", "Cabins", "Seats", "Events"]),
    "mining": (["Mining", "Minerals"], ["Copper", "Salt", "Zinc", "Chalk", "Gravel", "Clay"]),
    "farming": (["Farms", "Orchards"], ["Wheat", "Apples", "Barley", "Plums", "Beans", "Hops"]),
    "water": (["Waterworks", "Harbor"], ["Pipes", "Filters", "Tanks", "Meters", "Locks", "Buoys"]),
    "software": (["Software", "Telecom"], ["Apps", "Phones", "Routers", "Games", "Maps", "Radios"]),
    "paper": (["Paper", "Print"], ["Books", "Boxes", "Labels", "Cartons", "Posters", "Envelopes"]),
    "building": (["Timber", "Glass", "Ceramics"], ["Doors", "Windows", "Tiles", "Beams", "Floors", "Bricks"]),
}

FIRST_NAMES = (
    "Ada Bruno Clara Dario Edith Felix Greta Hugo Irene Jonas Karin Leo Marta Nils Olga Pavel Rosa "
    "Simon Tilda Ugo Vera Walter Yara Zeno Anna Boris Carla Emil Frida Ivan"
).split()
LAST_NAMES = (
    "Abelard Borgin Castell Dressel Elmont Farkas Gruber Halloran Ibsen Jarvik Kestrel Lindor Marsh "
    "Novak Ostrow Pellin Quist Rammer Sorel Tarrant Ulmer Vance Winter Yost Zeller Ashby Brandt Corvin "
    "Duval Ekman Foss Garrick Holm Iverson Jansky Kroll Lasker Mercer"
).split()
ADJECTIVES = (
    "Amber Blue Calm Dawn Early Fair Green Hidden Iron Jade Kind Light Misty Noble Open Proud Quiet Red "
    "Silver Tall Urban Vivid White Young"
).split()
NOUNS = (
    "Anchor Badger Comet Dune Eagle Falcon Garden Heron Island Jaguar Kite Lantern Meadow Nest Otter Pine "
    "Quarry River Summit Tower Valley Willow Yacht Zephyr"
).split()


@dataclass(frozen=True)
class Topic:
    """One subject a page may have. `items` are row labels (or the name of a label group)."""

    title: str
    jargon: tuple[str, ...]
    layouts: tuple[str, ...]
    items: str
    unit: str
    low: int
    high: int
    pages: int = 1


@dataclass(frozen=True)
class Kind:
    """A kind of document: its plain name, its jargon, how long its period is, its formats and its topics."""

    name: str
    jargon: tuple[str, ...]
    span: str  # "year", "quarter" or "month"
    formats: tuple[str, ...]
    cover: bool
    topics: tuple[Topic, ...]


def _kind(name: str, jargon: str, span: str, formats: str, cover: bool, table: str) -> Kind:
    topics = []
    for line in table.strip().splitlines():
        title, terms, layouts, items, unit, bounds, *pages = [part.strip() for part in line.split("|")]
        low, high = (int(n) for n in bounds.split("-"))
        topics.append(
            Topic(
                title,
                tuple(t.strip() for t in terms.split(";") if t.strip()),
                tuple(layouts.split()),
                items,
                unit,
                low,
                high,
                int(pages[0]) if pages else 1,
            )
        )
    return Kind(
        name, tuple(t.strip() for t in jargon.split(";")), span, tuple(formats.split()), cover, tuple(topics)
    )


# title | jargon, for two topics of a kind | layouts | items | unit | low-high | pages (when more than one)
KINDS: tuple[Kind, ...] = (
    _kind(
        "Annual report",
        "yearbook",
        "year",
        "portrait landscape",
        True,
        """
        Revenue | | bar table line | products | m EUR | 20-900
        Operating costs | opex | pie bar table | regions | m EUR | 10-600
        Net profit | | line bar | months | m EUR | 2-90
        Investments | capex | table bar figures | sites | m EUR | 3-150
        Cash balance | | line figures | months | m EUR | 5-250
        Debt | | bar table | Loans,Leases,Bonds,Credit,Other | m EUR | 4-300
        Letter from the chair | | letter | text | | 2-60
        Directors | | table | people | years | 1-19
        Milestones | | timeline | events | | 2-90
        Outlook | | columns bullets | products | % | 2-40
        """,
    ),
    _kind(
        "Quarterly review",
        "QBR",
        "quarter",
        "slide landscape",
        True,
        """
        Orders received | bookings | bar line | products | units | 100-9900
        Order backlog | | bar table | regions | units | 100-5000
        Sales by region | | pie bar | regions | % | 5-60
        Delivery times | lead time | bar line | products | days | 2-60
        Complaints | | line bar table | months | cases | 10-700
        Market share | | pie figures | regions | % | 4-50
        Stock levels | | table bar | products | units | 100-9000
        Returned goods | | bar table | products | units | 10-800
        Next steps | | bullets timeline | events | | 2-60
        Factory output | | line figures | months | tons | 100-4000
        """,
    ),
    _kind(
        "Product manual",
        "user guide",
        "year",
        "portrait square tall",
        True,
        """
        Safety notes | | bullets columns | Hot parts,Sharp edges,Live wires,Wet floor | | 2-90
        Parts overview | | diagram | parts | | 2-90
        Installation | | diagram bullets | Base,Pump,Lid,Tank,Cable | mm | 10-400
        Wiring | | diagram table | Red wire,Blue wire,Green wire,Plug,Fuse | V | 5-400
        Cleaning | | bullets columns | Filter,Tank,Lid,Hose,Nozzle | min | 5-90
        Fault codes | troubleshooting | table | Code E1,Code E2,Code E3,Code E4,Code E5,Code E6 | min | 2-90
        Technical data | specs | table | Weight,Height,Width,Depth,Power,Flow | | 20-900 | 2
        Service plan | | table timeline | Oil,Filter,Belt,Seal,Hose,Fan | hours | 50-5000
        Spare parts | | table diagram | parts | EUR | 4-600
        Warranty | | columns letter | Motor,Frame,Glass,Battery | months | 6-72
        Disposal | | columns bullets | Metal,Glass,Oil,Battery | kg | 1-80
        """,
    ),
    _kind(
        "Safety report",
        "HSE digest",
        "year",
        "portrait landscape slide",
        True,
        """
        Accidents | LTI | bar line | months | cases | 1-99
        Near misses | | bar line | sites | cases | 3-190
        First aid cases | | table bar | groups | cases | 2-160
        Safety training | | table figures | groups | hours | 10-900
        Fire drills | | timeline table | sites | min | 2-30
        Protective gear | PPE | table pie | Helmets,Gloves,Boots,Goggles,Vests | pieces | 20-900
        Inspections | | bar table | sites | visits | 2-60
        Noise levels | | bar figures | sites | dB | 41-99
        Lost work days | | line pie | months | days | 5-300
        Chemical storage | | table columns | Acids,Paints,Fuels,Solvents,Gases | liters | 20-2000
        """,
    ),
    _kind(
        "Price list",
        "rate card",
        "year",
        "portrait tall landscape",
        True,
        """
        Standard prices | | table | products | EUR | 5-900 | 2
        Discounts | bulk rebates | table bar | From 10,From 50,From 100,From 500,From 1000 | % | 2-45
        Delivery charges | freight fees | table figures | regions | EUR | 4-150
        Service rates | | table | Repair,Check,Advice,Setup,Travel | EUR | 30-220
        Rental prices | | table bar | products | EUR | 6-400
        Payment terms | | bullets columns | Standard,New client,Export,Partner | days | 5-90
        Repair prices | | table | parts | EUR | 10-500
        Packaging costs | | table pie | Box,Crate,Pallet,Drum,Bag | EUR | 2-90
        Storage fees | | bar table | sites | EUR | 10-300
        Order form | | form | products | EUR | 10-900
        """,
    ),
    _kind(
        "Invoice file",
        "AP folder",
        "month",
        "portrait landscape",
        False,
        """
        Invoice | | form | products | EUR | 20-4000
        Credit note | | form | products | EUR | 20-900
        Payment reminder | dunning | letter form | products | EUR | 50-5000
        Delivery note | | form table | products | units | 2-400
        Receipt | | form | products | EUR | 5-700
        Purchase order | PO | form | products | EUR | 50-9000
        Quotation | | form | products | EUR | 50-9000
        Account statement | | table | Opening,Invoices,Payments,Fees,Closing | EUR | 100-9900
        Customs form | | form | products | kg | 5-900
        """,
    ),
    _kind(
        "Staff handbook",
        "HR rulebook",
        "year",
        "portrait landscape",
        True,
        """
        Travel claim | R7 | form | Hotel,Train,Taxi,Meals | EUR | 10-700
        Leave request | | form | Days asked,Days left,Days used | days | 1-30
        Training application | | form | Fee,Travel,Books | EUR | 20-1900
        Equipment loan | | form | Laptop,Camera,Phone,Drill | days | 2-90
        Visitor pass | | form | Gate,Room,Badge | | 10-990
        Overtime sheet | | form | Monday,Tuesday,Friday,Sunday | hours | 1-9
        Damage report | | form | Car,Door,Window,Floor | EUR | 50-4000
        Parking permit | | form | Row,Bay,Sticker | | 10-990
        Hotel limits | | table bar | sites | EUR | 60-290
        Meal allowance | per diem | table figures | regions | EUR | 12-90
        Car use | | columns bullets | Small car,Large car,Van,Bicycle | cents | 5-60
        """,
    ),
    _kind(
        "Research summary",
        "whitepaper",
        "year",
        "portrait landscape",
        True,
        """
        Main findings | | columns bullets | Steel,Glass,Rubber,Carbon | % | 2-90
        Test methods | | columns diagram | Heat,Load,Dust,Light | min | 5-300
        Test results | | line table bar | Trial A,Trial B,Trial C,Trial D | points | 20-900
        Error rates | | bar line | Trial A,Trial B,Trial C,Trial D | % | 1-30
        Sample sizes | | table pie | groups | people | 12-900
        Measuring device | test rig | diagram | parts | mm | 4-200
        Sources | | bullets columns | people | | 2-90
        Funding | grants | pie table | State,Union,Firms,Donors | k EUR | 20-900
        Study team | | table | people | hours | 20-900
        Material strength | | bar line | Steel,Glass,Rubber,Carbon,Wood | MPa | 20-900
        """,
    ),
    _kind(
        "Project plan",
        "PMO pack",
        "year",
        "landscape slide portrait",
        True,
        """
        Schedule | roadmap | timeline | events | | 2-90
        Budget | | table pie bar | Staff,Material,Travel,Tools,Reserve | k EUR | 10-900
        Project team | | table | people | hours | 20-900
        Risks | | table bullets | Delay,Weather,Strike,Price rise,Supplier | points | 1-25
        Deliverables | | bullets timeline | events | | 2-90
        Meetings | | timeline table | Kickoff,Design,Review,Board,Closing | hours | 1-9
        Work packages | | bar table | Survey,Design,Build,Test,Handover | hours | 40-900
        Acceptance test | UAT | form table | Power,Speed,Noise,Heat,Leaks | points | 20-99
        Change requests | | line table | months | cases | 1-60
        Progress | | line bar | months | % | 3-99
        """,
    ),
    _kind(
        "Board letters",
        "governance mail",
        "month",
        "portrait square",
        False,
        """
        Meeting invitation | | letter | text | | 2-90
        New director | | letter | text | | 2-90
        Merger offer | takeover | letter | text | | 2-90
        Share buyback | | letter | text | | 2-90
        Pay review | remuneration | letter | text | | 2-90
        Choice of auditor | | letter | text | | 2-90
        Office move | | letter | text | | 2-90
        Plant closure | | letter | text | | 2-90
        Voting results | | table pie | Yes,No,Abstain,Absent | votes | 100-9000
        """,
    ),
    _kind(
        "Environment report",
        "ESG disclosure",
        "year",
        "portrait landscape slide",
        True,
        """
        Energy use | | line bar | months | MWh | 100-9000
        Water use | | bar line | sites | m3 | 100-9000
        Waste | | pie table | Paper,Metal,Plastic,Food,Glass | tons | 10-900
        Carbon emissions | GHG | bar line figures | sites | tons | 100-9000
        Recycling rate | | bar figures | sites | % | 10-97
        Vehicle fleet | | pie table | Cars,Vans,Trucks,Bikes,Buses | vehicles | 4-400
        Suppliers | | bar table | regions | firms | 5-400
        Solar panels | PV | line bar | sites | kW | 10-900
        Air quality | | line figures | months | points | 10-90
        Tree planting | | bar timeline | sites | trees | 100-9000
        """,
    ),
    _kind(
        "Staff report",
        "people review",
        "quarter",
        "portrait landscape slide",
        True,
        """
        Employees | headcount | bar table | sites | people | 20-4000
        New hires | | bar line | months | people | 2-300
        Staff turnover | | line bar | groups | % | 1-30
        Sick days | | line table | months | days | 20-900
        Overtime | | bar table | groups | hours | 50-4000
        Training hours | L&D | table figures | groups | hours | 20-2000
        Age groups | | pie bar | Under 25,25 to 34,35 to 44,45 to 54,Over 54 | people | 10-900
        Pay scale | | table | Grade 1,Grade 2,Grade 3,Grade 4,Grade 5 | EUR | 1800-9000
        Pensions | | pie bar | Basic,Extra,Early,Widows | k EUR | 50-4000
        Staff survey | | bar figures | groups | points | 30-98
        """,
    ),
)

COVER = Topic("Cover", ("front page", "title sheet"), ("title",), "none", "", 1, 2)
PARTS = [
    "Base",
    "Pump",
    "Valve",
    "Hose",
    "Filter",
    "Handle",
    "Lid",
    "Switch",
    "Lamp",
    "Wheel",
    "Spring",
    "Shaft",
]
EVENTS = [
    "Kickoff",
    "Survey",
    "Permit",
    "Design",
    "Contract",
    "Build",
    "First test",
    "Training",
    "Opening",
    "Audit",
    "Handover",
    "Review",
    "Delivery",
    "Approval",
]


@dataclass(frozen=True)
class Period:
    """A year, a quarter of it, or a month of it."""

    year: int
    quarter: int | None = None
    month: int | None = None

    @property
    def text(self) -> str:
        """As pages print it."""
        if self.quarter:
            return f"{QUARTERS[self.quarter - 1]} quarter {self.year}"
        return f"{MONTHS[self.month - 1]} {self.year}" if self.month else str(self.year)

    @property
    def jargon(self) -> str:
        """As the trade abbreviates it: FY21, 3Q21, P03/21."""
        short = f"{self.year % 100:02d}"
        if self.quarter:
            return f"{self.quarter}Q{short}"
        return f"P{self.month:02d}/{short}" if self.month else f"FY{short}"

    @property
    def key(self) -> str:
        """For document ids: 2021, 2021q3, 2021m03."""
        return (
            f"{self.year}"
            + (f"q{self.quarter}" if self.quarter else "")
            + (f"m{self.month:02d}" if self.month else "")
        )


@dataclass(frozen=True)
class Organization:
    """A fictional organization. `first` alone identifies it: no two share it."""

    first: str
    second: str
    sector: str
    sites: tuple[str, ...]
    products: tuple[str, ...]
    regions: tuple[str, ...]
    groups: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.first} {self.second}"

    @property
    def slug(self) -> str:
        return self.first.lower()


def make_word(rng: random.Random, parts: int) -> str:
    """A pronounceable made-up word of `parts` syllables, capitalized."""
    onsets = "b br c ch d dr f fl g gr h j k l m n p pr qu r s sk st t tr v w y z".split()
    vowels = "a a e e i o o u au ei".split()
    codas = ["", "", "", "l", "n", "r", "s", "x", "m", "nd", "rt"]
    word = "".join(
        rng.choice(onsets)
        + rng.choice(vowels)
        + (rng.choice(codas) if i == parts - 1 else rng.choice(["", "", "l", "n", "r"]))
        for i in range(parts)
    )
    return word.capitalize()


def make_organizations(count: int) -> list[Organization]:
    """`count` organizations with first names that differ in at least two letters from one another."""
    rng = random.Random(f"{SEED}/organizations")
    sectors, taken, result = list(SECTORS), [], []
    while len(result) < count:
        first = make_word(rng, rng.choice([2, 2, 3]))
        if not 5 <= len(first) <= 9 or any(_close(first, other) for other in taken):
            continue
        taken.append(first)
        sector = sectors[len(result) % len(sectors)]
        names, products = SECTORS[sector]
        result.append(
            Organization(
                first,
                rng.choice(names),
                sector,
                tuple(rng.sample(SITES, 5)),
                tuple(rng.sample(products, 5)),
                tuple(rng.sample(REGIONS, 5)),
                tuple(rng.sample(GROUPS, 5)),
            )
        )
    return result


def _close(a: str, b: str) -> bool:
    """Whether two words share their first four letters, or differ in fewer than two places."""
    return a[:4] == b[:4] or (len(a) == len(b) and sum(x != y for x, y in zip(a, b, strict=True)) < 2)


def item_labels(topic: Topic, organization: Organization, period: Period, people: list[str]) -> list[str]:
    """The row labels of a page on `topic`. Never years, so that no page holds another year's figures."""
    group = topic.items
    named = {
        "regions": organization.regions,
        "sites": organization.sites,
        "products": organization.products,
        "groups": organization.groups,
        "parts": PARTS,
        "people": people,
        "events": EVENTS,
    }
    if group in named:
        return list(named[group])
    if group == "months":
        if period.quarter:
            return [m[:3] for m in MONTHS[3 * period.quarter - 3 : 3 * period.quarter]]
        return ["Q1", "Q2", "Q3", "Q4"] if topic.high % 2 else ["Feb", "Apr", "Jun", "Aug", "Oct", "Dec"]
    return [] if group in ("text", "none") else group.split(",")


def dictionary() -> dict[str, str]:
    """Jargon term -> the plain words on the page, for topics and kinds of document; periods are patterns."""
    pairs: dict[str, str] = {}
    for kind in KINDS:
        for term in kind.jargon:
            assert term not in pairs, term
            pairs[term] = kind.name
        for topic in kind.topics:
            for term in topic.jargon:
                assert term not in pairs, term
                pairs[term] = topic.title
    for term in COVER.jargon:
        pairs[term] = COVER.title
    return pairs
