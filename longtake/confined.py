"""A child process that opens what strangers sent: with limits on time and memory, and without our secrets.

A file that crashes a decoder, or makes it run or grow without end, costs the child, and a clear answer. A child is
started at the first call, kept warm, and started anew after it had to end.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import math
import os
import pickle
import queue
import resource
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import is_dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import IO, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from longtake.errors import FaultError, LongtakeError, MediaError

P = ParamSpec("P")
T = TypeVar("T")

SECONDS = 30.0
"""How long a call may take, in all and of processor time, unless the caller says otherwise."""
READ_BYTES_PER_SECOND = 20 << 20
"""A file is given the more time to be looked at, the larger it is."""
MEMORY_BYTES = 4 << 30
"""Of address space: what libraries reserve counts too."""
MOST_CALLS = 200
"""After so many a child is replaced: what leaks, leaks no further."""
ANSWER_LIMIT = 64 << 20
STARTING_SECONDS = 60.0
"""How long a child may take to import what it needs."""
READY = b"ready"
OUT_OF_MEMORY = 86
"""A child's exit code."""
LOOK_SECONDS = 0.1
"""How often whoever follows a call is asked whether it is still wanted; a child tells half as long apart at least."""
TELL_SECONDS = 0.05
TOLD = 2**64 - 1
"""Stands in the place of an answer's length ahead of a part of the progress."""
_LENGTH = struct.Struct("<Q")
_PART = struct.Struct("<d")

Hear = Callable[[float], None]


class _Task(NamedTuple):
    """What a child is to call."""

    module: str
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    seconds: float
    tells: bool = False
    """Whether it is given, as its first argument, whom to tell of its progress."""


def seconds_for(path: Path, least: float = SECONDS) -> float:
    """How long it may take to look at a file, or from one sign of life to the next."""
    return least + path.stat().st_size / READ_BYTES_PER_SECOND


