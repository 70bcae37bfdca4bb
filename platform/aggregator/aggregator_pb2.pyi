# mypy: ignore-errors
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Images(_message.Message):
    __slots__ = ("count", "channels", "height", "width", "data")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNELS_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    count: int
    channels: int
    height: int
    width: int
    data: bytes
    def __init__(self, count: _Optional[int] = ..., channels: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class Tensor(_message.Message):
    __slots__ = ("name", "dtype", "shape", "data")
    NAME_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    name: str
    dtype: str
    shape: _containers.RepeatedScalarFieldContainer[int]
    data: bytes
    def __init__(self, name: _Optional[str] = ..., dtype: _Optional[str] = ..., shape: _Optional[_Iterable[int]] = ..., data: _Optional[bytes] = ...) -> None: ...

class VectorQuestion(_message.Message):
    __slots__ = ("task", "mechanism_json", "width", "inputs", "centre")
    TASK_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_JSON_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    CENTRE_FIELD_NUMBER: _ClassVar[int]
    task: str
    mechanism_json: str
    width: int
    inputs: _containers.RepeatedCompositeFieldContainer[Tensor]
    centre: Tensor
    def __init__(self, task: _Optional[str] = ..., mechanism_json: _Optional[str] = ..., width: _Optional[int] = ..., inputs: _Optional[_Iterable[_Union[Tensor, _Mapping]]] = ..., centre: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class JoinRequest(_message.Message):
    __slots__ = ("description_json",)
    DESCRIPTION_JSON_FIELD_NUMBER: _ClassVar[int]
    description_json: str
    def __init__(self, description_json: _Optional[str] = ...) -> None: ...

class JoinReply(_message.Message):
    __slots__ = ("dataset", "ensemble", "classes")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    ensemble: str
    classes: int
    def __init__(self, dataset: _Optional[str] = ..., ensemble: _Optional[str] = ..., classes: _Optional[int] = ...) -> None: ...

class NextBatchRequest(_message.Message):
    __slots__ = ("wait_seconds", "silos", "vectors")
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    SILOS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    wait_seconds: float
    silos: _containers.RepeatedScalarFieldContainer[str]
    vectors: bool
    def __init__(self, wait_seconds: _Optional[float] = ..., silos: _Optional[_Iterable[str]] = ..., vectors: _Optional[bool] = ...) -> None: ...

class NextBatchReply(_message.Message):
    __slots__ = ("found", "id", "hash", "images", "vectors")
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    found: bool
    id: str
    hash: str
    images: Images
    vectors: VectorQuestion
    def __init__(self, found: _Optional[bool] = ..., id: _Optional[str] = ..., hash: _Optional[str] = ..., images: _Optional[_Union[Images, _Mapping]] = ..., vectors: _Optional[_Union[VectorQuestion, _Mapping]] = ...) -> None: ...

class SendVotesRequest(_message.Message):
    __slots__ = ("id", "hash", "silos", "votes")
    ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SILOS_FIELD_NUMBER: _ClassVar[int]
    VOTES_FIELD_NUMBER: _ClassVar[int]
    id: str
    hash: str
    silos: _containers.RepeatedScalarFieldContainer[str]
    votes: bytes
    def __init__(self, id: _Optional[str] = ..., hash: _Optional[str] = ..., silos: _Optional[_Iterable[str]] = ..., votes: _Optional[bytes] = ...) -> None: ...

class SendVotesReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SendVectorsRequest(_message.Message):
    __slots__ = ("id", "hash", "silo", "vectors")
    ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    SILO_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    id: str
    hash: str
    silo: str
    vectors: Tensor
    def __init__(self, id: _Optional[str] = ..., hash: _Optional[str] = ..., silo: _Optional[str] = ..., vectors: _Optional[_Union[Tensor, _Mapping]] = ...) -> None: ...

class SendVectorsReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReportFailureRequest(_message.Message):
    __slots__ = ("id", "kind", "silos")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SILOS_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: str
    silos: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[str] = ..., silos: _Optional[_Iterable[str]] = ...) -> None: ...

class ReportFailureReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("key", "ensemble", "mechanism_json", "images", "student")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    MECHANISM_JSON_FIELD_NUMBER: _ClassVar[int]
    IMAGES_FIELD_NUMBER: _ClassVar[int]
    STUDENT_FIELD_NUMBER: _ClassVar[int]
    key: str
    ensemble: str
    mechanism_json: str
    images: Images
    student: bytes
    def __init__(self, key: _Optional[str] = ..., ensemble: _Optional[str] = ..., mechanism_json: _Optional[str] = ..., images: _Optional[_Union[Images, _Mapping]] = ..., student: _Optional[bytes] = ...) -> None: ...

class AnswersRequest(_message.Message):
    __slots__ = ("key", "wait_seconds")
    KEY_FIELD_NUMBER: _ClassVar[int]
    WAIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    key: str
    wait_seconds: float
    def __init__(self, key: _Optional[str] = ..., wait_seconds: _Optional[float] = ...) -> None: ...

class BatchStatus(_message.Message):
    __slots__ = ("state", "labels", "statuses", "from_store", "cost_nano_rho", "reason", "budget", "histograms", "voted")
    STATE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    FROM_STORE_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_RHO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    HISTOGRAMS_FIELD_NUMBER: _ClassVar[int]
    VOTED_FIELD_NUMBER: _ClassVar[int]
    state: str
    labels: _containers.RepeatedScalarFieldContainer[int]
    statuses: _containers.RepeatedScalarFieldContainer[str]
    from_store: _containers.RepeatedScalarFieldContainer[bool]
    cost_nano_rho: int
    reason: str
    budget: BudgetReply
    histograms: bytes
    voted: int
    def __init__(self, state: _Optional[str] = ..., labels: _Optional[_Iterable[int]] = ..., statuses: _Optional[_Iterable[str]] = ..., from_store: _Optional[_Iterable[bool]] = ..., cost_nano_rho: _Optional[int] = ..., reason: _Optional[str] = ..., budget: _Optional[_Union[BudgetReply, _Mapping]] = ..., histograms: _Optional[bytes] = ..., voted: _Optional[int] = ...) -> None: ...

class SubmitVectorsRequest(_message.Message):
    __slots__ = ("key", "ensemble", "question")
    KEY_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    QUESTION_FIELD_NUMBER: _ClassVar[int]
    key: str
    ensemble: str
    question: VectorQuestion
    def __init__(self, key: _Optional[str] = ..., ensemble: _Optional[str] = ..., question: _Optional[_Union[VectorQuestion, _Mapping]] = ...) -> None: ...

class VectorStatus(_message.Message):
    __slots__ = ("state", "noisy", "from_store", "cost_nano_rho", "reason", "budget", "voted", "teachers")
    STATE_FIELD_NUMBER: _ClassVar[int]
    NOISY_FIELD_NUMBER: _ClassVar[int]
    FROM_STORE_FIELD_NUMBER: _ClassVar[int]
    COST_NANO_RHO_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    VOTED_FIELD_NUMBER: _ClassVar[int]
    TEACHERS_FIELD_NUMBER: _ClassVar[int]
    state: str
    noisy: Tensor
    from_store: bool
    cost_nano_rho: int
    reason: str
    budget: BudgetReply
    voted: int
    teachers: int
    def __init__(self, state: _Optional[str] = ..., noisy: _Optional[_Union[Tensor, _Mapping]] = ..., from_store: _Optional[bool] = ..., cost_nano_rho: _Optional[int] = ..., reason: _Optional[str] = ..., budget: _Optional[_Union[BudgetReply, _Mapping]] = ..., voted: _Optional[int] = ..., teachers: _Optional[int] = ...) -> None: ...

class EnsembleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class EnsembleReply(_message.Message):
    __slots__ = ("dataset", "ensemble", "teachers", "classes")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    ENSEMBLE_FIELD_NUMBER: _ClassVar[int]
    TEACHERS_FIELD_NUMBER: _ClassVar[int]
    CLASSES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    ensemble: str
    teachers: int
    classes: int
    def __init__(self, dataset: _Optional[str] = ..., ensemble: _Optional[str] = ..., teachers: _Optional[int] = ..., classes: _Optional[int] = ...) -> None: ...

class BudgetRequest(_message.Message):
    __slots__ = ("dataset",)
    DATASET_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    def __init__(self, dataset: _Optional[str] = ...) -> None: ...

class GrantRequest(_message.Message):
    __slots__ = ("dataset", "epsilon", "delta", "kind", "orders")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    epsilon: float
    delta: float
    kind: str
    orders: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, dataset: _Optional[str] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., kind: _Optional[str] = ..., orders: _Optional[_Iterable[float]] = ...) -> None: ...

