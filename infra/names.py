"""Physical names: each derives from the path of its construct, so that two deployments never share one."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from aws_cdk import Names
from constructs import Construct

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

PREFIX_CHARACTERS_MAX = 60
"""A queue's name has at most 80 characters, and the longest that we append is `-Notification`."""


def name_prefix(construct: Construct, characters_max: int = PREFIX_CHARACTERS_MAX) -> str:
    """Return what the physical names of a construct's resources begin with.

    It is the stack's name for a construct that is named `Default`; otherwise the names on its path and a hash of them.
    The hash tells `A-B` in the stack `C` from `B` in the stack `C-A`.
    """
    return Names.unique_resource_name(
        construct, max_length=characters_max, separator="-", allowed_special_characters="-"
    )


def by_name(parts: DataclassInstance) -> dict[str, Any]:
    """Return the fields of a dataclass by the names that people see: `dead_letter` is `DeadLetter`.

    A field that is `None` is left out: this deployment does not have it.
    """
    found = {each.name.title().replace("_", ""): getattr(parts, each.name) for each in fields(parts)}
    return {name: part for name, part in found.items() if part is not None}
