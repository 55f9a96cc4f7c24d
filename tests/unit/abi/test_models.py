"""Model files: what they may say, what is refused and how; and what a set of models makes of a block's logs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from indexer.abi.args import to_json
from indexer.abi.compile import compile_event
from indexer.abi.decode import decode_logs
from indexer.abi.models import ModelSet, load_models, wrapped_native
from indexer.abi.signatures import parse_signature
from indexer.abi.standards import DEPOSIT, TRANSFER
from indexer.errors import UserError
from indexer.records import DecodedEvents
from tests.unit.abi.abi_builders import ALICE, BOB, TOKEN, a_log, logs_of, word, words

TOKEN_HEX = "0x" + TOKEN.hex()
PING = compile_event(parse_signature("Ping(uint256 n)"))
EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "guide" / "examples"


def toml(**settings: object) -> str:
    """A valid model file, with settings changed, or left out by None."""
    model: dict[str, object] = {"name": "pings", "contracts": [TOKEN_HEX], "abi": ["event Ping(uint256 n)"]}
    model |= settings
    return "\n".join(f"{key} = {literal(value)}" for key, value in model.items() if value is not None)


def literal(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {literal(item)}" for key, item in value.items()) + "}"
    return "[" + ", ".join(map(literal, value)) + "]" if isinstance(value, list) else json.dumps(value)


def models(folder: Path, *texts: str) -> ModelSet:
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.toml")
        paths[-1].write_text(text)
    return load_models(paths)


def ping(n: int, *, address: bytes = TOKEN, index: int = 0) -> tuple[int, bytes, tuple[bytes, ...], bytes]:
    return index, address, (PING.topic0,), word(n)


def test_a_log_of_a_listed_contract_becomes_a_row(tmp_path: Path) -> None:
    events, undecoded = models(tmp_path, toml()).decode(logs_of(ping(5, index=3)), 1)

    assert events == DecodedEvents([3], ["pings"], ["Ping"], ['{"n":"5"}'])
    assert undecoded == []


def test_a_log_of_another_contract_or_event_is_left_alone(tmp_path: Path) -> None:
    logs = logs_of(ping(5, address=BOB), (1, TOKEN, (), b""), (2, TOKEN, (bytes(32),), b""))

    assert models(tmp_path, toml()).decode(logs, 1) == (DecodedEvents(), [])


def test_a_star_means_any_contract(tmp_path: Path) -> None:
    for anywhere in ("*", ["*"]):
        events, _ = models(tmp_path, toml(contracts=anywhere)).decode(logs_of(ping(1, address=BOB)), 1)

        assert events.args == ['{"n":"1"}']


@pytest.mark.parametrize(
    "settings",
    [
        {"start_block": 10},
        {"start_block": 10, "contracts": "*"},
        {"start_block": 99, "contracts": [{"address": TOKEN_HEX, "start_block": 10}]},
        {"start_block": 10, "contracts": [{"address": TOKEN_HEX}]},
    ],
)
def test_blocks_before_the_start_are_left_alone(tmp_path: Path, settings: dict[str, object]) -> None:
    started = models(tmp_path, toml(**settings))

    rows = [len(started.decode(logs_of(ping(1)), number)[0].log_index) for number in (9, 10, 11)]

    assert rows == [0, 1, 1]


def test_a_log_that_does_not_fit_is_counted_and_the_others_go_on(tmp_path: Path) -> None:
    logs = logs_of(ping(1, index=0), (1, TOKEN, (PING.topic0,), b"\x01"), ping(2, index=2))

    events, undecoded = models(tmp_path, toml()).decode(logs, 1)

    assert events.log_index == [0, 2]
    assert len(undecoded) == 1


def test_several_models_may_decode_the_same_log(tmp_path: Path) -> None:
    both = models(tmp_path, toml(), toml(name="others", abi=["Ping(uint256 renamed)"]))

    events, _ = both.decode(logs_of(ping(5)), 1)

    assert list(zip(events.model, events.args, strict=True)) == [
        ("pings", '{"n":"5"}'),
        ("others", '{"renamed":"5"}'),
    ]


def test_of_two_forms_with_one_topic_the_one_that_fits_is_taken(tmp_path: Path) -> None:
    erc20 = "event Transfer(address indexed from, address indexed to, uint256 value)"
    erc721 = "event Transfer(address indexed from, address indexed to, uint256 indexed tokenId)"
    pair = (TRANSFER, word(ALICE), word(BOB))
    logs = logs_of((0, TOKEN, pair, word(7)), (1, TOKEN, (*pair, word(8)), b""), (2, TOKEN, pair[:1], b""))

    events, undecoded = models(tmp_path, toml(abi=[erc20, erc721, erc20])).decode(logs, 1)

    assert [json.loads(args).popitem() for args in events.args] == [("value", "7"), ("tokenId", "8")]
    assert len(undecoded) == 1


def test_an_event_that_is_not_asked_for_is_left_alone(tmp_path: Path) -> None:
    some = models(tmp_path, toml(abi=["event Ping(uint256 n)", "event Pong(uint256 n)"], events=["Pong"]))

    assert some.decode(logs_of(ping(1)), 1) == (DecodedEvents(), [])


def test_anonymous_events_are_left_out(tmp_path: Path) -> None:
    some = models(tmp_path, toml(abi=["event Ping(uint256 n)", "event Note(bytes32 indexed sig) anonymous"]))

    assert [event.name for event in some.models[0].events] == ["Ping"]


def test_an_abi_file_is_found_beside_the_model(tmp_path: Path) -> None:
    entries = [{"type": "event", "name": "Ping", "inputs": [{"type": "uint256"}]}, {"type": "constructor"}]
    for document in (entries, {"contractName": "Pinger", "abi": entries}):
        (tmp_path / "pinger.json").write_text(json.dumps(document))

        events, _ = models(tmp_path, toml(abi="pinger.json")).decode(logs_of(ping(1)), 1)

        assert events.args == ['{"arg0":"1"}']


def test_the_version_grows_with_every_model_and_its_version(tmp_path: Path) -> None:
    assert ModelSet().version == 1
    assert models(tmp_path, toml()).version == 2
    assert models(tmp_path, toml(version=3)).version == 4
    assert models(tmp_path, toml(version=3), toml(name="more", version=2)).version == 6


def test_models_add_wrapped_coins_to_those_of_the_chain(tmp_path: Path) -> None:
    wavax = next(iter(wrapped_native(43114)))
    logs = logs_of(
        *((index, address, (DEPOSIT, word(ALICE)), word(1)) for index, address in enumerate((wavax, TOKEN, BOB)))
    )
    listed = models(tmp_path, toml(contracts="*", wrapped_native=["0x" + BOB.hex()]))
    flagged = models(tmp_path, toml(wrapped_native=True))

    rows = [decode_logs(logs, 1, some, wrapped_native(43114)) for some in (ModelSet(), listed, flagged)]

    assert [decoded.token_transfers.log_index for decoded in rows] == [[0], [0, 2], [0, 1]]


def test_transfers_events_and_what_did_not_fit_come_together(tmp_path: Path) -> None:
    logs = logs_of(ping(1), (1, TOKEN, (PING.topic0,), b""), (2, TOKEN, (TRANSFER, word(ALICE), word(BOB)), word(9)))

    decoded = decode_logs(logs, 1, models(tmp_path, toml()), frozenset())

    assert (decoded.token_transfers.amount, decoded.decoded_events.log_index, decoded.undecoded) == ([9], [0], [1])


def test_the_examples_of_the_guide_load() -> None:
    loaded = load_models(sorted(EXAMPLES.glob("*.toml")))

    assert [model.name for model in loaded.models] == ["trader-joe", "uniswap-v2"]
    assert [event.name for event in loaded.models[1].events] == ["Swap"]


MISTAKES = {
    "not TOML": ("name = ", "not valid TOML"),
    "no name": (toml(name=None), "name must be"),
    "a name that is none": (toml(name="a b"), "name must be"),
    "an unknown setting": (toml(contract=[TOKEN_HEX]), "unknown setting 'contract'"),
    "version 0": (toml(version=0), "version must be"),
    "version true": (toml(version=True), "version must be"),
    "a start block below 0": (toml(start_block=-1), "start_block must be"),
    "a start block beyond bigint": (toml(start_block=2**63), "start_block must be"),
    "a contract's start block in words": (
        toml(contracts=[{"address": TOKEN_HEX, "start_block": "x"}]),
        "start_block must be",
    ),
    "no contracts": (toml(contracts=None), "contracts must be"),
    "an empty list of contracts": (toml(contracts=[]), "contracts must be"),
    "a short address": (toml(contracts=["0x1234"]), "'0x1234' is not an address"),
    "a mistyped address": (toml(contracts=["0xB31f66AA3C1e785363F0875A1B74E27b85FD66c8"]), "checksum (EIP-55)"),
    "a version beyond what can be added up": (toml(version=2**31), "at most 2147483647"),
    "an address that is a number": (toml(contracts=[5]), "'5' is not an address"),
    "a contract twice": (toml(contracts=[TOKEN_HEX, TOKEN_HEX.upper().replace("X", "x")]), "listed twice"),
    "a contract with more": (toml(contracts=[{"address": TOKEN_HEX, "from": 1}]), "address and start_block only"),
    "no abi": (toml(abi=None), "abi must be"),
    "an abi file that is missing": (toml(abi="none.json"), "none.json: cannot be read: No such file"),
    "an abi that is a folder": (toml(abi="."), "cannot be read"),
    "an abi that is not JSON": (toml(abi="broken.json"), "not valid JSON"),
    "an abi that is not UTF-8": (toml(abi="latin1.json"), "not UTF-8"),
    "an abi that is no list": (toml(abi="object.json"), "neither a list"),
    "an abi without events": (toml(abi="empty.json"), "no events"),
    "a malformed entry": (toml(abi="entry.json"), "event E: unknown type 'money'"),
    "a malformed signature": (toml(abi=["event Ping(uint256"]), "expected , or )"),
    "an unknown event": (toml(events=["Pong"]), "no event 'Pong' (it has Ping)"),
    "events that are no list": (toml(events="Ping"), "events must be"),
    "an anonymous event by name": (toml(abi=["event N() anonymous"], events=["N"]), "N is anonymous"),
    "wrapped_native in words": (toml(wrapped_native="yes"), "wrapped_native must be"),
    "wrapped_native of any contract": (toml(wrapped_native=True, contracts="*"), "needs a list"),
    "a wrapped_native that is no address": (toml(wrapped_native=["0x"]), "is not an address"),
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_one_line_that_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.json").write_text("[")
    (tmp_path / "latin1.json").write_bytes(b'["\xe9"]')
    (tmp_path / "object.json").write_text('{"abi": 5}')
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "entry.json").write_text('[{"type": "event", "name": "E", "inputs": [{"type": "money"}]}]')

    with pytest.raises(UserError) as refused:
        models(tmp_path, text)

    assert message in str(refused.value)
    assert "0.toml" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.code == "MODEL_INVALID"


def test_a_missing_file_and_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.toml: cannot be read: No such file"):
        load_models([tmp_path / "none.toml"])
    with pytest.raises(UserError, match="two models named 'pings'"):
        models(tmp_path, toml(), toml())


def test_arguments_are_json_that_jsonb_takes() -> None:
    args: dict[str, object] = {
        "n": 2**256 - 1, "yes": True, "no": False, "raw": b"\x00\xff", "text": 'a"\\\0\n\x01é😀',
        "list": [1, [b""]], "tuple": {"x": -1},
    }  # fmt: skip

    text = to_json(args)

    assert "\\u0000" not in text.replace("\\\\u0000", "")
    assert json.loads(text) == {
        "n": str(2**256 - 1), "yes": True, "no": False, "raw": "0x00ff", "text": 'a"\\\\u0000\n\x01é😀',
        "list": ["1", ["0x"]], "tuple": {"x": "-1"},
    }  # fmt: skip


def test_a_block_without_logs_gives_nothing(tmp_path: Path) -> None:
    decoded = decode_logs(logs_of(), 1, models(tmp_path, toml()), frozenset())

    assert (decoded.token_transfers.log_index, decoded.decoded_events.log_index, decoded.undecoded) == ([], [], [])


def test_a_dynamic_event_goes_all_the_way(tmp_path: Path) -> None:
    said = "event Said(string text, (uint256 a, bytes b)[] parts)"
    topic0 = compile_event(parse_signature(said)).topic0
    data = words(64, 128, 2) + b"hi".ljust(32, b"\0") + words(1, 32, 5, 64, 1) + b"\xff".ljust(32, b"\0")

    events, _ = models(tmp_path, toml(abi=[said])).decode(a_log(topic0, data=data), 1)

    assert events.args == ['{"text":"hi","parts":[{"a":"5","b":"0xff"}]}']