class BudgetReply(_message.Message):
    __slots__ = ("dataset", "epsilon", "delta", "kind", "neighbouring", "spent_epsilon", "entries")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    EPSILON_FIELD_NUMBER: _ClassVar[int]
    DELTA_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURING_FIELD_NUMBER: _ClassVar[int]
    SPENT_EPSILON_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    epsilon: float
    delta: float
    kind: str
    neighbouring: str
    spent_epsilon: float
    entries: int
    def __init__(self, dataset: _Optional[str] = ..., epsilon: _Optional[float] = ..., delta: _Optional[float] = ..., kind: _Optional[str] = ..., neighbouring: _Optional[str] = ..., spent_epsilon: _Optional[float] = ..., entries: _Optional[int] = ...) -> None: ...

class EntriesRequest(_message.Message):
    __slots__ = ("dataset", "after")
    DATASET_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    dataset: str
    after: int
    def __init__(self, dataset: _Optional[str] = ..., after: _Optional[int] = ...) -> None: ...

class EntriesReply(_message.Message):
    __slots__ = ("entries_json", "more")
    ENTRIES_JSON_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    entries_json: _containers.RepeatedScalarFieldContainer[str]
    more: bool
    def __init__(self, entries_json: _Optional[_Iterable[str]] = ..., more: _Optional[bool] = ...) -> None: ...

class VerifyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class VerifyReply(_message.Message):
    __slots__ = ("ok", "entries", "problems")
    OK_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    ok: bool
    entries: int
    problems: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ok: _Optional[bool] = ..., entries: _Optional[int] = ..., problems: _Optional[_Iterable[str]] = ...) -> None: ...
