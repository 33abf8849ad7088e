"""The report's glossary: the terms that a reader may not know, explained once and linked where they are used."""

import re

from bs4 import BeautifulSoup, NavigableString, Tag

from tblib.report.anchors import anchor

TERMS = {  # term -> its meaning; the order is that of the glossary
    "AUROC": "area under the receiver operating characteristic curve: how often a film with tuberculosis gets a higher "
    "score than one without. 1 is perfect, 0.5 is guessing, below 0.5 the ranking is turned round.",
    "sensitivity": "share of the films with tuberculosis that the model finds.",
    "specificity": "share of the films without tuberculosis that the model clears.",
    "95 % interval": "range of values that agree with the films at hand. The fewer the films, the wider it is. Written "
    "as 0.995 (0.985 to 1.000).",
    "cue": "anything on a film, or about its file, by which a network could guess the class: a marker, a border, a "
    "tint, the lungs.",
    "shortcut": "a cue that a model uses and that has nothing to do with the disease. It works on the films that the "
    "model was trained on, and fails elsewhere.",
    "region ablation": "training small CNNs on a part of each film, such as the film without its lungs, to see how "
    "much that part gives away.",
    "placebo": "a change of the same pixels, or of the same strength, that brings no cue. What an edit does beyond its "
    "placebo is the cue's effect.",
    "reference network": "a network trained on the same films with every cue equally common in both classes, so that "
    "it "
    "cannot have learnt the cue. The model has to react more than these.",
    "power": "how often the audit finds a cue that was planted on purpose. Where the power is low, finding nothing "
    "means nothing.",
    "external validation": "scoring films of another hospital, on which the model was not trained and its settings "
    "were not chosen.",
}
OTHERWISE = r"(?! spectr)"  # the power of a spectrum is another one
LINKED = {term: re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-]){OTHERWISE}", re.IGNORECASE) for term in TERMS}
PROSE = ("p", "li", "figcaption")


def link_terms(soup: BeautifulSoup, page: Tag) -> None:
    """Link the first use of each term in the prose below `page` to its place in the glossary."""
    left = dict(LINKED)
    for text in list(page.find_all(string=True)):
        inside = {parent.name for parent in text.parents}
        if not inside.intersection(PROSE) or inside.intersection(("a", "code", "pre", "button", "summary")):
            continue
        for term, pattern in list(left.items()):
            if found := pattern.search(text):
                del left[term]
                text = _linked(soup, text, found, term)


def address(term: str) -> str:
    """Anchor of a term in the glossary."""
    return anchor("glossary", term)


def _linked(soup: BeautifulSoup, text: NavigableString, found: re.Match[str], term: str) -> NavigableString:
    """Put a link in place of what was found; return the text behind it, in which other terms may follow."""
    link = soup.new_tag("a", href=f"#{address(term)}", attrs={"class": "term"})
    link.string = found.group(0)
    before, after = NavigableString(text[: found.start()]), NavigableString(text[found.end() :])
    text.replace_with(before, link, after)
    return after
