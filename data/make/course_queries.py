"""Queries for the documents, made from the facts on the pages and checked against every page of a split."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from course_domain import COVER, SEED, Period
from course_sheet import Document, Page

STYLES = ("question", "keywords", "paraphrase", "lookup")
SHARES = (0.25, 0.22, 0.29, 0.24)
VALUE_LAYOUTS = ("bar", "line", "pie", "table", "form", "figures", "diagram")

# {who}: organization (or what else identifies the page), {topic}, {period}, {kind}
QUESTION = [
    "What does {who} say about {topic} in {period}?",
    "Where can I find {topic} of {who} for {period}?",
    "Which page of {who} covers {topic} in {period}?",
    "How did {topic} look at {who} in {period}?",
    "Show me {topic} at {who} for {period}.",
    "Is there a page on {topic} from {who} for {period}?",
    "What did {who} publish on {topic} for {period}?",
    "What does the {kind} of {who} for {period} say on {topic}?",
    "Can you find {topic} in the {period} {kind} by {who}?",
    "I need to see {topic} of {who}, {period}.",
    "Where does {who} show its {topic} of {period}?",
    "Which page has {who}'s {topic} for {period}?",
    "Do we have {topic} from {who} in {period}?",
    "What is known on {topic} at {who} in {period}?",
    "In {period}, what did {who} state about {topic}?",
    "Please open {topic} by {who} from {period}.",
]
KEYWORDS = [
    "{who} {topic} {period}",
    "{who} {period} {topic}",
    "{topic} {who} {period}",
    "{period} {who} {topic}",
    "{topic} {period} {who}",
    "{who} {kind} {topic} {period}",
    "{who} {kind} {period} {topic}",
    "{topic}, {who}, {period}",
    "{who}: {topic} {period}",
    "{period} {topic} {who}",
    "page {topic} {who} {period}",
]
PARAPHRASE = [
    "{who} {topic} {period}",
    "{topic} at {who} {period}",
    "{period} {topic} for {who}",
    "need {who} {topic} for {period}",
    "how was {topic} at {who} in {period}",
    "get me the {topic} of {who}, {period}",
    "{who}, {topic}, {period}",
    "what about {topic} with {who} in {period}?",
    "looking for {topic} {who} {period}",
    "{who} {kind} {period}: {topic}",
    "the {topic} in the {kind} of {who}, {period}",
    "any {topic} from {who} in {period}?",
    "send over {topic} {who} {period}",
    "{who} numbers or text on {topic}, {period}",
]
LOOKUP = [
    "What is the figure for {row} in {topic} of {who}, {period}?",
    "{who} {topic} {period}: how much for {row}?",
    "How much was {row} under {topic} at {who} in {period}?",
    "{row} {topic} {who} {period}",
    "Which number stands beside {row} in {topic} of {who} for {period}?",
    "{who} {period} {topic} value for {row}",
    "In {period}, what did {who} give for {row} in {topic}?",
    "Look up {row} in the {topic} of {who} for {period}.",
]
LOOKUP_VALUE = [
    "Where does {who} show {value} for {row} in {topic}?",
    "{who} {topic} {row} {value}",
    "Which page of {who} on {topic} gives {row} as {value}?",
    "Find {row} {value} in {topic} of {who}.",
]
LOOKUP_BARE = [
    "{who} {row} {value}",
    "Which page of {who} states {value} for {row}?",
    "Where is {row} given as {value} by {who}?",
    "{row} {value} {period} {who}",
    "What page has {value} for {row} at {who} in {period}?",
]
#: Who is named in a letter gets it: the wordings for the page's author would say something else.
LETTER = {
    "question": [
        "What does the letter to {who} say on {topic} in {period}?",
        "Where is the letter to {who} on {topic} for {period}?",
    ],
    "keywords": ["letter to {who} {topic} {period}", "{period} letter to {who}, {topic}"],
    "paraphrase": ["letter to {who}: {topic}, {period}", "what was {who} written on {topic} in {period}?"],
}
LETTER_KIND = "{kind}: letter to {who} on {topic}, {period}"
COVER_WORDS = ["cover of the {kind}", "cover page of the {kind}", "cover, {kind}"]


@dataclass
class Facts:
    """What a page must satisfy to answer a query. A field that is None asks for nothing."""

    organization: str | None = None
    subject: str | None = None
    person: str | None = None
    reference: str | None = None
    kind: str | None = None
    topic: str | None = None
    period: Period | None = None
    row: str | None = None
    value: str | None = None

    def met_by(self, document: Document, page: Page) -> bool:
        period = self.period
        if self.organization is not None and document.organization.first != self.organization:
            return False
        if self.topic is not None and page.topic.title != self.topic:
            return False
        if self.subject is not None and document.subject != self.subject:
            return False
        if self.kind is not None and document.kind.name != self.kind:
            return False
        if period is not None and (
            document.period.year != period.year
            or period.quarter not in (None, document.period.quarter)
            or period.month not in (None, document.period.month)
        ):
            return False
        if self.person is not None and self.person not in (
            page.person,
            document.author,
            *(r for r, _ in page.rows),
        ):
            return False
        if self.reference is not None and page.reference != self.reference:
            return False
        if self.row is not None:
            pairs = set(page.rows) | {
                (label, second) for (label, _), second in zip(page.rows, page.second, strict=False)
            }
            return any(label == self.row and self.value in (None, value) for label, value in pairs)
        return True


@dataclass
class Query:
    text: str
    style: str
    facts: Facts
    document: Document
    page: Page
    answers: list[str]
    jargon: list[str]
    negatives: list[str] = field(default_factory=list)


class QueryMaker:
    """Makes the queries of one split."""

    def __init__(self, split: str, documents: list[Document]) -> None:
        self.split = split
        self.rng = random.Random(f"{SEED}/queries/{split}")
        self.pages = [(document, page) for document in documents for page in document.pages]
        self.by_organization: dict[str, list] = defaultdict(list)
        self.by_topic: dict[str, list] = defaultdict(list)
        self.by_layout: dict[str, list] = defaultdict(list)
        for document, page in self.pages:
            self.by_organization[document.organization.first].append((document, page))
            self.by_topic[page.topic.title].append((document, page))
            self.by_layout[page.layout].append((document, page))
        self.used: Counter[str] = Counter()
        self.texts: set[str] = set()

    def answers(self, facts: Facts) -> list[str]:
        """Ids of all pages of the split that meet the facts."""
        pages = (
            self.by_organization[facts.organization]
            if facts.organization
            else (self.by_topic[facts.topic] if facts.topic else self.pages)
        )
        return [page.page_id for document, page in pages if facts.met_by(document, page)]

    def make(self, count: int) -> list[Query]:
        """`count` queries, styles in fixed shares, shuffled."""
        numbers = [round(count * share) for share in SHARES]
        numbers[0] += count - sum(numbers)
        queries = []
        for style, number in zip(STYLES, numbers, strict=True):
            stock: list[tuple[Document, Page]] = []
            made = tries = 0
            while made < number:
                tries += 1
                if tries > 100 * number:
                    raise RuntimeError(
                        f"Cannot make {number} {style} queries for {self.split}: use more documents."
                    )
                if style == "paraphrase":
                    document, page = self._rarest_topic()
                else:
                    if not stock:
                        stock = [
                            pair
                            for pair in self.pages
                            if style != "lookup" or (pair[1].layout in VALUE_LAYOUTS and pair[1].rows)
                        ]
                        self.rng.shuffle(stock)
                    document, page = stock.pop()
                    if page.layout == "title" and self.rng.random() < 0.6:
                        continue  # covers are easy to tell apart: ask for fewer of them
                query = self._query(style, document, page)
                if query is not None:
                    queries.append(query)
                    made += 1
        self.rng.shuffle(queries)
        return queries

    def _rarest_topic(self) -> tuple[Document, Page]:
        """A page of the topic whose jargon was used least."""
        titles = [title for title, pages in self.by_topic.items() if pages[0][1].topic.jargon]
        self.rng.shuffle(titles)
        title = min(titles, key=lambda t: self.used[t] / (1 if t != COVER.title else 3))
        return self.rng.choice(self.by_topic[title])

    def _period(self, period: Period) -> str:
        if period.quarter:
            return self.rng.choice(
                [
                    period.text.lower(),
                    f"{period.text.lower()[:-5]} of {period.year}",
                    f"Q{period.quarter} {period.year}",
                ]
            )
        return period.text

    def _query(self, style: str, document: Document, page: Page) -> Query | None:
        rng, organization = self.rng, document.organization
        facts = Facts(topic=page.topic.title, period=document.period)
        jargon: list[str] = []

        # who: mostly the organization, else another thing that is on no other document
        other = rng.random() < 0.17 or (bool(document.subject) and rng.random() < 0.3)
        if other and document.subject:
            facts.subject = document.subject
            who = document.subject.removeprefix("Project ") if rng.random() < 0.5 else document.subject
        elif other and style != "paraphrase" and page.reference and page.layout == "form":
            facts.reference = page.reference
            who = rng.choice(["number {}", "no. {}", "{}"]).format(page.reference)
        elif other and page.person and page.layout in ("letter", "form"):
            facts.person = page.person
            who = page.person
        else:
            facts.organization = organization.first
            who = organization.name if rng.random() < 0.6 else organization.first

        # jargon: all of a paraphrase; of the others, about one in seven has one term
        topic_jargon = kind_jargon = period_jargon = style == "paraphrase"
        if style == "paraphrase":
            period_jargon = rng.random() < 0.75
        elif rng.random() < 0.4:
            pick = rng.random()
            topic_jargon, period_jargon, kind_jargon = pick < 0.7, 0.7 <= pick < 0.86, pick >= 0.86
        topic_jargon &= bool(page.topic.jargon)

        template = rng.choice(
            {"question": QUESTION, "keywords": KEYWORDS, "paraphrase": PARAPHRASE, "lookup": LOOKUP}[style]
        )
        row = value = ""
        if style == "lookup":
            row, value = rng.choice(page.rows)
            facts.row = row
            pick = rng.random()
            if pick < 0.4:
                template, facts.value = rng.choice(LOOKUP_VALUE), value
            elif pick < 0.55:
                template, facts.value = rng.choice(LOOKUP_BARE), value
        if kind_jargon and style != "paraphrase":
            template = (
                rng.choice([t for t in QUESTION + KEYWORDS if "{kind}" in t])
                if style in ("question", "keywords")
                else template
            )
        if facts.person and page.layout == "letter":
            # by the name's length: a draw would change every query after this one
            wordings = LETTER[style]
            template = LETTER_KIND if "{kind}" in template else wordings[len(who) % len(wordings)]
        if page.topic is COVER:
            if style == "lookup":
                return None
            noun = (
                rng.choice(page.topic.jargon) + " of the {kind}" if topic_jargon else rng.choice(COVER_WORDS)
            )
            if topic_jargon:
                jargon.append(noun.removesuffix(" of the {kind}"))
            template = template.replace(" {kind}", "").replace("{kind} ", "").replace("{topic}", noun)
        if "{period}" not in template:
            facts.period = None
        if "{topic}" not in template and page.topic is not COVER:
            facts.topic = None
        if "{kind}" in template:
            facts.kind = document.kind.name

        topic = page.topic.title.lower()
        if topic_jargon and "{topic}" in template:
            topic = rng.choice(page.topic.jargon)
            jargon.append(topic)
        period = self._period(document.period)
        if period_jargon and "{period}" in template:
            period = document.period.jargon
            jargon.append(period)
        kind = document.kind.name.lower()
        if kind_jargon and "{kind}" in template:
            kind = rng.choice(document.kind.jargon)
            jargon.append(kind)

        # without its period a query is as clear as before when no other document has the topic
        if style in ("question", "keywords", "paraphrase") and rng.random() < 0.3 and page.topic is not COVER:
            shorter = Facts(**{**facts.__dict__, "period": None})
            if len(self.answers(shorter)) == 1 and "{period}" in template:
                facts = shorter
                template = re.sub(
                    r"(,? (in|for|of|from) |,? ){period}|{period} ",
                    "",
                    template.replace("In {period}, w", "W"),
                )
                jargon = [j for j in jargon if j != document.period.jargon]
        text = template.format(who=who, topic=topic, period=period, kind=kind, row=row, value=value)
        if style == "keywords" and rng.random() < 0.75 and not jargon:
            text = text.lower()
        elif style == "keywords" and jargon:
            text = " ".join(w if w in " ".join(jargon) else w.lower() for w in text.split())
        if rng.random() < 0.02:
            text = _typo(text, rng, who)
        answers = self.answers(facts)
        allowed = 2 if page.part and facts.row is None else 1
        if len(answers) != allowed or page.page_id not in answers or text.lower() in self.texts:
            return None
        if style == "paraphrase" and set(_words(text)) & (set(_words(page.topic.title)) - set(_words(who))):
            return None
        self.texts.add(text.lower())
        if topic_jargon and jargon:
            self.used[page.topic.title] += 1
        query = Query(text, style, facts, document, page, answers, jargon)
        query.negatives = self._negatives(query)
        return query

    def _negatives(self, query: Query) -> list[str]:
        """Four pages that do not answer: same document, other period, other organization, same layout."""
        rng, document, page = self.rng, query.document, query.page
        mine, alike = self.by_organization[document.organization.first], self.by_topic[page.topic.title]
        groups = [  # made one after the other, and only as long as pages are missing
            lambda: [p for d, p in mine if d is document and p.topic is not page.topic],
            lambda: [p for d, p in mine if p.topic is page.topic and d.period != document.period],
            lambda: (
                [
                    p
                    for d, p in alike
                    if d.organization is not document.organization and d.period.year == document.period.year
                ]
                or [p for d, p in alike if d.organization is not document.organization]
            ),
            lambda: [p for d, p in mine if p.layout == page.layout and p.topic is not page.topic],
            lambda: [p for _, p in mine],
            lambda: [p for _, p in mine],
            lambda: [p for _, p in self.by_layout[page.layout]],
            lambda: [p for _, p in self.pages],
        ]
        chosen: list[str] = []
        for group in groups:
            if len(chosen) < 4:
                left = [
                    p.page_id for p in group() if p.page_id not in query.answers and p.page_id not in chosen
                ]
                chosen += [rng.choice(left)] if left else []
        return chosen


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _typo(text: str, rng: random.Random, who: str) -> str:
    """Swap two inner letters of one longer word that is not part of the name."""
    words = text.split()
    places = [i for i, w in enumerate(words) if len(w) > 5 and w.isalpha() and w not in who]
    if places:
        i = rng.choice(places)
        at = rng.randrange(1, len(words[i]) - 2)
        w = words[i]
        words[i] = w[:at] + w[at + 1] + w[at] + w[at + 2 :]
    return " ".join(words)
