"""Calls that both type checkers refuse, each in the line that is marked."""

from taskyard import QueuedTasks, task
from taskyard.progress import ProgressTracker
from taskyard.tasks import Task, TaskQueue, TaskStatus


async def mail(to: str, subject: str) -> int:
    return len(to)


def report(year: int) -> str:
    return str(year)


def add(a: int, b: int) -> int:
    return a + b


@task
async def declared(n: int) -> float:
    return n / 2


async def check(tasks: QueuedTasks) -> None:
    tasks.add_task(mail, 5, "hello")  # bad: no text
    tasks.add_task(mail, "ada")  # bad: one too few
    tasks.add_task(report, 2026, 5)  # bad: one too many
    tasks.add_task(report, "2026", queue="reports")  # bad: no number
    tasks.add_task(report, 2026, prioriti=5)  # bad: no such option
    tasks.add_task(report, year="2026")  # bad: no number
    tasks.add_task(report, 2026, 5, queue="reports")  # bad: one too many
    tasks.add_task(report, 2026, priority="high")  # bad: no number
    tasks.add_task(add, "1", b=2, queue="x")  # bad: no number
    tasks.add_task(add, 1, b=2, queu="x")  # bad: no such option
    tasks.add_task(add, 1, b=2, queue=5)  # bad: no text
    tasks.add_task(add, 1, "2", queue="x")  # bad: no number
    text = tasks.add_task(report, 2026)
    tasks.add_task(add, text, 2)  # bad: it is a text
    tasks.add_task(add, 1, text, queue="x")  # bad: it is a text
    tasks.add_task(mail, text, 5)  # bad: no text
    tasks.using(queue="x").add_task(add, 1, b="2")  # bad: no number
    tasks.add_task(declared, "5")  # bad: no number
    tasks.using(dealy=5)  # bad: no such option
    declared.enqueue("5")  # bad: no number
    result: str = await tasks.add_task(mail, "ada", "hello").wait()  # bad: it is a number
    del result


class Import(Task):
    async def execute(self) -> int:
        return 1


async def objects(queue: TaskQueue) -> None:
    await queue.enqueue(Import(), colour="red")  # bad: no such option
    await queue.dequeue(timeout="5")  # bad: no number
    await queue.dequeue(count="5")  # bad: no number
    ProgressTracker().advance("1")  # bad: no number
    ProgressTracker().set_message(5)  # bad: no text
    found: Task = await queue.get_task("id")  # bad: there may be none
    del found
    Import().status = TaskStatus.COMPLETED  # bad: the queue tells it


async def records(tasks: QueuedTasks) -> None:
    record = await tasks.get("id").record()
    str(record.colour)  # bad: no such field
    record.state = "done"  # bad: read only
    str(record.error.message)  # bad: there may be none
    record["attempt"] + "1"  # bad: a number
