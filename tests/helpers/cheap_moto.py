"""Makes moto and botocore cheaper for tests. Their answers stay the same.

Most of the CPU of `make unit` was work that moto and botocore repeat for each call or each test although its result is
the same each time, or that nothing here needs. Each function below takes away one kind of it.
"""

from __future__ import annotations

import copy
import json
import re
import time
from collections import deque
from functools import cache, lru_cache
from typing import Any

import botocore.auth
import botocore.endpoint
import botocore.session
import botocore.useragent
import moto.backend_index
import moto.core.models
import moto.core.responses
import moto.sqs.models
from botocore.awsrequest import AWSResponse
from botocore.endpoint import Endpoint
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.base_backend import BaseBackend
from moto.core.botocore_stubber import MockRawResponse
from moto.core.models import botocore_stubber
from moto.core.parse import JSONParser
from moto.core.responses import BaseResponse
from moto.core.serialize import BaseJSONSerializer
from moto.core.utils import utcnow
from moto.dynamodb.comparisons import ConditionExpressionParser
from moto.dynamodb.models.dynamo_type import DynamoType, LimitedSizeDict
from moto.dynamodb.models.table import Table
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser, Node, UpdateExpression
from moto.dynamodb.parsing.expressions import UpdateExpressionParser
from moto.dynamodb.parsing.validators import (
    ActionCountValidator,
    OverlappingPathsValidator,
    UpdateExpressionValidator,
    UpdateHashRangeKeyValidator,
)
from moto.dynamodb.responses import DynamoHandler
from moto.sqs.models import Message, SQSBackend
from moto.sqs.responses import SQSResponse
from moto.utilities.utils import get_partition
from werkzeug.http import http_date

OFTEN_USED = ("dynamodb", "sqs", "s3", "secretsmanager")
CACHED_MAX = 10_000
ITEM_BYTES_MAX = 400_000

CHECKED_ONCE = (ActionCountValidator, OverlappingPathsValidator, UpdateHashRangeKeyValidator)

CALLED_DIRECTLY: dict[str, type[BaseResponse]] = {"dynamodb": DynamoHandler, "sqs": SQSResponse}
AMAZON_URL = re.compile(r"https://[a-z0-9.-]+\.amazonaws\.com/")
BINARY = re.compile(rb'(?<!\\)"(?:B|BS|Binary\w+)"')
"""The names of binary members in JSON: they are in base64 there, and moto's own parser decodes them."""

PLAIN_KINDS = {"S", "N", "BOOL", "NULL", "SS", "NS"}
"""The kinds of values whose JSON is the value itself."""


@cache  # once in a process
def make_cheap() -> None:
    _call_backends_directly()
    _find_services_sooner()
    _remember_names()
    _remember_service_models()
    _remember_conditions()
    _remember_updates()
    _check_an_update_once()
    _copy_updates_directly()
    _add_up_an_item_s_size_once()
    _do_not_compute_signatures()
    _write_attribute_values_directly()
    _back_up_tables_shallowly()
    _read_the_clock_directly()


def _call_backends_directly() -> None:
    """Between the request that botocore has validated and the backend that answers it, botocore and moto make an HTTP
    request, sign it, take it apart again, and look for the service that fits its URL. In a JSON protocol, the backend
    needs the operation, the body and the region only. Services of other protocols are called as before."""
    send = Endpoint.make_request

    def make_request(endpoint: Endpoint, operation: Any, request: dict[str, Any]) -> Any:
        make = CALLED_DIRECTLY.get(operation.service_model.service_name)
        if make is None or not botocore_stubber.enabled or not AMAZON_URL.match(request["url"]):
            return send(endpoint, operation, request)
        status, headers, body = _received(make(), operation, request).call_action()
        http = AWSResponse(request["url"], status, headers, MockRawResponse(body))  # type: ignore[arg-type]
        answer = botocore.endpoint.convert_to_response_dict(http, operation)
        parser = endpoint._response_parser_factory.create_parser(operation.service_model.resolved_protocol)
        parsed = parser.parse(answer, operation.output_shape)
        if status >= 300:
            endpoint._add_modeled_error_fields(answer, parsed, operation, parser)
        parsed["ResponseMetadata"]["RetryAttempts"] = 0
        return http, parsed

    Endpoint.make_request = make_request


