"""Kills runs over and over, on a full disk, while others read and train them, and checks that each ends as if nothing
had happened: python tests/soak.py 1000 FOLDER

Children are forked, so that none has to import torch. `test_soak.py` runs this with `-m slow`.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import imageio.v3 as iio
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout works without being installed

from states import assert_same_state, final_state, metrics

from infogan import TrainConfig, UserError, auxiliary, load_dataset, load_nets, resume, train
from infogan.training import loop, recorder
from infogan.training.run import N_CHECKPOINTS_KEPT, Run

# Tiny nets on 90 digits: what happens between the steps is what is tried here.
LIFE = {"dataset": "mnist5k", "device": "cpu", "precision": "float32", "width": 4, "batch_size": 8}
LIFE |= {"steps": 14, "checkpoint_every": 3, "log_every": 2, "merge_step": 5, "overcluster_heads": 1}
KINDS = (LIFE, {**LIFE, "seed": 1, "baseline": True}, {**LIFE, "seed": 2, "eval_every": 4, "lambda_equivariance": 0.0})
DONE, BROKEN, REFUSED, FULL = range(4)  # exit codes of children
OUTCOMES = {-signal.SIGKILL: "killed", DONE: "done", REFUSED: "refused", FULL: "full disk"}
REFUSALS = ("is being trained", "expected a name no run has yet", "got none; python scripts/train.py --resume")


def prepare() -> None:
    """Has every run train on few digits, draw little, and use one thread, so that it can be forked."""
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())  # forks share the usual one, and a killed one would never release it
    digits = load_dataset("mnist5k", "unused")
    few = dataclasses.replace(digits, images=digits.images[:90], labels=digits.labels[:90])
    few = dataclasses.replace(few, test_images=digits.test_images[:50], test_labels=digits.test_labels[:50])
    loop.load_dataset = lambda *given: few
    sweeps = auxiliary.GALLERY["sweeps"]
    auxiliary.GALLERY.clear()
    auxiliary.GALLERY["sweep"] = lambda spec, options: sweeps(spec, dataclasses.replace(options, factors=[1]))
    # Labels and curves take most of a short life, and nothing is written meanwhile.
    auxiliary.image_grid = lambda x, labels, title: auxiliary._tile(x, scale=1)
    recorder.loss_figures = lambda *_: {}


def forked(work: Callable[[], object], log: Path) -> int:
    """Forks a child that does some work, and returns its process number; its exit code says what came of it."""
    return os.fork() or _do(work, log)


def _do(work: Callable[[], object], log: Path) -> NoReturn:
    code = BROKEN
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
        os.dup2(1, 2)
        work()
        code = DONE
    except UserError as error:
        print("error:", error)
        if any(refusal in str(error) for refusal in REFUSALS):
            code = REFUSED
        elif "File too large" in str(error):
            code = FULL
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def exit_code(pid: int) -> int:
    """Waits for a child and returns its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def on_full_disk(work: Callable[[], object], n_bytes: int) -> Callable[[], object]:
    """Returns work during which the system takes no more than some bytes into any file."""

    def limited() -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, before[1]))
        try:
            work()
        finally:  # the log may be longer than that
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited


def read(run: Run) -> None:
    """Does what readers do: takes the nets and the rows, and draws a picture where training draws its own."""
    nets = load_nets(run.folder)
    steps = [row["step"] for row in run.read_metrics()]
    assert steps == sorted(steps)
    picture = next(iter(auxiliary.gallery(nets.spec)))
    auxiliary.save_png(auxiliary.draw(nets.generator, picture.latents, "read"), run.samples / f"{picture.name}.png")


def live_once(config: TrainConfig, folder: Path, draw: random.Random, seconds: float, log: Path) -> list[int]:
    """Has a run trained until it is killed: perhaps by two at once, on a full disk, with a reader.

    Returns the exit codes: of one that trains, and of the others.
    """
    run = Run(folder, str(config.name))

    def go_on() -> None:
        (resume(run.folder) if run.is_there() else train(config, folder))

    works: list[Callable[[], object]] = [go_on]
    if draw.random() < 0.2:
        works[0] = on_full_disk(go_on, int(400_000 * draw.random() ** 2))
    if draw.random() < 0.2:
        works.append(go_on)
    if run.is_there() and draw.random() < 0.2:
        works.append(lambda: read(run))
    children = [forked(work, log) for work in works]
    time.sleep(draw.random() ** 2 * seconds)  # the first moments are the most eventful
    for child in children:
        os.kill(child, signal.SIGKILL)
    return [exit_code(child) for child in children]


def check_end(run: Run, whole: Run) -> None:
    """Checks that a run ended as an uninterrupted one did: to the bit, and with every row once."""
    assert_same_state(final_state(run), final_state(whole))
    assert metrics(run) == metrics(whole)
    names = {path.name for path in run.checkpoints.iterdir()}
    assert names == {path.name for path in whole.checkpoints.iterdir()} and len(names) == N_CHECKPOINTS_KEPT
    assert json.loads((run.folder / "environment.json").read_text())
    for path in whole.samples.iterdir():
        assert iio.imread(run.samples / path.name).std() > 0


def soak(n_kills: int, folder: Path) -> None:
    """Kills until so many processes are dead, and prints what became of all."""
    prepare()
    draw, log, outcomes, n_runs = random.Random(0), folder / "log", collections.Counter(), 0
    wholes, seconds = [], []
    for i, kind in enumerate(KINDS):  # here, so that children find all that is imported late
        started = time.monotonic()
        wholes.append(train(TrainConfig(**kind, name=f"whole-{i}"), folder))
        seconds.append(time.monotonic() - started)
    started = time.monotonic()
    while outcomes[-signal.SIGKILL] < n_kills:
        i = n_runs % len(KINDS)
        run, n_runs, ended, life = Run(folder, f"killed-{n_runs}"), n_runs + 1, [-signal.SIGKILL], min(seconds) / 2
        while ended[0] != DONE:
            ended = live_once(TrainConfig(**KINDS[i], name=run.name), folder, draw, life, log)
            life *= 1.02  # on a busy machine, too, it comes to its next checkpoint at some time
            outcomes.update(ended)
            assert BROKEN not in ended, log.read_text()[-4000:]
        assert exit_code(forked(lambda run=run: resume(run.folder), log)) == DONE  # only its pictures are drawn
        check_end(run, wholes[i])
        counts = ", ".join(f"{n} {OUTCOMES[code]}" for code, n in outcomes.items())
        print(
            f"{n_runs} runs in {time.monotonic() - started:.0f} s, all equal to the bit; processes: {counts}",
            flush=True,
        )


if __name__ == "__main__":
    soak(int(sys.argv[1]), Path(sys.argv[2]).absolute())
