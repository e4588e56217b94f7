"""Sending to SQS: within its limits, and with an exact answer about what it took. Shows R15, R21 and R22."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from lambdas.quiet_hours.notification.bundle import BUNDLE_BYTES_MAX, Message, dead_letter
from lambdas.quiet_hours.settings import Settings
from lambdas.quiet_hours.stores.clients import error_code
from lambdas.quiet_hours.stores.queues import BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, ROUNDS_MAX, delete, send
from tests.helpers.aws import Faulty, dynamodb, fail, recorded, refuse, settings, sqs, take, text_attributes

__all__ = ["dynamodb", "settings", "sqs"]


def messages(*bodies: str) -> list[Message]:
    return [Message(body) for body in bodies]


def bodies(sqs: Any, queue_url: str) -> list[str]:
    return sorted(message["Body"] for message in take(sqs, queue_url))


def rounds(fault: Any) -> tuple[Any, list[list[str]]]:
    """The fault, and a list that grows by the bodies of each batch call."""
    made: list[list[str]] = []

    def counted(real: Any, **parameters: Any) -> Any:
        made.append([entry["MessageBody"] for entry in parameters["Entries"]])
        return fault(real, **parameters)

    return counted, made


def test_r21_messages_are_sent_ten_to_a_call(sqs: Any, settings: Settings) -> None:
    with recorded(sqs) as calls:
        assert send(sqs, settings.wait_queue_url, messages(*(f"m{n:02}" for n in range(25)))) == {}
    assert [len(call.parameters["Entries"]) for call in calls] == [10, 10, 5]
    assert {call.operation for call in calls} == {"SendMessageBatch"}
    assert bodies(sqs, settings.wait_queue_url) == [f"m{n:02}" for n in range(25)]


def test_nothing_to_send_is_no_call(sqs: Any, settings: Settings) -> None:
    with recorded(sqs) as calls:
        assert send(sqs, settings.wait_queue_url, []) == {}
    assert calls == []


def test_a_call_carries_at_most_1_mib_of_bodies_and_attributes(sqs: Any, settings: Settings) -> None:
    third = BATCH_BYTES_MAX // 3
    letters = [
        Message("가" * ((third - len("reason" + "String" + "r")) // 3), attributes={"reason": "r"}) for _ in range(3)
    ]
    with recorded(sqs) as calls:
        send(sqs, settings.dead_letter_queue_url, letters)
    assert [len(call.parameters["Entries"]) for call in calls] == [3]
    grown = [*letters[:2], Message(letters[2].body + "aaa", attributes={"reason": "r"})]
    with recorded(sqs) as calls:
        send(sqs, settings.dead_letter_queue_url, grown)
    assert [len(call.parameters["Entries"]) for call in calls] == [2, 1]


def test_ten_full_bundles_go_in_one_call(sqs: Any, settings: Settings) -> None:
    with recorded(sqs) as calls:
        assert send(sqs, settings.wait_queue_url, messages(*["x" * BUNDLE_BYTES_MAX] * 10)) == {}
    assert len(calls) == 1
    assert BATCH_MESSAGES_MAX == 10


def test_attributes_travel_as_text(sqs: Any, settings: Settings) -> None:
    send(sqs, settings.dead_letter_queue_url, [dead_letter("body", "invalid: 한글", "n-1"), Message("plain")])
    found = {message["Body"]: text_attributes(message) for message in take(sqs, settings.dead_letter_queue_url)}
    assert found == {"body": {"reason": "invalid: 한글", "notification_id": "n-1"}, "plain": {}}


@pytest.mark.parametrize(("delay_s", "sent"), [(0, None), (-1, None), (0.1, 1), (15, 15), (15.2, 16), (5000, 900)])
def test_r22_a_delay_is_rounded_up_and_at_most_what_sqs_knows(
    sqs: Any, settings: Settings, delay_s: float, sent: int | None
) -> None:
    with recorded(sqs) as calls:
        send(sqs, settings.delivery_queue_url, messages("m"), delay_s)
    (entry,) = calls[0].parameters["Entries"]
    assert entry.get("DelaySeconds") == sent
    assert bodies(sqs, settings.delivery_queue_url) == ([] if sent else ["m"])


def test_what_a_call_did_not_take_is_sent_again_and_nothing_else(sqs: Any, settings: Settings) -> None:
    answers = iter(
        [refuse(lambda _, body: body in "bc"), refuse(lambda _, body: body == "c"), refuse(lambda *_: False)]
    )
    fault, made = rounds(lambda real, **call: next(answers)(real, **call))
    assert send(Faulty(sqs, send_message_batch=fault), settings.wait_queue_url, messages("a", "b", "c")) == {}
    assert made == [["a", "b", "c"], ["b", "c"], ["c"]]
    assert bodies(sqs, settings.wait_queue_url) == ["a", "b", "c"]


def test_what_is_still_not_taken_after_three_calls_is_reported_by_its_index(sqs: Any, settings: Settings) -> None:
    fault, made = rounds(refuse(lambda _, body: body in ("b", "m11")))
    faulty = Faulty(sqs, send_message_batch=fault)
    all_bodies = ["a", "b", *(f"m{n}" for n in range(2, 14))]
    assert send(faulty, settings.wait_queue_url, messages(*all_bodies)) == {1: "InternalError", 11: "InternalError"}
    assert made == [all_bodies[:10], ["b"], ["b"], all_bodies[10:], ["m11"], ["m11"]]
    assert ROUNDS_MAX == 3
    assert bodies(sqs, settings.wait_queue_url) == sorted(set(all_bodies) - {"b", "m11"})


def test_what_is_the_senders_fault_is_not_sent_again(sqs: Any, settings: Settings) -> None:
    fault, made = rounds(refuse(lambda _, body: body == "b", "InvalidMessageContents", sender_fault=True))
    faulty = Faulty(sqs, send_message_batch=fault)
    assert send(faulty, settings.wait_queue_url, messages("a", "b")) == {1: "InvalidMessageContents"}
    assert len(made) == 1


def test_an_entry_that_an_answer_leaves_out_was_not_taken(sqs: Any, settings: Settings) -> None:
    faulty = Faulty(sqs, send_message_batch=lambda real, **call: {})
    assert send(faulty, settings.wait_queue_url, messages("a")) == {0: "NoAnswer"}


@pytest.mark.parametrize(
    "error", [EndpointConnectionError(endpoint_url="x"), ReadTimeoutError(endpoint_url="x"), None], ids=str
)
def test_a_call_that_fails_counts_as_not_taken_and_the_next_batch_is_tried(
    sqs: Any, settings: Settings, error: Exception | None
) -> None:
    def fault(real: Any, **call: Any) -> Any:
        if any(entry["MessageBody"] == "m3" for entry in call["Entries"]):
            if error is None:
                fail("ServiceUnavailable")(real)
            raise error
        return real(**call)

    faulty = Faulty(sqs, send_message_batch=fault)
    code = type(error).__name__ if error else "ServiceUnavailable"
    not_taken = send(faulty, settings.wait_queue_url, messages(*(f"m{n}" for n in range(12))))
    assert not_taken == dict.fromkeys(range(10), code)
    assert bodies(sqs, settings.wait_queue_url) == ["m10", "m11"]


def test_a_call_that_fails_while_repeating_reports_only_what_is_left(sqs: Any, settings: Settings) -> None:
    answers = iter([refuse(lambda _, body: body == "b"), fail("ThrottlingException")])
    faulty = Faulty(sqs, send_message_batch=lambda real, **call: next(answers)(real, **call))
    assert send(faulty, settings.wait_queue_url, messages("a", "b")) == {1: "ThrottlingException"}


def test_any_other_error_is_not_swallowed(sqs: Any, settings: Settings) -> None:
    def fault(real: Any, **call: Any) -> Any:
        raise MemoryError

    with pytest.raises(MemoryError):
        send(Faulty(sqs, send_message_batch=fault), settings.wait_queue_url, messages("a"))


def test_a_queue_that_does_not_exist_is_reported_and_not_raised(sqs: Any, settings: Settings) -> None:
    (code,) = send(sqs, settings.wait_queue_url + "-gone", messages("a")).values()
    assert "NonExistentQueue" in code or "QueueDoesNotExist" in code


def test_deleting_says_how_many_are_gone(sqs: Any, settings: Settings) -> None:
    send(sqs, settings.wait_queue_url, messages("a", "b"))
    received = sqs.receive_message(QueueUrl=settings.wait_queue_url, MaxNumberOfMessages=10)["Messages"]
    assert delete(sqs, settings.wait_queue_url, [message["ReceiptHandle"] for message in received]) == 2

    def half(real: Any, **call: Any) -> Any:
        return {"Successful": [{"Id": "0"}], "Failed": [{"Id": "1", "Code": "InternalError", "SenderFault": False}]}

    assert delete(Faulty(sqs, delete_message_batch=half), settings.wait_queue_url, ["a", "b"]) == 1


def test_an_error_is_named_by_its_code_and_never_by_its_text() -> None:
    with pytest.raises(Exception, match="injected") as error:
        fail("AccessDenied")(None)
    assert error_code(error.value) == "AccessDenied"
    assert error_code(ConnectTimeoutError(endpoint_url="https://secret")) == "ConnectTimeoutError"