def _received(response: BaseResponse, operation: Any, request: dict[str, Any]) -> BaseResponse:
    """A request in the form in which `BaseResponse.setup_class` takes it apart."""
    response.body = response.raw_body = body = request["body"]
    if BINARY.search(body):
        response.params = JSONParser(operation).parse({"body": body})  # type: ignore[typeddict-item]
    else:
        response.params = json.loads(body)
    response.headers, response.querystring, response.uri_match = request["headers"], {}, {}
    response.uri, response.path = request["url"], "/"
    response.region = request["context"]["client_region"]
    response.partition = get_partition(response.region)
    response.current_account = DEFAULT_ACCOUNT_ID
    response.response_headers = {"server": "amazon.com", "date": http_date(utcnow())}
    return response


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
    """These go through a text letter by letter, or through a class, many times for each call. They get the same few.
    Nothing reads the name of the client's software, which botocore puts together twice for each call."""
    to_snake_case = lru_cache(CACHED_MAX)(moto.core.responses.camelcase_to_underscores)
    moto.core.responses.camelcase_to_underscores = moto.sqs.models.camelcase_to_underscores = to_snake_case
    moto.core.responses.method_names_from_class = cache(moto.core.responses.method_names_from_class)
    botocore.useragent.UserAgentString.to_string = lambda _: "tests"  # type: ignore[method-assign]


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
    """Moto reads an update two times for each call, letter by letter, and changes only copies of what it has read. For
    each part of it, and for each of ten checks, it then makes a list of the kinds of parts that the check is about."""
    make: Any = UpdateExpressionParser.make.__func__

    @lru_cache(CACHED_MAX)
    def make_once(cls: type[UpdateExpressionParser], text: str) -> Any:
        node = make(cls, text)
        node.text = text
        return node

    def traverse(traverser: DepthFirstTraverser, node: Any, child_id: int = -1) -> Any:
        return visit(traverser, traverser._processing_map(), node, child_id)

    def visit(traverser: DepthFirstTraverser, processors: Any, node: Any, child_id: int) -> Any:
        parent = node.parent
        for index, child in enumerate(node.children or ()):
            traverser.pre_processing_of_child(node, index)
            if Node in type(child).__mro__:  # `isinstance` of an abstract class takes ten times as long
                visit(traverser, processors, child, index)
        for kind, process in processors.items():
            if kind in type(node).__mro__:
                node = process(node)
                node.parent = parent
                if parent:
                    parent.children[child_id] = node
                break
        return node

    UpdateExpressionParser.make = classmethod(make_once)  # type: ignore[method-assign,assignment,arg-type]
    DepthFirstTraverser.traverse_node_recursively = traverse


def _check_an_update_once() -> None:
    """Three of the checks of an update are about its text, the names in it and the table's keys alone."""
    validate = UpdateExpressionValidator.validate
    passed: set[tuple[str, str, str]] = set()

    def validate_once(validator: UpdateExpressionValidator) -> Any:
        names, keys = repr(validator.expression_attribute_names), repr(validator.table.table_key_attrs)
        key = (validator.node_to_validate.text, names, keys)  # type: ignore[attr-defined]
        if key in passed:
            validator.processors = [each for each in validator.processors if not isinstance(each, CHECKED_ONCE)]
        node = validate(validator)
        passed.add(key)
        return node

    UpdateExpressionValidator.validate = validate_once  # type: ignore[method-assign]


def _copy_updates_directly() -> None:
    """Moto copies an update with `copy.deepcopy`, which looks for each object whether it was copied before. An update
    is a tree of nodes, texts and numbers."""

    def copied(node: Node, _memo: Any = None) -> Node:
        other: Node = object.__new__(type(node))
        other.__dict__.update(node.__dict__)
        if node.children is not None:
            other.children = [copied(child) if Node in type(child).__mro__ else child for child in node.children]
            for child in other.children:
                if Node in type(child).__mro__:
                    child.parent = other
        return other

    UpdateExpression.__deepcopy__ = copied


def _add_up_an_item_s_size_once() -> None:
    """For each attribute that moto puts into an item, it adds up the sizes of all others. Here it does so once what was
    put in could be too much together."""
    put = LimitedSizeDict.__setitem__

    def put_below_limit(item: Any, name: str, value: Any) -> None:
        added = len(name) * 4 + (value.size() if type(value) is DynamoType else ITEM_BYTES_MAX)
        item.bytes_at_most = item.__dict__.get("bytes_at_most", ITEM_BYTES_MAX if item else 0) + added
        if item.bytes_at_most < ITEM_BYTES_MAX:
            dict.__setitem__(item, name, value)
        else:
            put(item, name, value)

    LimitedSizeDict.__setitem__ = put_below_limit  # type: ignore[method-assign]


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
