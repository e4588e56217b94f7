"""Consent, read strongly and in batches, and understood so that doubt disturbs nobody."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lambdas.consumer import consume
from lambdas.quiet_hours.errors import ConsentUnavailable, KeysRefused
from lambdas.quiet_hours.notification.json_text import to_text
from lambdas.quiet_hours.rule.terms import Consent
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.backoff import TRIES_MAX
from lambdas.quiet_hours.stores.consents import Consents, read_consents, read_each_consent
from tests.helpers.aws import (
    DAY,
    NIGHT,
    Faulty,
    dynamodb,
    fail,
    notification,
    put_consent,
    record,
    recorded,
    settings,
    sqs,
)
from tests.helpers.delivery_world import Clock, Provider, Queues, World, accepted

__all__ = ["dynamodb", "settings", "sqs"]

TRUE, FALSE = {"BOOL": True}, {"BOOL": False}


def put(dynamodb: Any, **attributes: Any) -> None:
    dynamodb.put_item(TableName="consent", Item={"recipient_id": {"S": "user-42"}} | attributes)


def test_someone_without_a_record_is_missing(dynamodb: Any, settings: Settings) -> None:
    put_consent(dynamodb, "user-42", night_consent=True)
    assert read_consents(dynamodb, "consent", ["user-42", "user-43"], NIGHT) == {"user-42": Consent(True, False)}


def test_nobody_asked_for_is_no_call(dynamodb: Any, settings: Settings) -> None:
    with recorded(dynamodb) as calls:
        assert read_consents(dynamodb, "consent", [], NIGHT) == {}
    assert calls == []


@pytest.mark.parametrize(
    ("attributes", "consent"),
    [
        ({}, Consent(night_consent=False, opted_out=False)),
        ({"night_consent": TRUE}, Consent(night_consent=True)),
        ({"night_consent": FALSE}, Consent(night_consent=False)),
        ({"night_consent": TRUE, "opted_out": TRUE}, Consent(night_consent=True, opted_out=True)),
        ({"opted_out": FALSE}, Consent(opted_out=False)),
        # What somebody stored wrongly is no consent, and no permission either.
        ({"night_consent": {"S": "true"}}, Consent(night_consent=False)),
        ({"night_consent": {"N": "1"}}, Consent(night_consent=False)),
        ({"night_consent": {"NULL": True}}, Consent(night_consent=False)),
        ({"opted_out": {"S": "false"}}, Consent(opted_out=True)),
        ({"opted_out": {"NULL": True}}, Consent(opted_out=True)),
    ],
)
def test_only_a_stored_true_is_a_consent_and_only_a_stored_false_no_opt_out(
    dynamodb: Any, settings: Settings, attributes: dict[str, Any], consent: Consent
) -> None:
    put(dynamodb, **attributes)
    assert read_consents(dynamodb, "consent", ["user-42"], NIGHT) == {"user-42": consent}


@pytest.mark.parametrize(
    ("expires", "counts"),
    [
        ({"N": str(int((NIGHT + timedelta(seconds=1)).timestamp()))}, True),
        ({"N": str(int(NIGHT.timestamp()))}, False),
        ({"N": str(int((NIGHT - timedelta(days=1)).timestamp()))}, False),
        ({"S": "tomorrow"}, False),
    ],
)
def test_an_expired_consent_that_is_still_stored_does_not_count_but_an_opt_out_stays(
    dynamodb: Any, settings: Settings, expires: dict[str, str], counts: bool
) -> None:
    put(dynamodb, night_consent=TRUE, opted_out=TRUE, expires=expires)
    assert read_consents(dynamodb, "consent", ["user-42"], NIGHT) == {"user-42": Consent(counts, opted_out=True)}


def test_consents_are_read_strongly_a_hundred_at_a_time_and_each_recipient_once(
    dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "user-204", night_consent=True)
    with recorded(dynamodb) as calls:
        found = read_consents(dynamodb, "consent", [f"user-{n}" for n in range(205)] * 2, NIGHT)
    assert found == {"user-204": Consent(True)}
    asks = [call.parameters["RequestItems"]["consent"] for call in calls]
    assert [len(ask["Keys"]) for ask in asks] == [100, 100, 5]
    assert all(ask["ConsistentRead"] is True for ask in asks)


def test_keys_that_were_left_unprocessed_are_asked_for_again_as_strongly(dynamodb: Any, settings: Settings) -> None:
    put_consent(dynamodb, "user-1", night_consent=True)
    put_consent(dynamodb, "user-2", night_consent=True)
    asked: list[Any] = []

    def one_at_a_time(real: Any, RequestItems: Any) -> Any:
        asked.append(RequestItems["consent"])
        first, *rest = RequestItems["consent"]["Keys"]
        answer = real(RequestItems={"consent": RequestItems["consent"] | {"Keys": [first]}})
        return answer | {"UnprocessedKeys": {"consent": {"Keys": rest}} if rest else {}}

    faulty = Faulty(dynamodb, batch_get_item=one_at_a_time)
    assert read_consents(faulty, "consent", ["user-1", "user-2"], NIGHT).keys() == {"user-1", "user-2"}
    assert [len(ask["Keys"]) for ask in asked] == [2, 1]
    assert all(ask["ConsistentRead"] is True for ask in asked)


def test_keys_that_stay_unprocessed_are_an_error_and_not_a_guess(dynamodb: Any, settings: Settings) -> None:
    def nothing(real: Any, RequestItems: Any) -> Any:
        return {"Responses": {}, "UnprocessedKeys": RequestItems}

    pauses: list[float] = []
    faulty: Any = Faulty(dynamodb, batch_get_item=nothing)
    with pytest.raises(ConsentUnavailable, match="2 keys could not be read") as unavailable:
        read_consents(faulty, "consent", ["user-1", "user-2"], NIGHT, pauses.append)
    assert unavailable.value.keys == {"user-1", "user-2"}
    assert len(pauses) == TRIES_MAX - 1


def leaving(*stuck: str, code: str = "") -> Any:
    """A BatchGetItem that never processes these keys, or that is throttled when it is asked for nothing else."""

    def answer(real: Any, RequestItems: Any) -> Any:
        asked = RequestItems["consent"]["Keys"]
        left = [key for key in asked if key["recipient_id"]["S"] in stuck]
        if code and len(left) == len(asked):
            return fail(code)(real)
        rest = [key for key in asked if key not in left]
        found = real(RequestItems={"consent": {"Keys": rest}}) if rest else {"Responses": {}}
        return found | {"UnprocessedKeys": {"consent": {"Keys": left}} if left else {}}

    return answer


@pytest.mark.parametrize("code", ["", "ThrottlingException", "ProvisionedThroughputExceededException"])
def test_one_consent_that_cannot_be_read_is_named_and_the_others_are_answered(
    dynamodb: Any, settings: Settings, code: str
) -> None:
    put_consent(dynamodb, "user-1", night_consent=True)
    put_consent(dynamodb, "user-249", night_consent=True)
    faulty: Any = Faulty(dynamodb, batch_get_item=leaving("user-0", "user-100", code=code))
    keys = [f"user-{n}" for n in range(250)]
    consents = read_each_consent(faulty, "consent", keys, NIGHT, lambda _: None)
    assert consents == Consents(
        {"user-1": Consent(True), "user-249": Consent(True)}, frozenset({"user-0", "user-100"}), frozenset()
    )


def test_a_consent_that_is_stored_malformed_is_unreadable_and_its_neighbour_is_not(
    dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "user-1", night_consent=True)
    put_consent(dynamodb, "user-2", night_consent=True)

    def damaged(real: Any, RequestItems: Any) -> Any:
        answer = real(RequestItems=RequestItems)
        for item in answer["Responses"]["consent"]:
            if item["recipient_id"]["S"] == "user-2":
                item["expires"] = {"N": "soon"}
        return answer

    consents = read_each_consent(Faulty(dynamodb, batch_get_item=damaged), "consent", ["user-1", "user-2"], NIGHT)  # type: ignore[arg-type]
    assert consents == Consents({"user-1": Consent(True)}, frozenset({"user-2"}), frozenset())


def test_what_is_refused_and_what_is_left_are_told_apart(dynamodb: Any, settings: Settings) -> None:
    put_consent(dynamodb, "user-1", night_consent=True)
    refuse_first, leave = refusing("bad"), leaving("user-0")

    def both(real: Any, RequestItems: Any) -> Any:
        return refuse_first(lambda RequestItems: leave(real, RequestItems), RequestItems)

    faulty: Any = Faulty(dynamodb, batch_get_item=both)
    consents = read_each_consent(faulty, "consent", ["user-0", "user-1", "bad"], NIGHT, lambda _: None)
    assert consents == Consents({"user-1": Consent(True)}, frozenset({"user-0"}), frozenset({"bad"}))


def refusing(*refused: str) -> Any:
    """A BatchGetItem that refuses a batch with one of these keys, as DynamoDB does."""

    def answer(real: Any, RequestItems: Any) -> Any:
        if "consent" not in RequestItems:  # a worker reads its ledger in the same way
            return real(RequestItems=RequestItems)
        asked = {key["recipient_id"]["S"] for key in RequestItems["consent"]["Keys"]}
        if asked & set(refused) or "all" in refused:
            raise ClientError({"Error": {"Code": "ValidationException", "Message": "canary"}}, "BatchGetItem")
        return real(RequestItems=RequestItems)

    return answer


@pytest.mark.parametrize("number", [1, 2, 99, 250])
def test_a_key_that_dynamodb_refuses_is_named_and_not_taken_for_an_outage(
    dynamodb: Any, settings: Settings, number: int
) -> None:
    keys = [f"user-{n}" for n in range(number)]
    faulty = Faulty(dynamodb, batch_get_item=refusing("user-0", "user-98"))
    with pytest.raises(KeysRefused) as refused:
        read_consents(faulty, "consent", keys, NIGHT)
    assert refused.value.keys == {"user-0", "user-98"} & set(keys)
    assert "user" not in str(refused.value)


def test_a_table_that_refuses_every_key_is_at_fault_and_no_recipient(dynamodb: Any, settings: Settings) -> None:
    with pytest.raises(ClientError, match="ValidationException"):
        read_consents(Faulty(dynamodb, batch_get_item=refusing("all")), "consent", ["user-1", "user-2"], NIGHT)


@pytest.mark.parametrize(
    "fields", [{"recipient_id": "bad"}, {"address": "bad"}, {"address": "bad", "recipient_id": "u"}]
)
def test_the_worker_dead_letters_the_one_notification_whose_key_is_refused(
    dynamodb: Any, settings: Settings, fields: dict[str, str]
) -> None:
    put_consent(dynamodb, "out", opted_out=True)
    clock = Clock(DAY)
    world = World(dynamodb, clock, Queues(clock), Provider(clock), settings.quiet_hours())
    world.faults = {"batch_get_item": refusing("bad")}
    ads = {"category": "advertising", "channel": "webhook", "expires_at": (DAY + timedelta(days=1)).isoformat()}
    world.invoke(
        accepted("a", **ads | {"recipient_id": "good"}),
        accepted("b", **ads | fields),
        accepted("c", **ads | {"recipient_id": "out"}),
    )
    assert [world.state(id) for id in "abc"] == ["delivered", "dead_lettered", "opted_out"]
    assert world.provider.ids == ["a"]


def test_the_consumer_holds_what_has_a_refused_key_and_judges_its_neighbours(
    sqs: Any, dynamodb: Any, settings: Settings
) -> None:
    put_consent(dynamodb, "good", night_consent=True)
    wanted = [notification(id=id, channel="sms", recipient_id=id) for id in ("good", "bad")]
    faulty: Any = Faulty(dynamodb, batch_get_item=refusing("bad"))
    failed, counts = consume([record(to_text(wanted))], NIGHT, sqs, faulty, settings, settings.quiet_hours())
    assert (failed, counts["now"], counts["held"]) == ([], 1, 1)


def test_a_table_that_does_not_answer_is_an_error(dynamodb: Any, settings: Settings) -> None:
    with pytest.raises(ClientError, match="injected"):
        read_consents(Faulty(dynamodb, batch_get_item=fail()), "consent", ["user-1"], NIGHT)
