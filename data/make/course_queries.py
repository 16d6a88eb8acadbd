"""Queries for the documents, made from the facts on the pages and checked against every page of a split."""

from __future__ import annotations

import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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


@dataclass
class Draft:
    """A query in the making: its wording, with places to be filled, and what it asks for."""

    style: str
    document: Document
    page: Page
    facts: Facts
    who: str = ""
    template: str = ""
    row: str = ""
    value: str = ""
    jargon: list[str] = field(default_factory=list)

    def ask_only_what_is_said(self) -> None:
        """The facts are those that the wording has a place for."""
        if "{period}" not in self.template:
            self.facts.period = None
        if "{topic}" not in self.template and self.page.topic is not COVER:
            self.facts.topic = None
        if "{kind}" in self.template:
            self.facts.kind = self.document.kind.name


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
        """A query for a page, or None where it asks for too many pages or was made before."""
        draft = Draft(style, document, page, Facts(topic=page.topic.title, period=document.period))
        draft.who = self._who(draft)
        terms = self._terms(style, page)
        self._choose_wording(draft, terms)
        if page.topic is COVER:
            if style == "lookup":
                return None
            self._ask_for_cover(draft, terms)
        draft.ask_only_what_is_said()
        words = self._words_for(draft, terms)
        self._leave_out_period(draft)
        text = self._write(draft, words)
        answers = self.answers(draft.facts)
        allowed = 2 if page.part and draft.facts.row is None else 1
        if len(answers) != allowed or page.page_id not in answers or text.lower() in self.texts:
            return None
        shared = set(_words(text)) & (set(_words(page.topic.title)) - set(_words(draft.who)))
        if style == "paraphrase" and shared:
            return None
        self.texts.add(text.lower())
        if "topic" in terms and draft.jargon:
            self.used[page.topic.title] += 1
        query = Query(text, style, draft.facts, document, page, answers, draft.jargon)
        query.negatives = self._negatives(query)
        return query

    def _who(self, draft: Draft) -> str:
        """Whose page is asked for: mostly the organization's, else a thing that is on no other document."""
        rng, document, page, facts = self.rng, draft.document, draft.page, draft.facts
        other = rng.random() < 0.17 or (bool(document.subject) and rng.random() < 0.3)
        if other and document.subject:
            facts.subject = document.subject
            return document.subject.removeprefix("Project ") if rng.random() < 0.5 else document.subject
        if other and draft.style != "paraphrase" and page.reference and page.layout == "form":
            facts.reference = page.reference
            return rng.choice(["number {}", "no. {}", "{}"]).format(page.reference)
        if other and page.person and page.layout in ("letter", "form"):
            facts.person = page.person
            return page.person
        facts.organization = document.organization.first
        return document.organization.name if rng.random() < 0.6 else document.organization.first

    def _terms(self, style: str, page: Page) -> set[str]:
        """What is said in jargon: all of a paraphrase; of the others, about one in seven has one term."""
        rng = self.rng
        terms = set()
        if style == "paraphrase":
            terms = {"topic", "kind", "period"} if rng.random() < 0.75 else {"topic", "kind"}
        elif rng.random() < 0.4:
            pick = rng.random()
            terms = {"topic" if pick < 0.7 else "period" if pick < 0.86 else "kind"}
        return terms if page.topic.jargon else terms - {"topic"}

    def _choose_wording(self, draft: Draft, terms: set[str]) -> None:
        """The template, and the row that a lookup asks for."""
        rng, style, facts = self.rng, draft.style, draft.facts
        draft.template = rng.choice(
            {"question": QUESTION, "keywords": KEYWORDS, "paraphrase": PARAPHRASE, "lookup": LOOKUP}[style]
        )
        if style == "lookup":
            draft.row, draft.value = rng.choice(draft.page.rows)
            facts.row = draft.row
            pick = rng.random()
            if pick < 0.4:
                draft.template, facts.value = rng.choice(LOOKUP_VALUE), draft.value
            elif pick < 0.55:
                draft.template, facts.value = rng.choice(LOOKUP_BARE), draft.value
        if "kind" in terms and style in ("question", "keywords"):
            draft.template = rng.choice([t for t in QUESTION + KEYWORDS if "{kind}" in t])
        if facts.person and draft.page.layout == "letter":
            # by the name's length: a draw would change every query after this one
            wordings = LETTER[style]
            named = "{kind}" in draft.template
            draft.template = LETTER_KIND if named else wordings[len(draft.who) % len(wordings)]

    def _ask_for_cover(self, draft: Draft, terms: set[str]) -> None:
        """A cover has no topic: a word for covers stands in its place."""
        if "topic" in terms:
            term = self.rng.choice(COVER.jargon)
            draft.jargon.append(term)
            noun = term + " of the {kind}"
        else:
            noun = self.rng.choice(COVER_WORDS)
        template = draft.template.replace(" {kind}", "").replace("{kind} ", "")
        draft.template = template.replace("{topic}", noun)

    def _words_for(self, draft: Draft, terms: set[str]) -> dict[str, str]:
        """What is put into the template for topic, period and kind, in jargon where ``terms`` says so."""
        rng, document, page = self.rng, draft.document, draft.page

        def said(part: str, plain: str, jargon: Callable[[], str]) -> str:
            if part not in terms or f"{{{part}}}" not in draft.template:
                return plain
            draft.jargon.append(jargon())
            return draft.jargon[-1]

        topic = said("topic", page.topic.title.lower(), lambda: rng.choice(page.topic.jargon))
        period = said("period", self._period(document.period), lambda: document.period.jargon)
        kind = said("kind", document.kind.name.lower(), lambda: rng.choice(document.kind.jargon))
        return {"topic": topic, "period": period, "kind": kind}

    def _leave_out_period(self, draft: Draft) -> None:
        """Without its period a query is as clear as before when no other document has the topic."""
        if draft.style == "lookup" or self.rng.random() >= 0.3 or draft.page.topic is COVER:
            return
        shorter = replace(draft.facts, period=None)
        if len(self.answers(shorter)) == 1 and "{period}" in draft.template:
            draft.facts = shorter
            template = draft.template.replace("In {period}, w", "W")
            draft.template = re.sub(r"(,? (in|for|of|from) |,? ){period}|{period} ", "", template)
            draft.jargon = [j for j in draft.jargon if j != draft.document.period.jargon]

    def _write(self, draft: Draft, words: dict[str, str]) -> str:
        """The text of a query; keywords mostly in lower case, one text in fifty with a typing error."""
        rng, jargon = self.rng, draft.jargon
        text = draft.template.format(who=draft.who, row=draft.row, value=draft.value, **words)
        if draft.style == "keywords" and rng.random() < 0.75 and not jargon:
            text = text.lower()
        elif draft.style == "keywords" and jargon:
            text = " ".join(w if w in " ".join(jargon) else w.lower() for w in text.split())
        return _typo(text, rng, draft.who) if rng.random() < 0.02 else text

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
