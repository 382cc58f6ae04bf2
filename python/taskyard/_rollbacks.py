"""Observes how transactions of an asyncpg or psycopg connection end, for tasks that were added in them and not awaited.

A task whose transaction is rolled back, or a savepoint that was made before the task, is dropped. This must be certain:
if a commit were taken for a rollback, the task would be missing and nothing would report it. A transaction is no longer
watched, and its task is left to ``NotAwaited``, as soon as it may have ended in another way:

- with the next ``BEGIN``, whatever ended the transaction before;
- with a ``COMMIT`` whose outcome is unknown (a time limit, a cancel, a lost connection), with ``PREPARE TRANSACTION``,
  and with any text of several statements of which one concerns transactions, or that cannot be parsed.

asyncpg (0.29 and newer) reports each statement to its query loggers, except those of prepared statements, when the
event loop runs next. For psycopg, those methods of the one connection are replaced by which its blocks and methods, and
its cursors, send statements. The result of a statement that was sent by ``execute`` is not known there: a rollback that
was sent so never drops a task.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple

from ._uncommitted import Transaction

if TYPE_CHECKING:
    from ._transaction import PendingRef

__all__ = ["ROLLED_BACK", "watch_asyncpg", "watch_psycopg"]

#: Attribute of a psycopg connection that holds its watch, so that both end together.
_WATCH = "_taskyard_pending"

ROLLED_BACK = "its transaction ended without a commit"


class Outcome(enum.Enum):
    """The outcome of a statement, as far as its connection reports it."""

    DONE = enum.auto()
    #: The server refused it.
    REFUSED = enum.auto()
    UNKNOWN = enum.auto()


#: SQLSTATE classes and codes of errors after which it is unknown whether a commit took place.
_UNCLEAR = ("08", "57P", "58", "XX", "40003")


def outcome_of(error: BaseException | None) -> Outcome:
    if error is None:
        return Outcome.DONE
    state = getattr(error, "sqlstate", None)
    return Outcome.REFUSED if isinstance(state, str) and not state.startswith(_UNCLEAR) else Outcome.UNKNOWN


class Statement(NamedTuple):
    """A statement about transactions."""

    #: ``BEGIN``, ``COMMIT``, ``ROLLBACK``, ``SAVEPOINT``, ``RELEASE``, ``ROLLBACK TO``, or ``OTHER``, which may have
    #: any effect.
    verb: str
    #: The savepoint's, as the database compares it.
    name: str = ""


_WORDS = re.compile(r"\b(?:BEGIN|START|COMMIT|END|ROLLBACK|ABORT|PREPARE|SAVEPOINT|RELEASE)\b", re.IGNORECASE)
#: Comments, string literals and quoted names. The end of a literal with a backslash depends on a setting.
_QUOTED = re.compile(
    r"""--[^\r\n]*|/\*(?:[^/*]|/(?!\*)|\*(?!/))*\*/|'[^'\\]*'|"[^"]*"|(?<![\w$])(\$(?:[^\W\d]\w*)?\$).*?\1""", re.DOTALL
)
_UNREADABLE = re.compile(r"""['\\]|/\*|\*/""")
_VERB = re.compile(
    r"(?:BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|PREPARE\s+TRANSACTION|SAVEPOINT|RELEASE)\b", re.IGNORECASE
)
_BEGIN = re.compile(r"(?:BEGIN|START)\b.*", re.IGNORECASE | re.DOTALL)
_END = re.compile(r"(ROLLBACK|ABORT|COMMIT|END)(?:\s+WORK|\s+TRANSACTION)?(?:\s+AND\s+(?:NO\s+)?CHAIN)?", re.IGNORECASE)
_SAVEPOINT = re.compile(
    r"(SAVEPOINT|RELEASE(?:\s+SAVEPOINT)?|ROLLBACK(?:\s+WORK|\s+TRANSACTION)?\s+TO(?:\s+SAVEPOINT)?)"
    r'(?:\s+([^\W\d][\w$]*)|\s*"((?:[^"]|"")+)")',
    re.IGNORECASE,
)


