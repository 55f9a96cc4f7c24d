"""What the docs checks read from a page."""

from __future__ import annotations

from tools import markdown

PAGE = """\
# The `indexer` command

See [the guide](guide/models.md#an-abi), ![a picture](flow.svg) and `[not](a-link.md)`.

## See also: [topics](topics.md)

```sh
make demo && indexer batch status \\
    --detailed
# a [comment](nowhere.md)
```

```console
$ indexer db check
revision 1, newest 1
```

```python
make("no command")
```

## An ABI
## An ABI

[later]: other.md
"""


def test_links_in_prose_are_found_and_those_in_code_are_not() -> None:
    assert [target for _, target in markdown.links(PAGE)] == [
        "guide/models.md#an-abi",
        "flow.svg",
        "topics.md",
        "other.md",
    ]


def test_anchors_are_those_that_the_reader_sees() -> None:
    assert markdown.anchors(PAGE) == {"the-indexer-command", "see-also-topics", "an-abi", "an-abi-1"}


def test_commands_of_shell_blocks_are_joined_and_output_is_left_out() -> None:
    assert [command for _, command in markdown.commands(PAGE)] == [
        "make demo && indexer batch status --detailed",
        "# a [comment](nowhere.md)",
        "indexer db check",
    ]


def test_a_link_is_reported_with_the_line_where_it_stands() -> None:
    assert next(markdown.links(PAGE)) == (3, "guide/models.md#an-abi")
