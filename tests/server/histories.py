"""The job's life by simulation: seeded histories with crashes, delays, duplicates, pauses and silent servers.

python -m tests.server.histories 100000        each ends well, or its seed is printed
"""

import random
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from maquette.server import states
from maquette.server.states import Job, Policy, Watch

POLICY = Policy(attempts=3, orphanings=5, backoff=1.0, longest=8.0, running=2, unfinished=6)


@dataclass
class World:
    """Some clients and three runners around a table of jobs; whatever is lost, late or doubled comes from `dice`."""

    dice: random.Random
    now: float = 1000.0
    steady: float = 0.0
    table: dict[str, Job] = field(default_factory=dict)
    acked: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    completed: Counter[str] = field(default_factory=Counter)
    begun: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    tokens: list[tuple[str, str, int]] = field(default_factory=list)
    """(runner, job, attempt) of runs that are under way, those of dead and sleeping runners too."""
    watches: dict[str, Watch] = field(default_factory=dict)

    def set(self, job: Job | None) -> bool:
        if job is None:
            return False
        before = self.table[job.id]
        assert not before.over, "what is over never changes"
        if job.state == "succeeded":
            assert before.wish != "cancel" and job.id not in self.cancelled, "cancel wins over a late completion"
            self.completed[job.id] += 1
        self.table[job.id] = job
        return True

    # -- what may happen ----------------------------------------------------------------------------------------------

    def submit(self) -> None:
        tenant = self.dice.choice("ab")
        if sum(j.tenant == tenant and not j.over for j in self.table.values()) >= POLICY.unfinished:
            return
        id = f"j{len(self.table)}"
        self.table[id] = Job(
            number=len(self.table), id=id, tenant=tenant, kind="train", spec={}, created=self.now,
            priority=self.dice.choice([0, 0, 0, 1]), not_before=self.now,
        )  # fmt: skip
        self.acked.append(id)

    def claim(self) -> None:
        runner = self.dice.choice(["x", "y", "z"])
        running = states.running_by_tenant(self.table.values())
        chosen = states.choose([j for j in self.table.values() if j.state == "queued"], running, self.now, POLICY)
        if chosen is None:
            return
        for other in self.table.values():
            if states.ready(other, self.now, POLICY) and running[other.tenant] < POLICY.running:
                assert other.priority <= chosen.priority, "higher priorities come first"
                if other.tenant == chosen.tenant and other.priority == chosen.priority:
                    assert chosen.number <= other.number, "first in, first out within a tenant"
        job = states.claim(chosen, runner, self.now)
        assert job is not None and self.set(job)
        assert job.attempt not in self.begun[job.id], "an attempt's number is given once"
        self.begun[job.id].append(job.attempt)
        self.tokens.append((runner, job.id, job.attempt))

    def finish(self) -> None:
        if not self.tokens:
            return
        token = self.dice.choice(self.tokens)
        if self.dice.random() < 0.8:  # else the message comes again later: a duplicate
            self.tokens.remove(token)
        _, id, attempt = token
        outcome = self.dice.choice(["done", "done", "done", "crashed", "crashed", "put back", "refused"])
        job = self.table[id]
        new = states.end(job, attempt, outcome, self.now, POLICY, self.dice.random(), code="MQ", reason="so")
        if new is not None:
            assert attempt == max(self.begun[id]), "only the newest run counts"
        self.set(new)

    def progress(self) -> None:
        if self.tokens:
            _, id, attempt = self.dice.choice(self.tokens)
            self.set(states.beat(self.table[id], attempt))
            self.set(states.advance(self.table[id], attempt, self.dice.random(), {}))

    def die(self) -> None:
        """A runner is gone with all it ran; what it had sent may still arrive."""
        runner = self.dice.choice(["x", "y", "z"])
        if self.dice.random() < 0.5:
            self.tokens = [token for token in self.tokens if token[0] != runner]

    def look(self) -> None:
        """A runner looks for silent ones, and acts on what it saw with a delay."""
        runner = self.dice.choice(["x", "y", "z"])
        watch = self.watches.setdefault(runner, Watch(3.0))
        foreign = [j for j in self.table.values() if j.state == "running" and j.owner != runner]
        for seen in watch.silent(foreign, self.steady):
            if self.dice.random() < 0.3:
                self.progress()
            self.set(states.lost(self.table[seen.id], seen.attempt, seen.beats, self.now, POLICY))

    def wish(self) -> None:
        if not self.table:
            return
        job = self.dice.choice(list(self.table.values()))
        kind = self.dice.choice(["cancel", "pause", "on", "on"])
        if kind == "cancel":
            new = states.cancel(job, self.now)
            assert (new is None) == job.over
            if new is not None:
                self.cancelled.add(job.id)
        else:
            new = states.pause(job) if kind == "pause" else states.go_on(job, self.now)
        self.set(new)

    def time(self) -> None:
        step = self.dice.random() * 2
        self.steady += step
        self.now += step
        if self.dice.random() < 0.02:
            self.now += self.dice.choice([-3600, 3600])  # somebody sets the clock

    def check(self) -> None:
        assert set(self.acked) == set(self.table), "what was acknowledged is kept"
        assert all(count == 1 for count in self.completed.values()), "completed at most once"
        running = states.running_by_tenant(self.table.values())
        assert all(count <= POLICY.running for count in running.values()), "no more run than a key may have"
        for job in self.table.values():
            assert job.failures <= POLICY.attempts and (job.state == "running") == bool(job.owner)


def history(seed: int, steps: int = 60) -> World:
    world = World(random.Random(seed))
    acts = [world.submit, world.claim, world.claim, world.finish, world.finish, world.progress, world.die, world.look,
            world.look, world.wish, world.time, world.time]  # fmt: skip
    for _ in range(steps):
        world.dice.choice(acts)()
        world.check()
    for _ in range(400):  # and now nothing goes wrong any more: all comes to an end
        for job in list(world.table.values()):
            if job.state == "paused":
                world.set(states.go_on(job, world.now))
        world.claim()
        world.time()
        for watch in world.watches.values():
            foreign = [j for j in world.table.values() if j.state == "running"]
            for seen in watch.silent(foreign, world.steady):
                world.set(states.lost(world.table[seen.id], seen.attempt, seen.beats, world.now, POLICY))
        for token in list(world.tokens):
            world.tokens.remove(token)
            _, id, attempt = token
            world.set(states.end(world.table[id], attempt, "done", world.now, POLICY))
        world.watches.setdefault("x", Watch(3.0))
        if all(job.over for job in world.table.values()):
            break
    world.check()
    stuck = [job for job in world.table.values() if not job.over]
    assert not stuck, f"stuck: {stuck}"
    return world


def main(count: int) -> None:
    ends: Counter[str] = Counter()
    for seed in range(count):
        try:
            world = history(seed)
        except AssertionError as bad:
            raise AssertionError(f"seed {seed}: {bad}") from bad
        ends.update(job.state for job in world.table.values())
    assert min(ends[state] for state in states.OVER) > count / 5, ends
    print(f"{count} histories, {sum(ends.values())} jobs: {dict(sorted(ends.items()))}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
