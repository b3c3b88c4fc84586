# SPDX-License-Identifier: Apache-2.0
"""Dataclasses, enums, descriptors, metaclasses, ABCs, protocols, pattern matching."""
import abc
import copy
import dataclasses
import enum
import functools
import typing
from dataclasses import dataclass, field


class Suit(enum.Enum):
    CLUBS, DIAMONDS, HEARTS, SPADES = "♣♦♥♠"


class Access(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()
    BOTH = READ | WRITE


@functools.total_ordering
@dataclass(frozen=True)
class Card:
    rank: int
    suit: Suit = Suit.SPADES

    def __lt__(self, other):
        return (self.rank, self.suit.name) < (other.rank, other.suit.name)

    def __str__(self):
        return f"{self.rank}{self.suit.value}"


@dataclass(order=True, kw_only=True)
class Hand:
    size: int = field(init=False)
    cards: list[Card] = field(default_factory=list, repr=False)
    owner: str = field(default="nobody", compare=False)

    def __post_init__(self):
        self.size = len(self.cards)


class Positive:
    def __set_name__(self, owner, name):
        self.name = "_" + name

    def __get__(self, obj, kind=None):
        return self if obj is None else getattr(obj, self.name)

    def __set__(self, obj, value):
        if value <= 0:
            raise ValueError(f"{self.name[1:]} must be positive, not {value}")
        setattr(obj, self.name, value)


class Registry(abc.ABCMeta):
    kinds = {}

    def __new__(mcls, name, bases, body, **kw):
        cls = super().__new__(mcls, name, bases, body)
        mcls.kinds[kw.get("tag", name)] = cls
        return cls

    def __init__(cls, *args, **kw):
        super().__init__(*args)


class Shape(metaclass=Registry):
    @abc.abstractmethod
    def area(self): ...


class Square(Shape, tag="sq"):
    side = Positive()

    def __init__(self, side):
        self.side = side

    def area(self):
        return self.side ** 2


@typing.runtime_checkable
class HasArea(typing.Protocol):
    def area(self): ...


def describe(x):
    match x:
        case Card(rank=1 | 11 | 12 | 13 as r, suit=Suit.HEARTS):
            return f"heart face {r}"
        case Card(r, s) if r > 9:
            return f"ten of {s.name.lower()}"
        case [Card() as first, *rest]:
            return f"{first} and {len(rest)} more"
        case {"cmd": str(c), **others}:
            return f"{c} with {sorted(others)}"
        case int() | float() as n:
            return f"number {n}"
        case _:
            return "something"


hand = Hand(cards=[Card(10), Card(1, Suit.HEARTS), Card(2, Suit.CLUBS)], owner="eve")
print(hand, [str(c) for c in sorted(hand.cards)], hand < Hand(cards=hand.cards * 2))
print([describe(x) for x in (hand.cards[1], hand.cards[0], hand.cards, {"cmd": "go", "b": 1}, 2.5, None)])
print(dataclasses.asdict(Card(3)), dataclasses.replace(Card(3), rank=4), copy.deepcopy(hand) == hand)
print(Access.BOTH, Access.READ in Access.BOTH, ~Access.READ, list(Suit), Suit("♥"))
print(sorted(Registry.kinds), isinstance(Square(2), HasArea), Square(3).area())
for f in (Shape, lambda: Square(-1), lambda: setattr(hand.cards[0], "rank", 5), lambda: Suit("x")):
    try:
        f()
    except Exception as e:
        print(type(e).__name__, e)
print(Square.__mro__, typing.get_type_hints(Hand))
