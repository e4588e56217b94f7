"""Makes moto and botocore cheaper for tests. Their answers stay the same.

Most of the CPU of `make unit` was work that moto and botocore repeat for each call or each test although its result is
the same each time, or that nothing here needs. Each function below takes away one kind of it.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from functools import cache, lru_cache
from typing import Any

import botocore.auth
import botocore.session
import botocore.useragent
import moto.backend_index
import moto.core.models
import moto.core.responses
import moto.sqs.models
from moto.core.base_backend import BaseBackend
from moto.core.serialize import BaseJSONSerializer
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.parsing.tokens import ExpressionTokenizer
from moto.dynamodb.parsing.validators import (
    ActionCountValidator,
    OverlappingPathsValidator,
    UpdateExpressionValidator,
    UpdateHashRangeKeyValidator,
)
from moto.sqs.models import Message, SQSBackend

OFTEN_USED = ("dynamodb", "sqs", "s3", "secretsmanager")
CACHED_MAX = 10_000

CHECKED_ONCE = (ActionCountValidator, OverlappingPathsValidator, UpdateHashRangeKeyValidator)

PLAIN_KINDS = {"S", "N", "BOOL", "NULL", "SS", "NS"}
"""The kinds of values whose JSON is the value itself."""


@cache  # once in a process
def make_cheap() -> None:
    _find_services_sooner()
    _remember_names()
    _remember_service_models()
    _remember_conditions()
    _remember_updates()
    _check_an_update_once()
    _do_not_compute_signatures()
    _write_attribute_values_directly()
    _back_up_tables_shallowly()
    _read_the_clock_directly()


def _find_services_sooner() -> None:
    """For each call, moto tries the patterns of 200 services in order, and makes the URLs of the one that fits. At each
    start it also registers all patterns seven times, for the package `requests`, which nothing here uses."""
    moto.backend_index.backend_url_patterns.sort(key=lambda pattern: pattern[0] not in OFTEN_USED)
    moto.core.models.RESPONSES_METHODS.clear()
    make_urls: Any = BaseBackend.urls.fget  # type: ignore[attr-defined]
    urls: dict[type, Any] = {}

    def urls_of(backend: BaseBackend) -> Any:
        if type(backend) not in urls:
            urls[type(backend)] = make_urls(backend)
        return urls[type(backend)]

    BaseBackend.urls = property(urls_of)  # type: ignore[method-assign,assignment]


def _remember_names() -> None:
    """These go through a text letter by letter, or through a class, many times for each call. They get the same few."""
    to_snake_case = lru_cache(CACHED_MAX)(moto.core.responses.camelcase_to_underscores)
    moto.core.responses.camelcase_to_underscores = moto.sqs.models.camelcase_to_underscores = to_snake_case
    moto.core.responses.method_names_from_class = cache(moto.core.responses.method_names_from_class)
    botocore.useragent.sanitize_user_agent_string_component = lru_cache(CACHED_MAX)(
        botocore.useragent.sanitize_user_agent_string_component
    )


def _remember_service_models() -> None:
    """A loader remembers the files that it has read. Each session has its own loader, and each test has a session."""
    botocore.session.create_loader = cache(botocore.session.create_loader)


def _remember_conditions() -> None:
    """Moto reads a condition two or three times for each item that it is for."""
    parse = ConditionExpressionParser.parse
    lex = ConditionExpressionParser._lex_condition_expression
    parsed: dict[tuple[str, str, str], tuple[Any, list[str], list[str]]] = {}
    tokens: dict[str, tuple[Any, ...]] = {}

    def parse_once(parser: ConditionExpressionParser) -> Any:
        key = (
            repr(parser.condition_expression),
            repr(parser.expression_attribute_names),
            repr(parser.expression_attribute_values),
        )
        if key not in parsed:
            if len(parsed) >= CACHED_MAX:
                parsed.clear()
            parsed[key] = (parse(parser), parser.expr_attr_names_found, parser.expr_attr_values_found)
        operation, names, values = parsed[key]
        parser.expr_attr_names_found, parser.expr_attr_values_found = list(names), list(values)
        return operation

    def lex_once(parser: ConditionExpressionParser) -> deque[Any]:
        expression = str(parser.condition_expression)
        if expression not in tokens:
            tokens[expression] = tuple(lex(parser))
        return deque(tokens[expression])

    ConditionExpressionParser.parse = parse_once  # type: ignore[method-assign]
    ConditionExpressionParser._lex_condition_expression = lex_once  # type: ignore[method-assign]


def _remember_updates() -> None:
    """Moto reads an update two times for each call, letter by letter. For each part of it, and for each of ten checks,
    it then makes a list of the kinds of parts that the check is about."""
    tokens: dict[str, tuple[Any, ...]] = {}
    make_list = ExpressionTokenizer.make_list

    def list_once(expression: str) -> list[Any]:
        if expression not in tokens:
            tokens[expression] = tuple(make_list(expression))
        return list(tokens[expression])

    def traverse(traverser: DepthFirstTraverser, node: Any, child_id: int = -1) -> Any:
        return visit(traverser, traverser._processing_map(), node, child_id)

    def visit(traverser: DepthFirstTraverser, processors: Any, node: Any, child_id: int) -> Any:
        parent = node.parent
        for index, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, index)
            if isinstance(child, Node):
                visit(traverser, processors, child, index)
        for kind, process in processors.items():
            if isinstance(node, kind):
                node = process(node)
                node.parent = parent
                if parent:
                    parent.children[child_id] = node
                break
        return node

    ExpressionTokenizer.make_list = list_once  # type: ignore[method-assign,assignment]
    DepthFirstTraverser.traverse_node_recursively = traverse


def _check_an_update_once() -> None:
    """Three of the checks of an update are about its text, the names in it and the table's keys alone."""
    make: Any = UpdateExpressionParser.make.__func__
    validate = UpdateExpressionValidator.validate
    passed: set[tuple[str, str, str]] = set()

    def make_with_text(cls: type[UpdateExpressionParser], text: str) -> Any:
        node = make(cls, text)
        node.text = text
        return node

    def validate_once(validator: UpdateExpressionValidator) -> Any:
        names, keys = repr(validator.expression_attribute_names), repr(validator.table.table_key_attrs)
        key = (validator.node_to_validate.text, names, keys)  # type: ignore[attr-defined]
        if key in passed:
            validator.processors = [each for each in validator.processors if not isinstance(each, CHECKED_ONCE)]
        node = validate(validator)
        passed.add(key)
        return node

    UpdateExpressionParser.make = classmethod(make_with_text)  # type: ignore[method-assign,assignment]
    UpdateExpressionValidator.validate = validate_once  # type: ignore[method-assign]


