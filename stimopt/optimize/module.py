"""The stimulus as the only parameter that trains: what generation and regularization share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from stimopt import expect
from stimopt.items import Item, Readout, label_items
from stimopt.networks.attached import HoldsNetwork
from stimopt.networks.model import ResponseModel
from stimopt.optimize.parametrization import Parametrization, find_parametrization
from stimopt.optimize.record import Record, StopReason
from stimopt.optimize.running import RunningResponses
from stimopt.optimize.starts import check_start
from stimopt.optimize.steps import (
    OptimizerFactory,
    SchedulerFactory,
    Steps,
    adam,
    describe_steps,
    require_steps,
)
from stimopt.optimize.terms import ACTIVITY, PEAK, TOTAL, Terms, reached_by_gradient
from stimopt.protocol import Protocol, peak
from stimopt.results import Result, Variable
from stimopt.results.variables import item_variables, reading_variables
from stimopt.storage.identity import digest, plain, require_same


class StimulusModule(HoldsNetwork, pl.LightningModule):
    """Optimizes stimuli by their pixels; a subclass defines the losses.

    Items do not see each other: the loss is their sum, the update is elementwise (any torch
    optimizer that is, such as Adam or SGD), and each has its own record, best iterate and reason
    to stop. N steps leave N + 1 rows of history, the last for the stimulus after the last step.

    Args:
        network: frozen; in eval mode whatever the Trainer does.
        items: what is being sought.
        start: first luminance, `(items, frames, columns)`, in [0, 1].
        protocol: shared with search.
        n_frames: frames of each item that count, `(items,)`; the rest is padding after the end.
        parametrization: what the optimizer moves: `clamp`, `sigmoid`, `free`, or an object as in
            `stimopt.optimize.parametrization`.
        optimizer: from parameters to a torch optimizer.
        lr_scheduler: from the optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps.

    Raises:
        ValueError: if the start does not fit the network, or is not finite or out of range.
    """

    kind = "artificial"
    """Of the result; a subclass of a user's own keeps it."""
    usual_steps: ClassVar[int] = 200
    """Steps that suffice for most cells."""
    n_frames: Tensor
    window: Tensor
    signs: Tensor
    """1 where the largest response is sought, -1 where the lowest is, `(items,)`."""

    def __init__(
        self,
        network: ResponseModel,
        items: Sequence[Item],
        start: Tensor,
        protocol: Protocol,
        *,
        n_frames: Tensor | None = None,
        parametrization: str | Parametrization = "clamp",
        optimizer: OptimizerFactory = adam,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
    ) -> None:
        super().__init__()
        expect.that(items, "items to fit", "none", "name a cell type for each")
        self.attach(network)
        self.items, self.protocol = tuple(items), protocol
        self.labels = label_items(items, network.names)
        check_start(start, len(items), network.lattice.n_columns)
        start = start.detach().clone()
        self.parametrization = find_parametrization(parametrization)
        self.stimulus = nn.Parameter(self.parametrization.parameters(start))
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        lengths = torch.full((len(items),), start.shape[1]) if n_frames is None else n_frames
        expect.within("n_frames", lengths, 1, start.shape[1], "give the length of each clip")
        window = protocol.readout_mask(lengths, start.shape[1])
        self.register_buffer("n_frames", lengths.to(torch.int64), persistent=False)
        self.register_buffer("window", window, persistent=False)
        signs = torch.ones(len(items), dtype=torch.int64)
        self.register_buffer("signs", signs, persistent=False)
        self.readout = Readout(network, self.items)
        self._running_responses = RunningResponses(self.network, self.items, self.readout)
        self.record = Record(self.luminance(), patience)
        self._settings: dict[str, Any] = {
            "class": type(self).__name__,
            "items": [item.settings() for item in items],
            "frames": start.shape[1],
            "start_sha256": digest(start, n_frames),
            "parametrization": repr(self.parametrization),
            **describe_steps(self.stimulus, optimizer, lr_scheduler),
            "patience": patience,
            **protocol.settings(),
        }
        self._rng_state: Tensor | None = None

    # -- what a subclass defines ------------------------------------------------------------------

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Terms of the loss, each `(items,)`, among them `loss/total` and `loss/activity`.

        Args:
            luminance: `(items, frames, columns)`.
            responses: `(items, readings, frames)`.
        """
        raise NotImplementedError

    def score(self, terms: Terms) -> Tensor:
        """Score that the best iterate minimises, `(items,)`."""
        return terms[TOTAL]

    def driven(self) -> Tensor:
        """Quantity that must have a gradient with respect to each stimulus, `(items,)`."""
        luminance = self.luminance()
        return self.losses(luminance, self.respond(luminance))[ACTIVITY]

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result, for checkpoints, logs and results."""
        return dict(self._settings)

    def extra_variables(self) -> dict[str, Variable]:
        """Arrays of the subclass's own, for the result."""
        return {}

    # -- one step, in the order in which it happens -----------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Score the present iterate, record and log it; the optimizer then moves the pixels."""
        terms = self.observe()
        self.log_terms(terms)
        return self.record.sum_of_running(terms[TOTAL])

    def observe(self) -> Terms:
        """Terms of the present iterate, which are put on record."""
        luminance = self.luminance()
        responses = self._running_responses(self.respond, luminance, self.record.running)
        terms = self.losses(luminance, responses)
        highest, _ = peak(self.signs[:, None] * responses[:, 0].detach(), self.window)
        terms[PEAK] = self.signs * highest
        self.record.observe(terms, self.score(terms), luminance)
        return terms

    def luminance(self) -> Tensor:
        """The stimulus, `(items, frames, columns)`; in [0, 1] but for parametrization `free`."""
        return self.parametrization.luminance(self.stimulus)

    def respond(self, luminance: Tensor, readout: Readout | None = None) -> Tensor:
        """Responses `(items, readings, frames)` of all items, or of those that `readout` reads."""
        readout = self.readout if readout is None else readout
        responses: Tensor = readout(self.network, luminance, self.protocol)
        return responses

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop items whose gradient is not finite; stopped items get none."""
        gradient = self.stimulus.grad
        if gradient is None:
            raise RuntimeError(
                "expected a gradient on the stimulus, got none; check that the network passes one"
            )
        # A gradient scaler expects an overflow now and then, and skips that step.
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            self.record.check_gradient(gradient)
        self.record.zero_stopped_(gradient)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimizer's step, then back into range; stopped items stay where they are.

        Not in `on_train_batch_end`, which runs after checkpoints are saved.
        """
        with self.network.busy(), self.record.stopped_stay(self.stimulus):
            super().optimizer_step(*args, **kwargs)
            self.project_()
        self.trainer.should_stop |= not self.record.maybe_running

    def project_(self) -> None:
        """Bring the stimulus back into its range after a step."""
        self.parametrization.project_(self.stimulus.detach())

    def optimizer_zero_grad(self, *args: Any) -> None:
        """Drop the gradient of the stimulus, without torch's loop over groups of parameters."""
        self.stimulus.grad = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Text is neither parameter nor submodule, for which torch would look.

        Lightning writes down the name of each hook that it calls, some thirty times a step.
        """
        if isinstance(value, str):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    # -- logging ----------------------------------------------------------------------------------

    def log_terms(self, terms: Terms) -> None:
        """Each item's terms to the loggers and their mean to Lightning, every so many steps.

        Lightning's EarlyStopping, ModelCheckpoint and progress bars see the mean over running
        items under the name of the term.
        """
        if self.global_step % max(self.trainer.log_every_n_steps, 1):  # type: ignore[attr-defined]
            return
        # On an accelerator the host waits here, and not at every step.
        values, running = self.write_scalars(terms), self.record.running.cpu()
        if not running.any():
            self.trainer.should_stop = True
            running = ~running
        for name, mean in zip(terms, values[:, running].mean(dim=1), strict=True):
            self.log(name, mean, prog_bar=name in (TOTAL, PEAK), logger=False)

    def write_scalars(self, terms: Terms) -> Tensor:
        """Every term of every item to the loggers; returns the values, `(terms, items)`."""
        values = torch.stack(list(terms.values())).detach().float().cpu()
        alone = len(self.labels) == 1
        scalars = {
            name if alone else f"{name}/{label}": value
            for name, row in zip(terms, values.tolist(), strict=True)
            for label, value in zip(self.labels, row, strict=True)
        }
        optimizer = cast("Any", self.optimizers(use_pl_optimizer=False))
        scalars["optimizer/learning_rate"] = optimizer.param_groups[0]["lr"]
        for logger in self.trainer.loggers:
            logger.log_metrics(scalars, self.global_step)
        return values

    # -- start and end ----------------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The optimizer and schedule, on the stimulus alone."""
        optimizer = self._optimizer([self.stimulus])
        if self._lr_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self._lr_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def train_dataloader(self) -> Steps:
        """A count of steps: the stimulus is the data, and `max_steps` decides how long."""
        return Steps(max(self.trainer.log_every_n_steps, 1))  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Reject unlimited steps, an unstable step size, or an item that no gradient reaches."""
        require_steps(self.trainer, bool(self.record.history))
        networks = sorted(set(self.readout.network.tolist()))
        self.network.precheck(self.protocol, networks)
        self.record.reopen(self.device)
        self._running_responses.forget()
        self.trainer.should_stop = not bool(self.record.running.any())
        if not self.record.history:
            with torch.enable_grad():
                reached = reached_by_gradient(self.driven(), self.stimulus)
            self.stop_unreached(reached)
        for logger in self.trainer.loggers:
            logger.log_hyperparams(self.identity())
        if not self.record.history:
            self.begin()

    def begin(self) -> None:
        """Prepare the first step of a fit that is not resumed; nothing by default."""

    def stop_unreached(self, reached: Tensor) -> None:
        """Stop items whose response does not depend on their stimulus; reject a fit of such alone.

        Args:
            reached: items that do depend on it, `(items,)`, bool.

        Raises:
            RuntimeError: if no item is left.
        """
        stuck = self.record.running & ~reached
        if not bool(stuck.any()):
            return
        expected = "a gradient from the response of every item to its stimulus"
        got = f"none for {', '.join(self.labels_of(stuck)[:10])}"
        advice = "start from another stimulus, or check that photoreceptors reach the cell within "
        advice += "the stimulus"
        some_left = bool((self.record.running & reached).any())
        expect.that(some_left, expected, got, advice, RuntimeError)
        self.record.stop(stuck, StopReason.NO_GRADIENT)
        rank_zero_warn(f"expected {expected}, got {got}, which stay as they are; {advice}")

    def labels_of(self, which: Tensor) -> list[str]:
        """Labels of the items that `which` `(items,)` selects."""
        return [label for label, w in zip(self.labels, which.tolist(), strict=True) if w]

    def on_train_start(self) -> None:
        """Restore the random stream of the checkpoint."""
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state.cpu())
            self._rng_state = None

    def on_train_end(self) -> None:
        """Record the last iterate too."""
        self.finish()

    def on_fit_end(self) -> None:
        """The same where nothing was left to train, as when a finished run is given again."""
        self.finish()

    @torch.no_grad()
    def finish(self) -> None:
        """Record the present iterate as the last, once; callbacks that need it may call this."""
        if self.record.closed:
            return
        self.write_scalars(self.observe())
        for logger in self.trainer.loggers:
            # The figure by which TensorBoard's table of hyperparameters compares runs.
            score = float(self.record.best_score.mean())
            logger.log_metrics({"hp_metric": score}, self.global_step)
        self.record.close(0 <= self.trainer.max_steps <= self.trainer.global_step)

    # -- what is left of a fit --------------------------------------------------------------------

    def result(self) -> Result:
        """Best and last stimuli, responses of the type in every column, losses and provenance.

        The responses belong to the best iterate and are simulated anew, under the protocol of the
        fit. Frames beyond an item's own length are NaN.
        """
        record, lengths = self.record, self.n_frames.cpu().numpy()
        variables = item_variables(
            self.network,
            self.protocol,
            self.items,
            self.labels,
            record.best_stimulus.float().cpu().numpy(),
            lengths,
        )
        after = torch.arange(self.window.shape[1], device=self.device) >= self.n_frames[:, None]
        last = self.luminance().detach().float().masked_fill(after[..., None], torch.nan)
        dims, units = variables["stimulus"].dims, variables["stimulus"].units
        variables["last_stimulus"] = Variable(dims, last.cpu().numpy(), units)
        if len(self.items[0].readings) > 1:
            with torch.no_grad():
                responses = self.respond(record.best_stimulus).float()
            responses = responses.masked_fill(after[:, None], torch.nan)
            variables.update(reading_variables(self.items, responses.cpu().numpy()))
        variables["best_step"] = Variable(("item",), record.best_step.cpu().numpy(), "steps")
        variables["stop_reason"] = Variable(("item",), np.array(record.stop_reasons))
        for name, values in record.history.items():
            key = "losses" if name == TOTAL else name.replace("/", "_")
            variables[key] = Variable(("step", "item"), values.cpu().numpy())
        return Result(
            kind=self.kind,
            variables={**variables, **self.extra_variables()},
            protocol=self.protocol,
            network_hash=self.network.content_hash,
            network_names=self.network.names,
            extent=self.network.lattice.extent,
            config=plain(self.settings()),
        )

    def identity(self) -> dict[str, Any]:
        """What a resumed fit must share with the one that was saved."""
        return {"network_hash": self.network.content_hash, **plain(self.settings())}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what the run is of, to be compared on resume."""
        checkpoint["stimopt"] = {
            "identity": self.identity(),
            "rng_state": torch.get_rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Reject any run but the one that was saved.

        Raises:
            ValueError: naming what differs.
        """
        saved = checkpoint.get("stimopt")
        if not isinstance(saved, dict) or "class" not in saved.get("identity", {}):
            raise ValueError(
                "expected a checkpoint of a stimulus, got one without its record; "
                "give a checkpoint that stimopt wrote"
            )
        stored, wanted = saved["identity"], self.identity()
        require_same({"class": stored["class"]}, {"class": wanted["class"]}, "the checkpoint")
        require_same(stored, wanted, "the checkpoint")
        self._rng_state = saved["rng_state"]