def read(text: str) -> Statement | None:
    """Returns the effect of a text on transactions; None if it has none."""
    if _WORDS.search(text) is None:
        return None
    plain = _QUOTED.sub(lambda found: found[0] if found[0].startswith('"') else " ", text)
    if _UNREADABLE.search(plain) is not None or plain.count('"') % 2:
        return Statement("OTHER")
    statements = [each for part in plain.split(";") if (each := part.strip())]
    if not any(_VERB.match(each) for each in statements):
        return None
    if len(statements) != 1:
        return Statement("OTHER")
    if _BEGIN.fullmatch(statements[0]) is not None:
        return Statement("BEGIN")
    if (end := _END.fullmatch(statements[0])) is not None:
        return Statement("COMMIT" if end[1].upper() in ("COMMIT", "END") else "ROLLBACK")
    if (savepoint := _SAVEPOINT.fullmatch(statements[0])) is not None:
        verb = savepoint[1].split()[0].upper()
        # Not `str.lower`: the database folds ASCII alone in most encodings.
        name = _fold(savepoint[2]) if savepoint[2] else savepoint[3].replace('""', '"')
        return Statement("ROLLBACK TO" if verb == "ROLLBACK" else verb, name)
    return Statement("OTHER")


def _fold(name: str) -> str:
    return "".join(letter.lower() if letter.isascii() else letter for letter in name)


class Watched:
    """A task that was added on a connection, and its transaction."""

    def __init__(self, ref: PendingRef, is_begun: bool) -> None:
        self.ref = ref
        #: Whether the transaction was open. If not, it is the one that the connection begins by itself with its next
        #: statement. A transaction block is another one, whose rollback does not affect tasks that were added outside.
        self._is_begun = is_begun
        #: Savepoints since the task was added.
        self._later: list[str] = []
        #: Whether this list may be wrong.
        self._is_unsure = False
        #: Whether the transaction may be over, or the task is dropped or written.
        self.is_over = False

    @property
    def is_before_begin(self) -> bool:
        """Whether the task is watched, and its transaction was not open when it was added."""
        return not self.is_over and not self._is_begun

    def drop(self) -> None:
        self.is_over = True
        self.ref._drop(ROLLED_BACK, True)

    def saw(self, statement: Statement, outcome: Outcome) -> None:
        """Records that a statement about transactions has ended."""
        if self.is_over or not self.ref._is_pending():
            self.is_over = True
        elif statement.verb == "COMMIT":
            # A commit that the server refuses rolls back.
            if outcome is Outcome.REFUSED and self._is_begun:
                self.drop()
            self.is_over = True
        elif statement.verb == "OTHER":
            self.is_over = True
        elif self._is_begun:
            self._saw_within(statement, outcome)

    def _saw_within(self, statement: Statement, outcome: Outcome) -> None:
        if statement.verb == "BEGIN":
            self.is_over = True
        elif statement.verb == "ROLLBACK":
            # After an unknown outcome the transaction is either rolled back or open, so it is still watched.
            if outcome is Outcome.DONE:
                self.drop()
        elif outcome is not Outcome.DONE:
            self._is_unsure = self._is_unsure or outcome is Outcome.UNKNOWN
        elif statement.verb == "SAVEPOINT":
            self._later.append(statement.name)
        elif statement.name not in self._later:
            # A savepoint from before the task: all later ones end with it.
            self._later.clear()
            if statement.verb == "ROLLBACK TO" and not self._is_unsure:
                self.drop()
        else:
            last = len(self._later) - 1 - self._later[::-1].index(statement.name)
            del self._later[last + (statement.verb == "ROLLBACK TO") :]


def watch_asyncpg(connection: Any, ref: PendingRef) -> None:
    # A pool runs each statement in a transaction of its own, so there is nothing to watch.
    if not hasattr(connection, "is_in_transaction") or not Transaction("asyncpg", connection).is_open():
        return
    # A pool releases its connection through another object than the caller's.
    connection = getattr(connection, "_con", None) or connection
    if not hasattr(connection, "add_query_logger"):
        return
    watched = Watched(ref, True)

    def saw(query: Any) -> None:
        if (statement := read(query.query)) is not None:
            watched.saw(statement, outcome_of(query.exception))
        if watched.is_over or not ref._is_pending():
            connection.remove_query_logger(saw)

    connection.add_query_logger(saw)


