"""Item titles, for people to read: a table beside the log."""

import os

from ufnrec_tf.data.columns import Columns, csv_table, find_role, inter_table
from ufnrec_tf.data.files import load_text
from ufnrec_tf.data.table_rows import rows


def read_titles(
    path: str | os.PathLike[str], *, item_ids: set[str] | None = None
) -> dict[str, str] | None:
    """Reads an item table: RecBole's .item, or a CSV or TSV with a header.

    Args:
        path: The table.
        item_ids: The log's raw ids; where given, the table must have a title for one of them.

    Returns:
        Raw item id -> title, the first where an id is there twice; None where `item_ids` is not
        given and the table has no title column.

    Raises:
        UserError: If the table is no text or a row too short, or as told at `item_ids`.
    """
    file = load_text(path, flag="--config.data.titles")
    table = inter_table(file, Columns()) or csv_table(file, Columns())
    item, title = find_role(table.names, "item"), _title_column(table.names)
    if item is None or title is None:
        if item_ids is None:
            return None
        raise file.error(
            "no item and title columns: expected a header such as item_id,title; mend it or give "
            "another file as --config.data.titles.",
            line=file.first_line()[0],
        )
    titles: dict[str, str] = {}
    lines = rows(file, table)
    next(lines)
    for line, row in lines:
        if len(row) <= max(item, title):
            raise file.error(
                f"{len(row)} field(s) where the header has {len(table.names)}: mend or delete "
                "the line.",
                line=line,
            )
        titles.setdefault(row[item], row[title])
    if item_ids is not None and item_ids.isdisjoint(titles):
        raise file.error(
            f"titles for none of the log's items: expected raw ids such as {min(item_ids)[:40]!r} "
            f"in column {table.names[item]!r}; give the matching file as "
            "--config.data.titles."
        )
    return titles


def _title_column(names: list[str]) -> int | None:
    found = (index for index, name in enumerate(names) if "title" in name.lower())
    return next(found, find_role(names, "item", "name"))
