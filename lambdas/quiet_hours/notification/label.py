"""The label of Korean advertising: it must say that it is advertising, who sends it, and how to opt out free of charge.

Network Act art. 50(4) and table 6 of its Enforcement Decree, by secondary sources; not legal advice.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime

from ..rule.choosing import chosen
from ..settings import Settings
from .cleaning import INVISIBLE, clean_text
from .notification import Notification

KOREA = "korea"
"""The policy whose advertising is labelled."""

LABEL = "(광고)"
OPT_OUT_EXAMPLE = "무료수신거부 080-000-0000"

_PHRASE = r"(?:수신\s?거부|무료\s?거부)"
_FREE_NUMBER = r"(?<![0-9])080[ .)-]{0,3}[0-9]{3,4}[ .-]{0,3}[0-9]{4}(?![0-9])"  # 080 is what costs the caller nothing
_ON_THE_WEB = r"(?:https?://\S|[a-z0-9-]+\.[a-z]{2,})"

# Either the customary phrase, and soon after it (or at the beginning of the next line) a free number or a web address;
# or a free number right before the phrase.
_OPT_OUT = re.compile(
    rf"{_PHRASE}(?:[^\n]{{0,40}}?|\W{{0,10}})(?:{_FREE_NUMBER}|{_ON_THE_WEB})|{_FREE_NUMBER}\W{{0,10}}(?:무료\s?)?{_PHRASE}",
    re.IGNORECASE,
)


_OPENS, _CLOSES = "([{<〔【〈《「『〖〘〚⟨⟪⦅❨❪❬❮❰❲❴‹«", ")]}>〕】〉》」』〗〙〛⟩⟫⦆❩❫❭❯❱❳❵›»"
_LABEL_AS_WRITTEN = re.compile(
    rf"[\W_]*?[{re.escape(_OPENS)}][\W_]*광[\W_]*고[\W_]*[{re.escape(_CLOSES)}]|[\W_]*광고[)\]}}〕】」』〗]"
)
"""The label however it is written: in any brackets, with blanks or marks between and before. Without the first bracket,
only where the second one follows at once, because `광고 > 설정` is a path through a menu."""

_BEFORE_LABEL = re.compile(
    r"[\W_]*(?:(?:web|웹|국외|국제|해외)\s?발신|(?:re|fwd?|aw|wg|회신|답장|전달)\s?(?:\[[0-9]{1,3}\])?\s?(?=:))",
    re.IGNORECASE,
)
"""The words that a network or a mail program puts before a text: `[Web발신]`, `Re:`, `Fwd:`."""

_BEFORE_MAX = 8
_NO_WORDS = re.compile(rf"(?:[\W_]|{INVISIBLE.pattern})*")
_MARKS_KEPT, _LABEL_WITHIN = 8, 64
"""The characters that are looked at before the first letter and from it on."""


def asks_for_label(settings: Settings) -> bool:
    """Say whether any advertising must carry a label in this deployment."""
    return settings.advertising_label and (settings.policy == KOREA or bool(settings.further_policies))


def _is_judged_by_korea(notification: Notification, settings: Settings) -> bool:
    if not settings.further_policies:
        return True
    accepted_at = datetime.fromisoformat(notification["accepted_at"])
    policy = chosen(notification, accepted_at, settings.quiet_hours()).policy
    return any(each.name == KOREA for each in policy.members or (policy,))


def label_faults(notification: Notification, settings: Settings) -> list[str]:
    """The faults of an advertisement's label, one `field: fault` each; none if no label is asked for.

    Any other category must not begin with the label: such a text says that it is advertising, and would be sent at
    night and to those who opted out.

    The text that people see first must begin with the label: the title if there is one, else the body. The sender's
    name and the opt-out may stand in either. The provider keeps a template's own text, so of a notification without a
    body only the title is checked.
    """
    if not asks_for_label(settings):
        return []
    content = notification["content"]
    if notification["category"] != "advertising":
        labelled = [name for name in ("title", "body") if name in content and _begins_with_label(content[name])]
        return [f"category: is {notification['category']}, but {name} begins with {LABEL}" for name in labelled]
    if not _is_judged_by_korea(notification, settings):
        return []
    title, body = content.get("title"), content.get("body")
    first, name = (body, "body") if title is None else (title, "title")
    faults = []
    if first is not None and not first.startswith(LABEL):
        faults.append(f"content: {name} of advertising must begin with {LABEL}")
    if body is not None:
        texts = (body,) if title is None else (body, title)
        if settings.sender_name and not any(clean_text(settings.sender_name) in text for text in texts):
            faults.append(f"content: advertising must name its sender, {settings.sender_name}")
        if not any(map(_OPT_OUT.search, texts)):
            faults.append(f"content: advertising must say how to opt out free of charge, such as {OPT_OUT_EXAMPLE}")
    return faults


def _begins_with_label(text: str) -> bool:
    """Say whether the first words of a text are the label, apart from those that a network or a mail program adds."""
    if text.isascii():
        return False
    for _ in range(_BEFORE_MAX):
        marks = _NO_WORDS.match(text)
        first = marks.end() if marks else 0
        end = first + _LABEL_WITHIN
        beginning = INVISIBLE.sub("", unicodedata.normalize("NFKC", text[max(0, first - _MARKS_KEPT) : end]))
        if _LABEL_AS_WRITTEN.match(beginning):
            return True
        before = _BEFORE_LABEL.match(beginning)
        if before is None:
            return False
        text = beginning[before.end() :] + text[end:]
    return False
