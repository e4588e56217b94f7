"""The simulation's queues and tables answer as the embedded AWS does. tests/simulation/test_simulation_model.py makes
the same calls to moto. No stack is needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local import server
from tests.helpers.agreement import (
    BATCHES,
    MORE_WRITES,
    SEQUENCES,
    WRITES,
    Real,
    calls_are_refused,
    consents_agree,
    held_agree,
    ledgers_agree,
    old_handles_agree,
    oversized_entries_agree,
    queues_agree,
    redrives_agree,
    refusals_agree,
    refused_transactions_agree,
    turns_agree,
)


@pytest.fixture(scope="module")
def clients(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    embedded = server.start(server.free_port(), tmp_path_factory.mktemp("bare"))
    try:
        yield Real(embedded.endpoint)
    finally:
        embedded.stop()


@pytest.fixture
def embedded(clients: Real) -> Real:
    return clients.fresh()


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_queues_answer_as_the_embedded_aws_does(embedded: Real, seed: int) -> None:
    queues_agree(embedded, seed)


def test_redrive_happens_when_the_embedded_aws_redrives(embedded: Real) -> None:
    redrives_agree(embedded)


@pytest.mark.parametrize("batch", BATCHES)
def test_batches_are_refused_as_the_embedded_aws_refuses_them(embedded: Real, batch: str) -> None:
    refusals_agree(embedded, batch)


def test_an_old_receipt_handle_deletes_nothing(embedded: Real) -> None:
    old_handles_agree(embedded)


def test_an_entry_above_the_queue_s_limit_is_refused_and_its_neighbour_taken(embedded: Real) -> None:
    oversized_entries_agree(embedded)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_the_ledger_is_the_same_on_the_embedded_aws(embedded: Real, seed: int) -> None:
    ledgers_agree(embedded, seed)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_turns_rests_and_probes_are_the_same_on_the_embedded_aws(embedded: Real, seed: int) -> None:
    turns_agree(embedded, seed)


@pytest.mark.parametrize("write", [*WRITES, *MORE_WRITES])
def test_calls_are_refused_as_the_embedded_aws_refuses_them(embedded: Real, write: str) -> None:
    calls_are_refused(embedded, write)


def test_a_refused_transaction_says_there_too_which_item_stood_in_the_way(embedded: Real) -> None:
    refused_transactions_agree(embedded)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_consents_are_read_as_the_embedded_aws_reads_them(embedded: Real, seed: int) -> None:
    consents_agree(embedded, seed)


@pytest.mark.parametrize("seed", range(SEQUENCES))
def test_what_is_held_is_listed_as_the_embedded_aws_lists_it(embedded: Real, seed: int) -> None:
    held_agree(embedded, seed)
