"""Training a model on data, with all that belongs to it, as one call; and nothing in it that ten lines could not do."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backlit.autodiff.nonfinite import trace_nonfinite
from backlit.core.errors import DomainError, GraphError, NonFiniteWarning
from backlit.core.site import user_frame
from backlit.core.state import no_grad
from backlit.core.value import Value, current, numbers_of
from backlit.data.batching import Batches, batches
from backlit.data.dataset import Dataset
from backlit.nn.dropout import reseed
from backlit.nn.module import Module
from backlit.ops.random import Key, fold_in
from backlit.ops.random import key as key_of
from backlit.training import metrics as metrics_of
from backlit.training.callbacks import Callbacks, EarlyStopping, StopTraining
from backlit.training.clipping import Clip
from backlit.training.interrupts import Interrupts
from backlit.training.progress import Reporter
from backlit.training.run import AT_ONCE, Row, Run, predict
from backlit.training.settings import (
    checked_seed,
    chosen_loss,
    chosen_optimizer,
    described,
    training_and_validation,
    whole,
)
from backlit.training.state import (
    METHODS,
    Order,
    Position,
    Rows,
    Snapshot,
    epoch_key,
    gradients,
    one_step,
    takes_closure,
    variables,
)

if TYPE_CHECKING:
    from backlit.training.compiled import MachineSteps

WORTH = 200
"""From so many steps on, `fit` compiles unless told otherwise: fewer are over before the compiler is."""


def fit(
    model: Module,
    data: Any,
    *,
    loss: Any = None,
    optimizer: Any = "adam",
    lr: Any = None,
    epochs: int = 10,
    batch_size: int | None = 32,
    validation: Any = None,
    metrics: Any = (),
    callbacks: Any = (),
    seed: int = 0,
    clip: Any = None,
    early_stopping: Any = None,
    method: str = "chain",
    compile: bool | str = "auto",
    record: str | Path | None = None,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    progress: Any = True,
) -> Run:
    """Train a model on data, and say what came of it.

    model: any Module; it is changed. data: (x, y), a Dataset, or what `backlit.data.as_dataset` takes.
    loss: a function of (prediction, target), a name such as "mse", or None: cross_entropy where targets are labels,
    mse where they are real numbers. optimizer: a name, a class, an object, or a function of the parameters; lr: its
    learning rate or schedule, None for its default. epochs: how often the data are gone through. batch_size: examples
    a step; the last batch may be smaller; None takes all at once. validation: other data, or the share to hold out.
    metrics: names ("accuracy", "r2", ...) or functions of (predictions, targets), computed after each epoch on the
    validation data, or on the data where there are none. callbacks: objects as `Callback` describes. seed: of the
    order of examples, of what is held out, and of Dropout. clip: the longest gradient allowed, or ("value", limit).
    early_stopping: after how many epochs without getting better to stop, or an `EarlyStopping`; the best model is put
    back. method: "chain", or "nudge", which finds the gradient by moving each parameter (small nets only).
    record: a file for the recorded run. checkpoint: a file to continue from; resume=True continues from it, if it is
    there. progress: True for a bar in terminals and notebooks when it takes longer than two seconds, False, or a
    function that is called with the run now and then.

    compile: True: the steps are machine code, and many of them are made in one call; GraphError, with the line and the
    reason, if that cannot be. False: they are made one by one, each with its graph. "auto": compiled, from 200 steps
    on (to compile takes as long as some hundred steps), unless the optimizer evaluates the loss itself, as LBFGS does,
    or there is no LLVM. Where something else stands in the way, a CompileWarning names the line, and training goes on
    without. A compiled run that was recorded is replayed compiled, to the last bit.
    `run.settings["compile"]` tells what it was. Compiled sums are added in another order, so both ways give the same
    numbers within rounding, not bit for bit; each by itself gives the same bits again. So say True or False where a
    short training is to be the beginning of a long one, to the last bit. What a model keeps in Python beside its
    parameters and buffers, such as a counter, stands still in compiled steps; the data are copied once.

    With compile=False the numbers are those of this loop, to the last bit:

        key = bl.random.key(seed)
        bl.nn.reseed(model, bl.random.fold_in(key, 1))
        optimizer = bl.optim.Adam(model.parameters())
        for epoch in range(epochs):
            for x, y in bl.data.batches(data, batch_size, key=bl.random.fold_in(key, 2 + epoch)):
                value = loss(model(x), y)
                value.backward()
                optimizer.step()
                optimizer.zero_grad()

    with `clip_gradients(model.parameters(), Clip(limit))` after backward() if gradients are clipped, and data the
    first part of `bl.data.split(data, share, bl.random.fold_in(key, 0))` if a share is held out. Compiled, they are
    those of `bl.compile(step).each(rows)`, where `step(rows)` is the inner part on the examples `data[rows]`, and rows
    are the full batches of an epoch, (batches, batch_size); and then once more for a last, smaller batch.

    Ctrl-C ends it, and the run so far is returned; an update that has begun is finished first. A loss that is no
    longer finite ends it with a NonFiniteWarning that says at which step and where the first such number arose
    (`run.nonfinite`); parameters that have become so are put back to what they were before. Raises DataError,
    ShapeError, DomainError or GraphError, before the first step, for what cannot be trained.

    >>> from backlit.core.value import Parameter
    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope = Parameter([[0.0]])
    ...     def forward(self, x):
    ...         return x @ self.slope
    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> run = fit(model := Line(), (x, 2 * x), optimizer="sgd", lr=0.05, epochs=50, batch_size=None)
    >>> model.slope.data.round(6)
    array([[2.]])
    """
    if not isinstance(model, Module):
        raise GraphError(f"fit: the model is {type(model).__name__}, and a backlit.nn.Module is needed.")
    if method not in METHODS:
        raise DomainError(f"fit: method={method!r} is not known; choose one of {', '.join(METHODS)}.")
    epochs = whole("epochs", epochs, 0)
    size = None if batch_size is None else whole("batch_size", batch_size, 1)
    key = key_of(checked_seed(seed))
    limit = Clip.of(clip)
    data, held = training_and_validation(data, validation, key)
    chosen, loss_name = chosen_loss(loss, model, data)
    stepper = chosen_optimizer(optimizer, lr, model)
    if record is not None and takes_closure(stepper):
        raise DomainError(f"fit: steps of {type(stepper).__name__} cannot be replayed, so leave out record=.")
    if not isinstance(compile, bool) and compile != "auto":
        raise DomainError(f'fit: compile={compile!r:.60}; give "auto", True or False.')
    found = metrics_of.chosen(metrics, loss_name)
    all_callbacks = _callbacks(callbacks, early_stopping, record, checkpoint)
    reseed(model, fold_in(key, 1))
    shuffled = batches(data, size, key=key)
    run = Run(
        model,
        stepper,
        chosen,
        loss_name=loss_name,
        seed=int(seed),
        settings=described(
            model,
            stepper,
            data,
            held=held,
            loss=loss_name,
            epochs=epochs,
            batch_size=size,
            batches=len(shuffled),
            seed=int(seed),
            clip=None if limit is None else list(limit),
            method=method,
            compile=False,
            metrics=list(found),
        ),
        callbacks=all_callbacks,
        inputs=data.inputs,
        targets=data.targets,
        batch_size=size,
        clip=limit,
        method=method,
    )
    stored = _stored(checkpoint) if resume else None
    training = _Training(run, data, held, found, key, epochs, progress, record)
    if compile == "auto" and stored is not None:
        compile = bool(stored.settings.get("compile"))  # what is continued is continued as it was
    elif compile == "auto":
        few = epochs * len(shuffled) < WORTH
        if few or takes_closure(stepper) or find_spec("llvmlite") is None:
            compile = False
    if compile is not False:
        training.compile(must=compile is True)
    if stored is not None:
        stored.check(run.settings)
        run.position = stored.restore(run.model, run.optimizer)
        run.take(stored.arrays)
    training.go()
    return run


def _callbacks(given: Any, early_stopping: Any, record: Any, checkpoint: Any) -> Callbacks:
    """The callbacks asked for, early stopping after them, then the recorder and the checkpoints, which see it all."""
    all_ = list(given) if isinstance(given, (list, tuple)) else [given]
    if early_stopping is not None and early_stopping is not False:
        stopping = early_stopping if isinstance(early_stopping, EarlyStopping) else EarlyStopping(early_stopping)
        all_.append(stopping)
    if record is not None:
        all_.append(import_module("backlit.training.recording").Recorder(record))
    if checkpoint is not None:
        all_.append(import_module("backlit.training.checkpoint").Checkpointer(checkpoint))
    return Callbacks(all_)


def _stored(checkpoint: Any) -> Any:
    """The checkpoint to continue from, if there is one."""
    if checkpoint is None:
        raise DomainError("fit: resume=True needs checkpoint=, the file to continue from.")
    if not Path(checkpoint).exists():
        return None
    return import_module("backlit.training.checkpoint").Checkpointer.load(checkpoint)


class _NonFiniteLoss(Exception):  # noqa: N818 -- never leaves this module
    """The loss of a step is not finite."""

    def __init__(self, loss: float) -> None:
        self.loss = loss


class _Training:
    """The loop, and what it holds on to between steps."""

    def __init__(
        self,
        run: Run,
        data: Dataset,
        held: Dataset | None,
        metrics: Mapping[str, metrics_of.Metric],
        key: Key,
        epochs: int,
        progress: Any,
        record: Any,
    ) -> None:
        self.run, self.data, self.held, self.metrics = run, data, held, metrics
        self.key, self.epochs, self.record = key, epochs, record
        self.per_epoch = run.settings["batches"]
        self.reporter = Reporter(progress, epochs * self.per_epoch)
        self.changing = list(dict.fromkeys(variables(run.model, run.optimizer).values()))
        self.learned = list({*run.model.parameters(), *run.optimizer.parameters})
        self._forget()  # a gradient that was there before is none of the first step's
        self.interrupts = Interrupts()
        self.previous: tuple[Position, Snapshot, Any, Any] | None = None  # the last step whose loss was finite
        self.failed: tuple[Snapshot, Any, Any] | None = None
        self.loss = math.nan
        self.machine: MachineSteps | None = None
        self.compiling = 0.0  # seconds
        self.pressed = False  # Ctrl-C, while it was compiled
        self.order = Order(len(data), run.batch_size, key)
        self.piece: tuple[Position, Snapshot, Rows] | None = None  # of a call: last step, before, rows
        self.is_quiet = held is None and not metrics and not run.callbacks.see_each_step and self.order.is_even

    def compile(self, must: bool) -> None:
        """Make machine code of the steps. must: raise GraphError where that cannot be, instead of a warning."""
        from backlit.compiler.compile import CompileWarning  # the compiler is large: only where it is needed
        from backlit.training.compiled import MachineSteps, prepared

        run = self.run
        seen = self.data if self.held is None else self.held
        start = time.perf_counter()
        try:
            found = prepared(
                lambda: MachineSteps(run.model, run.optimizer, run.loss, self.data, clip=run.clip, method=run.method),
                must=must,
                optimizer=run.optimizer,
                stepwise=run.callbacks.see_each_step,
                shapes=self.order.shapes,
                seen=seen.inputs if self.metrics or self.held is not None else None,
                at_once=self._at_once,
            )
        except KeyboardInterrupt:
            self.pressed = run.settings["compile"] = True
            return
        self.compiling = time.perf_counter() - start
        run.settings["compile"] = not isinstance(found, str)
        if isinstance(found, str):
            frame = user_frame(2)
            told = (
                f"fit: training is not compiled, and slower. {found}\n  Pass compile=False if that is as it should be."
            )
            warnings.warn_explicit(told, CompileWarning, frame.f_code.co_filename, frame.f_lineno)
        else:
            self.machine = found

    @property
    def _at_once(self) -> int:
        return max(AT_ONCE, self.run.batch_size or 0)

    def go(self) -> None:
        """All of it, from where the run stands to its end, whatever that is."""
        run = self.run
        modes = [(module, module.training) for module in run.model.modules()]
        self.since = time.perf_counter() - run.seconds - self.compiling
        ended = False
        try:
            with self.interrupts:
                try:
                    run.model.train()
                    run.callbacks.call("on_start", run)
                    if self.pressed:
                        raise KeyboardInterrupt
                    while run.position.epoch < self.epochs:
                        if self.machine is None or not self._several_epochs(self.machine):
                            self._epoch()
                except StopTraining as stop:
                    run.stopped = str(stop) or "a callback asked to stop"
                except KeyboardInterrupt:
                    run.interrupted, run.stopped = True, "interrupted by Ctrl-C"
                except _NonFiniteLoss as error:
                    self._birth(error.loss)
            run.seconds = time.perf_counter() - self.since
            ended = True
            run.callbacks.call("on_end", run)
        finally:
            self._forget()
            for module, mode in modes:
                module.training = mode
            if not ended:
                run.seconds = time.perf_counter() - self.since
            self.reporter.close(run)
        self._heal()
        self.previous = self.piece = None
        if run.nonfinite is not None:
            frame = user_frame(2)
            assert run.stopped is not None
            warnings.warn_explicit(run.stopped, NonFiniteWarning, frame.f_code.co_filename, frame.f_lineno)

    # -- an epoch -----------------------------------------------------------------------------------------------

    def _epoch(self) -> None:
        run, epoch = self.run, self.run.position.epoch
        began = time.perf_counter()
        if self.machine is not None:
            self._run_compiled(self.machine, epoch)
        else:
            parts: Batches = batches(self.data, run.batch_size, key=epoch_key(self.key, epoch))
            for batch in range(run.position.batch, len(parts)):
                x, y = parts[batch]
                self._step(x, y)
        row = self._row(epoch)
        row["seconds"] = time.perf_counter() - began
        run.history.epochs.append(row)
        run.position = Position(epoch + 1, 0, run.position.step)
        run.seconds = time.perf_counter() - self.since
        self._call_on_epoch()

    def _call_on_epoch(self) -> None:
        """Tell the callbacks that an epoch has ended. What they change in the model is compiled anew."""
        self.run.callbacks.call("on_epoch", self.run)
        if self.machine is not None and not self.run.callbacks.only_look:
            self.machine.renew_if_changed()

    def _row(self, epoch: int) -> Row:
        """The numbers of an epoch that has just been gone through."""
        run, n = self.run, len(self.data)
        made = run.losses[-self.per_epoch :]
        if len(made) == self.per_epoch:
            sizes = np.full(len(made), run.batch_size or n, np.float64)
            sizes[-1] = n - sizes[:-1].sum()
            row = {"epoch": float(epoch), "loss": float(made @ sizes / n)}
        else:  # the run was resumed without its history
            row = {"epoch": float(epoch), "loss": float(np.mean(made)) if len(made) else math.nan}
        seen, word = (self.data, "") if self.held is None else (self.held, "validation ")
        if self.held is None and not self.metrics:
            return row
        if self.machine is not None:
            predictions = self.machine.predict(seen.inputs, self._at_once)
        else:
            predictions = predict(run.model, seen.inputs, self._at_once)
        if self.held is not None:
            with no_grad():
                row["validation loss"] = _number(run.loss(predictions, seen.targets))
        for name, metric in self.metrics.items():
            row[word + name] = float(metric(predictions, seen.targets))
        return row

    # -- a step -------------------------------------------------------------------------------------------------

    def _step(self, x: Any, y: Any) -> None:
        run, interrupts = self.run, self.interrupts
        before = Snapshot(self.changing)
        try:
            one_step(
                run.model,
                run.optimizer,
                run.loss,
                x,
                y,
                clip=run.clip,
                method=run.method,
                before_update=self._begin_update,
            )
        except BaseException:
            interrupts.held = True
            before.restore()
            self.failed = before, x, y
            interrupts.held = False
            self._forget()
            raise
        epoch, batch, step = run.position
        run.history.add_loss(self.loss)
        self.previous = run.position, before, x, y
        run.position = Position(epoch, batch + 1, step + 1)
        interrupts.held = False
        interrupts.deliver()
        run.callbacks.call("on_step", run)
        self._forget()
        self.reporter.step(run)

    def _begin_update(self, value: Value) -> None:
        """The gradients are there. From here on Ctrl-C waits until the update is whole."""
        loss = _number(value)
        if not math.isfinite(loss):
            raise _NonFiniteLoss(loss)
        self.loss = loss
        self.interrupts.held = True

    def _forget(self) -> None:
        for parameter in self.learned:
            parameter.zero_grad()

    # -- compiled steps -----------------------------------------------------------------------------------------

    def _several_epochs(self, machine: MachineSteps) -> bool:
        """Several epochs in one call, where nobody wants to look in between. False: nothing was done."""
        run, first = self.run, self.run.position.epoch
        if run.position.batch or not self.is_quiet:
            return False
        steps = min(machine.room, run.callbacks.rests(run))
        count = min(self.epochs - first, steps // self.per_epoch, run.callbacks.rests_epochs(run))
        if count < 2:
            return False
        began = time.perf_counter()
        rows = np.concatenate([self.order.of(epoch)[0] for epoch in range(first, first + count)])
        before = Snapshot(self.changing)
        self.interrupts.held = True
        try:
            losses = machine.many(rows)
            if not np.isfinite(losses).all():
                before.restore()
                self.is_quiet = False  # epoch by epoch, until it is found
                return False
        except BaseException:
            before.restore()
            raise
        finally:
            self.interrupts.held = False
        step = run.position.step + len(rows)
        self.piece = Position(first + count - 1, self.per_epoch - 1, step - 1), before, rows
        run.history.add_losses(losses)
        seconds = (time.perf_counter() - began) / count
        means = losses.reshape(count, -1).mean(axis=1).tolist()
        run.history.epochs += [
            {"epoch": float(first + i), "loss": mean, "seconds": seconds} for i, mean in enumerate(means)
        ]
        run.position = Position(first + count, 0, step)
        run.seconds = time.perf_counter() - self.since
        self.interrupts.deliver()
        run.callbacks.call("on_step", run)
        self._call_on_epoch()
        self.reporter.step(run)
        return True

    def _run_compiled(self, machine: MachineSteps, epoch: int) -> None:
        """The rest of an epoch, in as few calls as may be."""
        run = self.run
        full, rest = self.order.of(epoch)
        while (batch := run.position.batch) < self.per_epoch:
            if batch == len(full):
                part = rest[None]
            else:
                part = full[batch : batch + min(machine.room, run.callbacks.rests(run))]
            self._advance(machine, part)

    def _advance(self, machine: MachineSteps, part: Rows) -> None:
        """Some steps in one call, and then what Python has to do."""
        run, interrupts = self.run, self.interrupts
        before = Snapshot(self.changing)
        each = run.callbacks.see_each_step
        interrupts.held = True  # a call is short, and is finished first
        try:
            losses = machine.one(part[0]) if each else machine.many(part)
            finite = np.isfinite(losses)
            if not finite.all():
                wrong = int(np.argmin(finite))
                self._rewind(machine, before, part, wrong)
                run.history.add_losses(losses[:wrong])
                raise _NonFiniteLoss(float(losses[wrong]))
        except _NonFiniteLoss:
            raise
        except BaseException:
            before.restore()
            self._forget()
            raise
        finally:
            interrupts.held = False
        self.piece = _later(run.position, len(part) - 1), before, part
        run.history.add_losses(losses)
        run.position = _later(run.position, len(part))
        interrupts.deliver()
        run.callbacks.call("on_step", run)
        if each:
            self._forget()
            machine.renew_if_changed(parts=False)
        self.reporter.step(run)

    def _rewind(self, machine: MachineSteps, before: Snapshot, part: Rows, wrong: int) -> None:
        """Stand before the step of a call whose loss is not finite, and know the step before it."""
        run = self.run
        self._forget()
        before.restore()
        if wrong:
            position, steps = _later(run.position, wrong - 1), part[:wrong]
        elif self.piece is not None:
            position, earlier, steps = self.piece
            earlier.restore()
        if wrong or self.piece is not None:
            if len(steps) > 1:
                machine.many(steps[:-1])
            self.previous = position, Snapshot(self.changing), *self._examples(steps[-1])
            if run.callbacks.see_each_step:
                machine.one(steps[-1])
                self._forget()
            else:
                machine.many(steps[-1:])
        run.position = _later(run.position, wrong)
        self.failed = Snapshot(self.changing), *self._examples(part[wrong])

    def _examples(self, rows: Rows) -> tuple[Any, Any]:
        return self.data.inputs[rows], self.data.targets[rows]

    # -- numbers that are not finite ----------------------------------------------------------------------------

    def _birth(self, loss: float) -> None:
        """Find where the first number that is not finite arose: in this step, or in the one before it."""
        run = self.run
        assert self.failed is not None
        now = Snapshot(self.changing)
        _, x, y = self.failed
        position, step = run.position, run.position.step
        if self.previous is not None and not self._is_finite(self.changing):
            position, before, x, y = self.previous
            step = position.step
            before.restore()
        with trace_nonfinite("record") as trace:
            gradients(run.model, run.loss, x, y, clip=run.clip)
        self._forget()
        now.restore()
        found = next((each for each in trace.found if each.where != "leaf"), None) or next(iter(trace.found), None)
        run.nonfinite = found if found is not None else trace
        told = "The loss" if step == run.position.step else f"After the update of step {step:,}, the loss"
        origin = (
            str(found)
            if found is not None
            else "Loss and gradients of that step are finite; its update is not: the learning rate is too large."
        )
        here = f"at step {run.position.step:,}"
        parts = [f"{told} is {loss} {here}, so training stopped. First, at step {step:,}:", origin]
        if self.record is not None:
            parts.append(f"To go there: backlit rewind {self.record} --step {step}")
        run.stopped = "\n".join(parts)

    def _is_finite(self, values: list[Value]) -> bool:
        return all(bool(np.all(np.isfinite(np.asarray(numbers_of(v))))) for v in values)

    def _heal(self) -> None:
        """If the parameters are no longer finite, go back to before the update that made them so."""
        run = self.run
        if run.nonfinite is None or self.previous is None or self._is_finite(self.learned):
            return
        run.position, before, _, _ = self.previous
        before.restore()
        run.history.cut(run.position.step, run.position.epoch)


def _later(position: Position, steps: int) -> Position:
    """So many steps later in the same epoch."""
    return Position(position.epoch, position.batch + steps, position.step + steps)


def _number(value: Any) -> float:
    """The number of a scalar value."""
    return float(np.asarray(current(value)._data)) if isinstance(value, Value) else float(value)
