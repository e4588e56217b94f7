"""The simulation's queues and tables answer as moto's do. tests/embedded/test_model.py compares the embedded AWS."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from moto import mock_aws

from tests.helpers.agreement import (
    BATCHES,
    SEQUENCES,
    WRITES,
    Real,
    calls_are_refused,
    consents_agree,
    held_agree,
    ledgers_agree,
    queues_agree,
    redrives_agree,
    refusals_agree,
    refused_transactions_agree,
    turns_agree,
)


@pytest.fixture(scope="module")
def moto_clients() -> Iterator[Real]:
    with mock_aws():
        yield Real()


@pytest.fixture
def moto(moto_clients: Real) -> Real:
    return moto_clients.fresh()


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_queues_answer_as_moto_does(moto: Real, seed: int) -> None:
    queues_agree(moto, seed)


def test_redrive_happens_when_moto_redrives(moto: Real) -> None:
    redrives_agree(moto)


@pytest.mark.parametrize("batch", BATCHES)
def test_batches_are_refused_as_moto_refuses_them(moto: Real, batch: str) -> None:
    refusals_agree(moto, batch)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_the_ledger_is_the_same_on_moto(moto: Real, seed: int) -> None:
    ledgers_agree(moto, seed)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_turns_rests_and_probes_are_the_same_on_moto(moto: Real, seed: int) -> None:
    turns_agree(moto, seed)


@pytest.mark.parametrize("write", WRITES)
def test_calls_are_refused_as_moto_refuses_them(moto: Real, write: str) -> None:
    calls_are_refused(moto, write)


def test_a_refused_transaction_says_which_item_stood_in_the_way(moto: Real) -> None:
    refused_transactions_agree(moto)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_consents_are_read_as_moto_reads_them(moto: Real, seed: int) -> None:
    consents_agree(moto, seed)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_what_is_held_is_listed_as_moto_lists_it(moto: Real, seed: int) -> None:
    held_agree(moto, seed)