def _do_not_compute_signatures() -> None:
    """Moto reads the key and the region in a request's signature, and never verifies it."""
    botocore.auth.SigV4Auth.canonical_request = lambda _auth, _request: ""


def _write_attribute_values_directly() -> None:
    """For each value of an item, moto looks for each of the ten kinds of values under several names. A value is one of
    them, and stands in the answer as it is."""
    serialize = BaseJSONSerializer._serialize_type_map

    def write_map(serializer: Any, serialized: Any, items: Any, shape: Any, key: str) -> None:
        is_item = shape.value.name == "AttributeValue"
        if is_item and all(type(value) is dict and value.keys() <= PLAIN_KINDS for value in items.values()):
            serializer._default_serialize(serialized, {name: dict(value) for name, value in items.items()}, shape, key)
        else:
            serialize(serializer, serialized, items, shape, key)

    BaseJSONSerializer._serialize_type_map = write_map  # type: ignore[method-assign]


def _back_up_tables_shallowly() -> None:
    """Before each transaction, moto copies the table with all its items, to restore it if the transaction fails. Puts,
    deletes and checks replace whole items, so a copy of the dictionaries is enough. An update would change an item."""
    transact = moto.dynamodb.models.DynamoDBBackend.transact_write_items

    def transact_write_items(backend: Any, transact_items: list[dict[str, Any]]) -> None:
        assert not any("Update" in item for item in transact_items), "copy the items, too"
        transact(backend, transact_items)

    def copied(table: Table, _memo: dict[int, Any]) -> Table:
        backup = copy.copy(table)
        backup.items = copy.copy(table.items)
        if table.has_range_key:
            for key, items in table.items.items():
                backup.items[key] = copy.copy(items)
        return backup

    moto.dynamodb.models.DynamoDBBackend.transact_write_items = transact_write_items  # type: ignore[method-assign]
    Table.__deepcopy__ = copied  # type: ignore[attr-defined]


def _read_the_clock_directly() -> None:
    """Moto takes the difference of two dates for the time, several times for each message on a queue. For each message
    received it also computes all attributes of the queue, to find the retention."""
    moto.sqs.models.unix_time = time.time
    moto.sqs.models.unix_time_millis = lambda: time.time() * 1000

    def is_retained(backend: SQSBackend, queue_name: str, message: Message) -> bool:
        retention_s: Any = backend.get_queue(queue_name).message_retention_period  # type: ignore[attr-defined]
        return bool(retention_s + message.sent_timestamp / 1000 > time.time())  # type: ignore[operator]

    SQSBackend.is_message_valid_based_on_retention_period = is_retained  # type: ignore[method-assign]