class Confined:
    """Calls functions in children, each one at a time. `modules` are imported when one starts."""

    def __init__(self, *modules: str, at_once: int = 2, memory_bytes: int = MEMORY_BYTES) -> None:
        self._modules = modules
        self._memory_bytes = memory_bytes
        # The one that was used last is taken first: another is started only for a call beside it.
        self._free: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        self._at_once = at_once
        for _ in range(at_once):
            self._free.put(None)

    def call(self, function: Callable[P, T], seconds: float, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """`function(*args, **kwargs)`; a function of a module, values that pickle.

        Raises what it raises of ours, MediaError where it takes more than it may, FaultError for everything else.
        """
        value: T = self._asked(_Task(function.__module__, function.__qualname__, args, kwargs, seconds), None)
        return value

    def watch(
        self,
        function: Callable[P, T],
        seconds: float,
        look: Callable[[], object],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """As `call`; `look` is called all the while, and what it raises ends the child, and is raised."""

        def hear(_: float) -> None:
            look()

        value: T = self._asked(_Task(function.__module__, function.__qualname__, args, kwargs, seconds), hear)
        return value

    def follow(
        self, function: Callable[Concatenate[Hear, P], T], seconds: float, hear: Hear, /, *args: P.args, **kw: P.kwargs
    ) -> T:
        """`function(progress, *args, **kw)`, as `call`: what it tells `progress`, a float, `hear` is told here.

        `hear` is told the last one again and again while nothing new comes; what it raises ends the child, and is
        raised. `seconds` are counted anew whenever `progress` is told.
        """
        value: T = self._asked(_Task(function.__module__, function.__qualname__, args, kw, seconds, True), hear)
        return value

    def _asked(self, task: _Task, hear: Hear | None) -> Any:
        child = self._wait(hear)
        try:
            if child and child.is_worn:
                child.end()
                child = None
            child = child or _Child(self._modules, self._memory_bytes, hear)
            answer = child.ask(pickle.dumps(tuple(task)), task.seconds, hear)
        except BaseException:
            if child:
                child.end()
            child = None
            raise
        finally:
            self._free.put(child)
        value = _Answers(io.BytesIO(answer)).load()
        if isinstance(value, BaseException):
            raise value
        return value

    def _wait(self, hear: Hear | None) -> _Child | None:
        """For one that is free."""
        while True:
            try:
                return self._free.get(timeout=LOOK_SECONDS if hear else None)
            except queue.Empty:
                if hear:
                    hear(0.0)

    def close(self) -> None:
        """Ends the children, when each has answered; a later call starts another."""
        for child in [self._free.get() for _ in range(self._at_once)]:
            if child:
                child.end()
            self._free.put(None)


class _Child:
    """One process."""

    def __init__(self, modules: tuple[str, ...], memory_bytes: int, hear: Hear | None = None) -> None:
        """`hear` is told all the while that nothing is done yet; what it raises ends the child."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LONGTAKE_")}
        environment.setdefault("MALLOC_ARENA_MAX", "1")  # glibc's heaps, one for each thread, would each keep some
        self._process = subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", __name__, str(memory_bytes), *modules],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            process_group=0,
        )
        self._num_calls = 0
        self.end = weakref.finalize(self, _end, self._process)
        try:
            look = partial(hear, 0.0) if hear else None
            self._read(len(READY), time.monotonic() + STARTING_SECONDS, look)
        except MediaError:
            self.end()
            raise FaultError("the child that reads files did not start") from None
        except BaseException:
            self.end()
            raise

    @property
    def is_worn(self) -> bool:
        return self._num_calls >= MOST_CALLS or self._process.poll() is not None

    def ask(self, task: bytes, seconds: float, hear: Hear | None = None) -> bytes:
        """Raises MediaError where no answer comes, and what `hear` raises."""
        self._num_calls += 1
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # it died: reading says so
            _write(self._process.stdin, task)
        part = 0.0
        while True:
            look = partial(hear, part) if hear else None
            deadline = time.monotonic() + seconds
            (length,) = _LENGTH.unpack(self._read(_LENGTH.size, deadline, look))
            if length == TOLD and hear:
                (part,) = _PART.unpack(self._read(_PART.size, deadline))
                hear(part)
            elif length > ANSWER_LIMIT:
                raise MediaError("the file can't be read: what is found in it is too much")
            else:
                return self._read(length, deadline)

    def _read(self, num_bytes: int, deadline: float, look: Callable[[], object] | None = None) -> bytes:
        assert self._process.stdout
        found, longest = bytearray(), LOOK_SECONDS if look else math.inf
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while len(found) < num_bytes:
                left = deadline - time.monotonic()
                if not selector.select(max(0.0, min(left, longest))):
                    if look and left > longest:
                        look()
                        continue
                    raise MediaError("the file can't be read: it takes longer than it may")
                data = os.read(self._process.stdout.fileno(), num_bytes - len(found))
                if not data:
                    raise MediaError(f"the file can't be read: it {_cause(self._process.wait())}")
                found += data
        return bytes(found)


class _Answers(pickle.Unpickler):
    """A child that was taken over could answer anything: only plain values of ours are made of it."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("fractions", "Fraction"):
            return Fraction
        if module.startswith("longtake."):
            found = getattr(importlib.import_module(module), name)
            if isinstance(found, type) and (is_dataclass(found) or issubclass(found, LongtakeError | tuple)):
                return found
        raise FaultError(f"a child answered with {module}.{name}")


def _cause(code: int) -> str:
    causes = {OUT_OF_MEMORY: "takes more memory than it may", -signal.SIGXCPU: "takes longer than it may"}
    return causes.get(code, "breaks the program that reads it")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        assert pipe
        pipe.close()


def _write(pipe: IO[bytes], data: bytes) -> None:
    view = memoryview(_LENGTH.pack(len(data)) + data)
    while view:
        view = view[pipe.write(view) :]


# ---- inside the child


def _main(memory_bytes: int, *modules: str) -> None:
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints is no answer
    for module in modules:
        importlib.import_module(module)
    _limit(resource.RLIMIT_AS, memory_bytes)
    _limit(resource.RLIMIT_CORE, 0)
    answers.write(READY)
    tasks: list[bytes] = []
    given = threading.Semaphore(0)
    threading.Thread(target=_listen, args=(tasks, given), daemon=True).start()
    while True:
        given.acquire()
        task = _Task(*pickle.loads(tasks.pop(0)))  # noqa: S301 - from our parent
        _limit_time(task.seconds)
        try:
            function = getattr(importlib.import_module(task.module), task.name)
            value = function(*[_Telling(answers, task.seconds)][: task.tells], *task.args, **task.kwargs)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except LongtakeError as error:
            value = error
        except Exception as error:
            value = FaultError(f"{type(error).__name__}: {error}")
        _write(answers, pickle.dumps(value))


def _listen(tasks: list[bytes], given: threading.Semaphore) -> None:
    """Reads tasks, so that the end of our parent is ours at once, whatever is being decoded."""
    pipe = sys.stdin.buffer
    while len(head := pipe.read(_LENGTH.size)) == _LENGTH.size:
        tasks.append(pipe.read(_LENGTH.unpack(head)[0]))
        given.release()
    os._exit(0)


class _Telling:
    """What a function tells of its progress; then it may take its time once more."""

    def __init__(self, answers: IO[bytes], seconds: float) -> None:
        self._answers, self._seconds, self._last = answers, seconds, -math.inf

    def __call__(self, part: float) -> None:
        now = time.monotonic()
        if now - self._last >= TELL_SECONDS:
            self._last = now
            self._answers.write(_LENGTH.pack(TOLD) + _PART.pack(part))
            _limit_time(self._seconds)


def _limit_time(seconds: float) -> None:
    """From now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime + seconds) + 2, hard=False)


def _limit(kind: int, value: int, *, hard: bool = True) -> None:
    with contextlib.suppress(ValueError, OSError):  # a system that has no such limit, or a lower one already
        resource.setrlimit(kind, (value, value if hard else resource.getrlimit(kind)[1]))


if __name__ == "__main__":
    _main(int(sys.argv[1]), *sys.argv[2:])
