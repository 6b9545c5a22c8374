"""The usual names of a log's columns."""

import re
from collections.abc import Iterable

# The usual names; the first one that a header has is taken. Compared in lower case, letters and
# digits only, so that user_id, UserID and "User Id" are one name.
GUESSES: dict[str, tuple[str, ...]] = {
    "user": (
        *("user", "userid", "uid", "username", "reviewer", "reviewerid", "customer", "customerid"),
        *("visitor", "visitorid", "member", "memberid", "client", "clientid", "account"),
        *("accountid", "buyer", "buyerid", "shopper", "shopperid", "reader", "readerid", "player"),
        *("playerid", "listener", "listenerid", "viewer", "viewerid", "subscriber", "subscriberid"),
        *("person", "personid", "session", "sessionid"),
    ),
    "item": (
        *("item", "itemid", "iid", "product", "productid", "movie", "movieid", "track", "trackid"),
        *("song", "songid", "artist", "artistid", "book", "bookid", "isbn", "article"),
        *("articleid", "video", "videoid", "game", "gameid", "recipe", "recipeid", "business"),
        *("businessid", "asin", "parentasin", "sku"),
    ),
    "time": (
        *("timestamp", "time", "ts", "unixreviewtime", "unixtime", "date", "datetime"),
        *("eventtime", "createdat", "orderdate", "purchasedate"),
    ),
    "rating": ("rating", "ratings", "stars", "overall"),
    "event": (
        *("event", "eventtype", "eventname", "action", "actiontype", "type", "behavior"),
        *("behaviour", "behaviortype", "behaviourtype", "interaction", "interactiontype"),
        *("activity", "activitytype", "feedback", "feedbacktype"),
    ),
}
REQUIRED = ("user", "item")
_MARK = "\ufeff"  # the byte order mark of a file that was appended to another


def _spellings(role: str) -> frozenset[str]:
    stems = {name.removesuffix("id") for name in GUESSES[role] if name.endswith("id")}
    joined = {f"{stem}{gap}id" for stem in stems if stem for gap in ("", "_", " ", "-")}
    return frozenset({*GUESSES[role], *joined})


SPELLINGS = {role: _spellings(role) for role in REQUIRED}
"""The usual names of the user and the item column, in lower case, as headers spell them."""


def as_name(field: str) -> str:
    """Returns a field as a column's name: lower case, no spaces, quotes and byte order mark."""
    return field.strip().removeprefix(_MARK).strip(" \"'").lower()


def may_be_names(texts: Iterable[str], names: frozenset[str]) -> bool:
    """Returns False if none of some texts is one of some names in lower case; fast."""
    lowered = "\n".join(texts).lower()
    marked = lowered.replace(_MARK, "") if _MARK in lowered else lowered
    return not names.isdisjoint(marked.replace('"', "").split("\n"))


def find_role(names: list[str], role: str, flag: str = "") -> int | None:
    """Returns the index of the column that plays a role, or None.

    Args:
        names: The header's names.
        role: A key of `GUESSES`.
        flag: The user's name of the column; where given, only that one is looked for.
    """
    if flag:
        lower = [name.lower() for name in names]
        if flag in names:
            return names.index(flag)
        return lower.index(flag.lower()) if flag.lower() in lower else None
    plain = [re.sub(r"[\W_]", "", name.lower()) for name in names]
    return next((plain.index(guess) for guess in GUESSES[role] if guess in plain), None)


def candidates(names: tuple[str, ...], role: str) -> list[str]:
    """Returns all columns whose names are usual for a role, in the order of the file."""
    return [name for name in names if find_role([name], role) is not None]