def watch_psycopg(connection: Any, ref: PendingRef) -> None:
    """Makes the connection's ``commit`` refuse while the task is pending."""
    watch: _Psycopg | None = getattr(connection, _WATCH, None)
    if watch is None:
        watch = _Psycopg(connection)
    watch.add(ref)


class _Psycopg:
    """The tasks that were added on a psycopg connection. While one of them is pending, methods of this one connection
    are replaced."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._added: list[Watched] = []
        #: Length of the list at which settled tasks are removed from it.
        self._prune_at = 16
        self._commit, self._rollback = connection.commit, connection.rollback
        connection.commit, connection.rollback = self.commit, self.rollback
        setattr(connection, _WATCH, self)
        # Undocumented attributes of psycopg. If one is missing, nothing is watched.
        self._execute = getattr(connection, "_exec_command", None)
        self._prepared = getattr(connection, "_prepared", None)
        self._cache = getattr(self._prepared, "maybe_add_to_cache", None)
        self._is_watching = self._execute is not None and self._cache is not None
        if self._is_watching:
            connection._exec_command = self._exec_command
            self._prepared.maybe_add_to_cache = self._maybe_add_to_cache  # type: ignore[union-attr]

    def add(self, ref: PendingRef) -> None:
        if len(self._added) >= self._prune_at:
            self._added = [each for each in self._added if each.ref._is_pending()]
            self._prune_at = 2 * len(self._added) + 16
        watched = Watched(ref, self._is_open())
        # In autocommit mode the statement would be a transaction of its own.
        watched.is_over = not self._is_watching or (watched.is_before_begin and self._connection.autocommit)
        self._added.append(watched)

    async def commit(self) -> None:
        unwritten = [each.ref for each in self._added if each.ref._is_pending()]
        self._restore()
        for ref in unwritten:
            ref._refuse()
        if unwritten:
            raise unwritten[0]._not_awaited()
        await self._commit()

    async def rollback(self) -> None:
        before = [each for each in self._added if each.is_before_begin]
        await self._rollback()
        # Tasks of an open transaction are dropped by its ROLLBACK statement, unless that transaction was over.
        for each in before:
            if each.is_before_begin:
                each.drop()
        self._added = [each for each in self._added if each.ref._is_pending()]
        if not self._added:
            self._restore()

    def _restore(self) -> None:
        self._added = []
        for name in ("commit", "rollback", "_exec_command", _WATCH):
            vars(self._connection).pop(name, None)
        getattr(self._prepared, "__dict__", {}).pop("maybe_add_to_cache", None)

    def _is_open(self) -> bool:
        return bool(self._connection.info.transaction_status)

    def _exec_command(self, command: Any, *args: Any, **options: Any) -> Generator[Any, Any, Any]:
        """Runs and observes a statement of psycopg's own methods and blocks."""
        assert self._execute is not None
        # Tasks that are added during the statement come after it.
        added = list(self._added)
        if not self._is_open():
            for each in added:
                each.is_over = each.is_over or not each.is_before_begin
        outcome, tag = Outcome.UNKNOWN, b""
        try:
            result = yield from self._execute(command, *args, **options)
            outcome, tag = Outcome.DONE, getattr(result, "command_status", None) or b""
            return result
        except BaseException as error:
            outcome = outcome_of(error)
            raise
        finally:
            if added and (statement := read(self._text(command))) is not None:
                # The commit of a failed transaction rolls back.
                is_undone = statement.verb == "COMMIT" and tag == b"ROLLBACK"
                for each in added:
                    each.saw(statement, Outcome.REFUSED if is_undone else outcome)

    def _maybe_add_to_cache(self, query: Any, *args: Any, **options: Any) -> Any:
        """Observes a statement that a cursor has sent, before its result arrives."""
        assert self._cache is not None
        if self._added and (statement := read(self._text(query.query))) is not None:
            for each in self._added:
                each.saw(statement, Outcome.UNKNOWN)
        return self._cache(query, *args, **options)

    def _text(self, command: Any) -> str:
        if hasattr(command, "as_string"):
            return str(command.as_string(self._connection))
        return command.decode(errors="replace") if isinstance(command, bytes) else str(command)
