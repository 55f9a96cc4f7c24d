"""Token contracts on a development node, and people who move tokens at random; compiled contracts: ../shared/data."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.types import RPCEndpoint

from tests.support.shared_data import shared_data

IDS = range(1, 7)  # of ERC-1155 tokens
_GAS = 6_000_000


@dataclass
class TokenChain:
    """A chain with one contract of each standard; what is sent is mined with the next `mine`, in order."""

    url: str
    seed: int
    web3: Web3 = field(init=False)
    people: list[str] = field(init=False)
    erc20: Contract = field(init=False)
    erc721: Contract = field(init=False)
    erc1155: Contract = field(init=False)
    weth: Contract = field(init=False)
    statuses: list[int] = field(default_factory=list)  # of all mined transactions
    _sent: list[str] = field(default_factory=list)
    _owners: dict[int, str] = field(default_factory=dict)  # of ERC-721 tokens, as far as we meant it
    _minted: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self.web3 = Web3(HTTPProvider(self.url))
        self.people = list(self.web3.eth.accounts)
        self.erc20 = self._deploy("oz_ERC20PresetMinterPauser", "Gold", "GLD")
        self.erc721 = self._deploy("oz_ERC721PresetMinterPauserAutoId", "Cards", "CRD", "")
        self.erc1155 = self._deploy("oz_ERC1155PresetMinterPauser", "")
        self.weth = self._deploy("weth9_canonical")

    @property
    def head(self) -> int:
        return self.web3.eth.block_number

    def holders(self) -> list[str]:
        """Everybody who may hold a token: the people and the contracts."""
        return [*self.people, *(each.address for each in (self.erc20, self.erc721, self.erc1155, self.weth))]

    def mine(self) -> None:
        """Put what was sent into a block."""
        self._ask("evm_mine")
        sent, self._sent = self._sent, []
        receipts = [self._ask("eth_getTransactionReceipt", each) for each in sent]
        self.statuses += [int(receipt["status"], 16) for receipt in receipts]

    def start(self) -> None:
        """Give everybody something of everything."""
        admin = self.people[0]
        for person in self.people:
            self._send(admin, self.erc20, "mint", person, 10**24)
            self._send(admin, self.erc1155, "mintBatch", person, list(IDS), [100 * i for i in IDS], b"")
            self._send(person, self.weth, "deposit", value=10**18)
            self._send(person, self.erc20, "approve", admin, 10**22)
        for person in self.people[1:]:
            self._send(person, self.erc721, "setApprovalForAll", admin, True)
        for person in self.people:
            self._mint_card(person)
        self.mine()

    def live(self, blocks: int, actions: int) -> None:
        """Mine blocks of random actions."""
        doings = (self._gold, self._cards, self._cards, self._many, self._many, self._wrapped, self._mistake)
        for _ in range(blocks):
            for _ in range(actions):
                self._random.choice(doings)()
            self.mine()

    # what people do

    def _gold(self) -> None:
        admin, amount = self.people[0], self._random.choice((0, 1, self._random.randrange(10**21)))
        sender, receiver = self._person(), self._random.choice([*self.people, self.erc20.address])
        self._do(
            lambda: self._send(sender, self.erc20, "transfer", receiver, amount),
            lambda: self._send(sender, self.erc20, "transfer", sender, amount),
            lambda: self._send(admin, self.erc20, "transferFrom", sender, receiver, amount),
            lambda: self._send(admin, self.erc20, "burnFrom", sender, amount),
            lambda: self._send(sender, self.erc20, "burn", amount),
            lambda: self._send(admin, self.erc20, "mint", receiver, amount),
        )

    def _cards(self) -> None:
        card = self._random.choice(list(self._owners))
        owner, receiver = self._owners[card], self._person()
        self._do(
            lambda: self._mint_card(receiver),
            lambda: self._move_card(owner, "transferFrom", owner, receiver, card),
            lambda: self._move_card(owner, "safeTransferFrom(address,address,uint256)", owner, receiver, card),
            lambda: self._move_card(self.people[0], "transferFrom", owner, receiver, card),
            lambda: self._burn_card(owner, card),
        )

    def _many(self) -> None:
        admin, sender, receiver = self.people[0], self._person(), self._person()
        one, some = self._random.choice(IDS), self._random.sample(IDS, self._random.randint(0, 4))
        if some and self._random.random() < 0.3:
            some.append(some[0])  # the same id twice in a batch
        amount, amounts = self._random.randrange(20), [self._random.randrange(8) for _ in some]
        self._do(
            lambda: self._send(sender, self.erc1155, "safeTransferFrom", sender, receiver, one, amount, b""),
            lambda: self._send(sender, self.erc1155, "safeBatchTransferFrom", sender, receiver, some, amounts, b"hi"),
            lambda: self._send(sender, self.erc1155, "burn", sender, one, amount),
            lambda: self._send(sender, self.erc1155, "burnBatch", sender, some, amounts),
            lambda: self._send(admin, self.erc1155, "mint", receiver, one, amount, b""),
            lambda: self._send(admin, self.erc1155, "mintBatch", receiver, some, amounts, b""),
        )

    def _wrapped(self) -> None:
        amount, sender, receiver = self._random.randrange(10**17), self._person(), self._person()
        self._do(
            lambda: self._send(sender, self.weth, "deposit", value=amount),
            lambda: self._raw(sender, {"to": self.weth.address, "value": hex(amount)}),  # its fall-back deposits too
            lambda: self._send(sender, self.weth, "withdraw", amount),
            lambda: self._send(sender, self.weth, "transfer", receiver, amount),
        )

    def _mistake(self) -> None:
        """What a contract refuses: the transaction fails, and no token moves."""
        sender, receiver = self._person(), self._person()
        self._do(
            lambda: self._send(sender, self.erc20, "transfer", receiver, 10**30),
            lambda: self._send(sender, self.weth, "withdraw", 10**30),
            lambda: self._send(sender, self.erc721, "burn", 10**6),
            lambda: self._send(sender, self.erc1155, "safeTransferFrom", sender, receiver, 999, 1, b""),
            lambda: self._send(sender, self.erc1155, "safeTransferFrom", sender, self.weth.address, 1, 0, b""),
            lambda: self._raw(
                sender, {"to": receiver, "value": hex(self._random.randrange(10**15))}
            ),  # no token at all
        )

    def _mint_card(self, to: str) -> None:
        self._send(self.people[0], self.erc721, "mint", to)
        self._owners[self._minted] = to
        self._minted += 1

    def _move_card(self, sender: str, how: str, owner: str, to: str, card: int) -> None:
        self._send(sender, self.erc721, how, owner, to, card)
        self._owners[card] = to

    def _burn_card(self, owner: str, card: int) -> None:
        if len(self._owners) > 3:
            self._send(owner, self.erc721, "burn", card)
            del self._owners[card]

    def _do(self, *choices: Callable[[], None]) -> None:
        self._random.choice(choices)()

    def _person(self) -> str:
        return self._random.choice(self.people)

    # sending

    def _deploy(self, name: str, *arguments: Any) -> Contract:
        compiled = json.loads((shared_data() / "abi" / f"{name}.json").read_text())
        contract = self.web3.eth.contract(abi=compiled["abi"], bytecode=compiled["bytecode"])
        data = contract.constructor(*arguments).data_in_transaction
        self._raw(self.people[0], {"data": data})
        (sent,) = self._sent
        self.mine()
        address = self._ask("eth_getTransactionReceipt", sent)["contractAddress"]
        return self.web3.eth.contract(self.web3.to_checksum_address(address), abi=compiled["abi"])

    def _send(self, sender: str, contract: Contract, function: str, *arguments: Any, value: int = 0) -> None:
        data = contract.encode_abi(function, args=arguments)
        self._raw(sender, {"to": contract.address, "data": data, "value": hex(value)})

    def _raw(self, sender: str, transaction: dict[str, Any]) -> None:
        """Send without asking what it will cost: some are meant to fail."""
        self._sent.append(self._ask("eth_sendTransaction", {"from": sender, "gas": hex(_GAS), **transaction}))

    def _ask(self, method: str, *parameters: Any) -> Any:
        answer = self.web3.provider.make_request(RPCEndpoint(method), list(parameters))
        assert "error" not in answer, answer["error"]
        return answer["result"]
