"""Lines of the screen, broken between words."""

import io

from rich.console import Console

from ufnrec_tf.common.display import Display


def lines_of(text: str, *, width: int, is_terminal: bool = True) -> list[str]:
    screen, display = io.StringIO(), Display()
    display.console = Console(
        file=screen, width=width, force_terminal=is_terminal, no_color=True, soft_wrap=True
    )
    display.line(text)
    return screen.getvalue().splitlines()


def test_a_broken_line_goes_on_where_its_text_began():
    assert lines_of("  data     one two three four", width=20) == [
        "  data     one two",
        "           three",
        "           four",
    ]
    assert lines_of("    one two three four", width=14) == ["    one two", "    three four"]
    assert lines_of("one two three", width=8) == ["one two", "three"]
    assert lines_of("[one] two", width=80) == ["[one] two"]
    assert lines_of("", width=80) == [""]


def test_a_file_gets_the_whole_line():
    assert lines_of("  data     one two", width=9, is_terminal=False) == ["  data     one two"]
