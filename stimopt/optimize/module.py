"""The stimulus as the only thing that trains: what generation and regularization share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, Literal, cast

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from stimopt.items import (
    Item,
    StopReason,
    check_fit,
    check_start,
    label_items,
    readout_cells,
    readout_window,
)
from stimopt.networks.model import ResponseModel
from stimopt.networks.precheck import require_gradient
from stimopt.networks.stability import check_step
from stimopt.optimize.steps import (
    OptimizerFactory,
    SchedulerFactory,
    Steps,
    adam,
    describe_steps,
    require_steps,
)
from stimopt.protocol import Protocol
from stimopt.results.result import Variable, require_same
from stimopt.storage.identity import digest

Terms = dict[str, Tensor]
TOTAL = "loss/total"
ACTIVITY = "loss/activity"
GREY_LOSS = "loss/grey"
PEAK = "response/peak"


class StimulusModule(pl.LightningModule):
    """Optimizes stimuli by their pixels; a subclass says by which losses.

    Items do not see each other: the loss is their sum, the update is elementwise (any torch
    optimizer that is, as Adam or SGD), and each keeps its own record, best iterate and reason to
    stop.

    Args:
        network: frozen; kept in eval mode whatever the Trainer does.
        items: what is being sought.
        start: first stimulus, `(items, frames, columns)`, in [0, 1].
        protocol: shared with search.
        n_frames: frames of each item that count, `(items,)`; the rest is padding after the end.
        contrast: cell types whose mean response is subtracted.
        parametrization: `clamp` sets pixels back into [0, 1] after each step; `sigmoid` optimizes
            logits; `free` does neither, as flyvis's regularization.
        optimizer: from parameters to a torch optimizer.
        lr_scheduler: from the optimizer to a torch scheduler, stepped once a step.
        patience: stop an item that has not improved for so many steps.

    Raises:
        ValueError: if the start does not fit the network, or is not finite or out of range.
    """

    network: ResponseModel
    sign: int = 1
    n_frames: Tensor
    window: Tensor
    cells: Tensor
    network_index: Tensor
    best_stimulus: Tensor
    best_merit: Tensor
    best_step: Tensor
    stop_reason: Tensor

    def __init__(
        self,
        network: ResponseModel,
        items: Sequence[Item],
        start: Tensor,
        protocol: Protocol,
        *,
        n_frames: Tensor | None = None,
        contrast: Sequence[str] = (),
        parametrization: Literal["clamp", "sigmoid", "free"] = "clamp",
        optimizer: OptimizerFactory = adam,
        lr_scheduler: SchedulerFactory | None = None,
        patience: int | None = None,
    ) -> None:
        super().__init__()
        check_fit(parametrization, patience)
        check_start(start, len(items), network.lattice.n_columns)
        # Not a submodule: the network is named by its hash in a checkpoint, not stored in it, and
        # the Trainer's switch to training mode must not reach it. `_apply` moves it along.
        object.__setattr__(self, "network", network)
        if isinstance(network, nn.Module):
            network.requires_grad_(False).eval()
        self.items = tuple(items)
        self.labels = label_items(items, network.names)
        self.protocol = protocol
        self.parametrization, self.patience = parametrization, patience
        self._optimizer, self._lr_scheduler = optimizer, lr_scheduler
        start = start.detach().clone()
        self._start_digest = digest(start, n_frames)
        if parametrization == "sigmoid":
            # A pixel at 0 or 1 would be a logit at infinity and never move again.
            start = torch.logit(start.clamp(1e-3, 1 - 1e-3))
        self.stimulus = nn.Parameter(start)
        self._steps_by = describe_steps(self.stimulus, optimizer, lr_scheduler)
        n = len(items)
        lengths = torch.full((n,), start.shape[1]) if n_frames is None else n_frames
        self.register_buffer("n_frames", lengths.to(torch.int64), persistent=False)
        window = readout_window(protocol, self.n_frames, start.shape[1])
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("cells", readout_cells(network, items, contrast), persistent=False)
        self.register_buffer(
            "network_index", torch.tensor([item.network for item in items]), persistent=False
        )
        self.register_buffer("best_stimulus", self.luminance().detach().clone())
        self.register_buffer("best_merit", torch.full((n,), torch.inf, device=start.device))
        self.register_buffer("best_step", torch.zeros(n, dtype=torch.int64))
        self.register_buffer("stop_reason", torch.zeros(n, dtype=torch.int64))
        self._history: list[Tensor] = []
        self._term_names: tuple[str, ...] = ()
        self._final_recorded = False
        self._rng_state: Tensor | None = None

    # -- what a subclass says -------------------------------------------------------------------

    def losses(self, luminance: Tensor, responses: Tensor) -> Terms:
        """Terms of the loss, each `(items,)`, among them `loss/total` and `loss/activity`.

        Args:
            luminance: `(items, frames, columns)`.
            responses: `(items, frames, 1 + contrasted)`.
        """
        raise NotImplementedError

    def merit(self, terms: Terms) -> Tensor:
        """What the best iterate is smallest in, `(items,)`."""
        return terms[TOTAL]

    def driven(self) -> Tensor:
        """What each item's stimulus must move, `(items,)`; a fit without it is refused."""
        return self.evaluate()[ACTIVITY]

    def settings(self) -> dict[str, Any]:
        """Plain values that decide the result, for checkpoints, logs and results."""
        return {
            "kind": type(self).__name__,
            "items": [asdict(item) for item in self.items],
            "frames": self.stimulus.shape[1],
            "start_sha256": self._start_digest,
            "parametrization": self.parametrization,
            **self._steps_by,
            "patience": self.patience,
            **self.protocol.settings(),
        }

    def _identity(self) -> dict[str, Any]:
        return {"network_hash": self.network.content_hash, **self.settings()}

    def extra_variables(self) -> dict[str, Variable]:
        """Arrays of the subclass's own, for the result."""
        return {}

    # -- one step -------------------------------------------------------------------------------

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The sum over running items of their losses at the present iterate."""
        terms = self.evaluate()
        self._observe(terms)
        self._log_terms(terms)
        return torch.where(self.running, terms[TOTAL], 0.0).sum()

    def evaluate(self) -> Terms:
        """Losses and peak response (lowest, for sign -1) of this iterate, each `(items,)`."""
        luminance = self.luminance()
        responses = self.respond(luminance)
        terms = self.losses(luminance, responses)
        central = self.sign * responses.detach()[..., 0]
        terms[PEAK] = self.sign * central.masked_fill(~self.window, -torch.inf).amax(dim=1)
        return terms

    def luminance(self) -> Tensor:
        """The stimulus in [0, 1] (but for `free`), `(items, frames, columns)`."""
        return torch.sigmoid(self.stimulus) if self.parametrization == "sigmoid" else self.stimulus

    def respond(self, luminance: Tensor) -> Tensor:
        """Responses of the cells read out, `(items, frames, 1 + contrasted)`."""
        return self.network.respond(luminance, self.protocol, self.cells, self.network_index)

    @property
    def running(self) -> Tensor:
        """Which items are still being optimized, `(items,)`."""
        return self.stop_reason == StopReason.RUNNING

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """The optimizer's step, then back into range; stopped items stay where they are."""
        with self.network.threads():
            before = self.stimulus.detach().clone()
            super().optimizer_step(*args, **kwargs)
            # Not in on_train_batch_end: that runs after checkpoints are saved.
            now = self.stimulus.detach()
            if self.parametrization == "clamp":
                now.clamp_(0.0, 1.0)
            if self._may_have_stopped():
                now.copy_(torch.where(self.running[:, None, None], now, before))

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Stop items whose gradient is not finite; take momentum from none that has stopped."""
        gradient = self.stimulus.grad
        if gradient is None:
            raise RuntimeError(
                "expected a gradient on the stimulus, got none; check that the network passes one"
            )
        if getattr(self.trainer.precision_plugin, "scaler", None) is None:
            # With a gradient scaler an overflow is expected now and then, and the step is skipped.
            # The largest is NaN or infinite if any is; a sixth of the time of asking every pixel.
            largest = gradient.abs().flatten(1).amax(1)
            self._stop(~torch.isfinite(largest), StopReason.GRADIENT_NOT_FINITE)
        if self._may_have_stopped():
            gradient.masked_fill_(~self.running[:, None, None], 0.0)

    # -- the record -----------------------------------------------------------------------------

    @property
    def history(self) -> dict[str, Tensor]:
        """Every term by iterate, `(steps + 1, items)` after a fit: row i belongs to iterate i."""
        if not self._history:
            return {}
        stacked = torch.stack(self._history)
        return {name: stacked[:, i] for i, name in enumerate(self._term_names)}

    @torch.no_grad()
    def _observe(self, terms: Terms) -> None:
        """Record an iterate and keep it where it is the best."""
        step = len(self._history)
        self._term_names = tuple(terms)
        self._history.append(torch.stack([t.detach().to(torch.float32) for t in terms.values()]))
        merit = self.merit(terms).detach().to(self.best_merit.dtype)
        self._stop(~torch.isfinite(terms[TOTAL].detach()), StopReason.LOSS_NOT_FINITE)
        better = self.running & (merit < self.best_merit)
        self.best_merit.copy_(torch.where(better, merit, self.best_merit))
        self.best_step.copy_(torch.where(better, step, self.best_step))
        luminance = self.luminance().detach()
        if self._on_host() and bool(better.all()):
            self.best_stimulus.copy_(luminance)
        elif not self._on_host() or bool(better.any()):
            kept = self.best_stimulus
            self.best_stimulus.copy_(torch.where(better[:, None, None], luminance, kept))
        if self.patience is not None:
            self._stop(step - self.best_step >= self.patience, StopReason.PLATEAU)

    def _on_host(self) -> bool:
        """Whether the host may look at a value and spare itself a pass over all pixels.

        With one item such passes were a tenth of a step. An accelerator is not waited for: there
        the pass costs less than the waiting.
        """
        return self.stop_reason.device.type == "cpu"

    def _may_have_stopped(self) -> bool:
        return not self._on_host() or bool(self.stop_reason.any())

    def _stop(self, which: Tensor, reason: StopReason) -> None:
        self.stop_reason.copy_(torch.where(which & self.running, int(reason), self.stop_reason))

    def _log_terms(self, terms: Terms) -> None:
        if self.global_step % max(self.trainer.log_every_n_steps, 1):  # type: ignore[attr-defined]
            return
        # The host waits for the device here, not at every step.
        if not bool(self.running.any()):
            self.trainer.should_stop = True
        values = self._write_scalars(terms)
        total, peak = (values[list(terms).index(name)] for name in (TOTAL, PEAK))
        self.log("loss", sum(total) / len(total), prog_bar=True, logger=False)
        self.log("peak", sum(peak) / len(peak), prog_bar=True, logger=False)

    def _write_scalars(self, terms: Terms) -> list[list[float]]:
        """Every term of every item to the loggers; gives the values."""
        stacked = torch.stack([term.detach().float() for term in terms.values()])
        values: list[list[float]] = stacked.cpu().tolist()
        scalars = {}
        for name, row in zip(terms, values, strict=True):
            for label, value in zip(self.labels, row, strict=True):
                scalars[name if len(self.labels) == 1 else f"{name}/{label}"] = value
        optimizer = cast("Any", self.optimizers(use_pl_optimizer=False))
        scalars["optimizer/learning_rate"] = optimizer.param_groups[0]["lr"]
        for logger in self.trainer.loggers:
            logger.log_metrics(scalars, self.global_step)
        return values

    # -- what the Trainer asks ------------------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """The factories given, on the stimulus alone."""
        optimizer = self._optimizer([self.stimulus])
        if self._lr_scheduler is None:
            return optimizer
        scheduler = {"scheduler": self._lr_scheduler(optimizer), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def train_dataloader(self) -> Steps:
        """An endless count: the stimulus is the data, and `max_steps` says how long."""
        return Steps()

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> StimulusModule:
        if isinstance(self.network, nn.Module):
            self.network._apply(fn, recurse)  # type: ignore[no-untyped-call]
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return self

    def on_fit_start(self) -> None:
        """Refuse a run without end, at an unstable step, or an item that no gradient reaches."""
        require_steps(self.trainer, self.stimulus)
        check_step(self.network, self.protocol, [item.network for item in self.items])
        if self._final_recorded:
            # A second fit in the same process records that iterate anew as its first.
            self._history.pop()
            self._final_recorded = False
        # Also in a checkpoint that was saved after a fit.
        self.stop_reason.masked_fill_(self.stop_reason == StopReason.STEPS_DONE, 0)
        # A checkpoint is taken up before the module moves to its device.
        self._history = [row.to(self.device) for row in self._history]
        self.trainer.should_stop = not bool(self.running.any())
        if not self._history:
            with torch.enable_grad():
                require_gradient(self.driven(), self.stimulus, self.labels)
        for logger in self.trainer.loggers:
            logger.log_hyperparams(self._identity())

    def on_train_start(self) -> None:
        """Take up the random stream where the checkpoint left it."""
        if self._rng_state is not None:
            torch.set_rng_state(self._rng_state.cpu())
            self._rng_state = None

    def on_train_end(self) -> None:
        """Record the last iterate too, so that N steps leave N + 1 losses."""
        self.finish()

    def on_fit_end(self) -> None:
        """The same where nothing was left to train, as when a finished run is given again."""
        self.finish()

    @torch.no_grad()
    def finish(self) -> None:
        """Record the present iterate as the last, once."""
        if self._final_recorded:
            return
        terms = self.evaluate()
        self._observe(terms)
        self._write_scalars(terms)
        for logger in self.trainer.loggers:
            # The figure by which TensorBoard's table of hyperparameters compares runs.
            logger.log_metrics({"hp_metric": float(self.best_merit.mean())}, self.global_step)
        self._final_recorded = True
        self._stop(torch.ones_like(self.running), StopReason.STEPS_DONE)

    # -- checkpoints ----------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the record and what the run is of, to be checked on resume."""
        n_kept = len(self._history) - int(self._final_recorded)
        checkpoint["stimopt"] = {
            "network_hash": self.network.content_hash,
            "settings": self.settings(),
            "terms": list(self._term_names),
            "history": torch.stack(self._history[:n_kept]) if n_kept else torch.empty(0),
            "rng_state": torch.get_rng_state(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with anything but the run that was saved.

        Raises:
            ValueError: naming what differs.
        """
        saved = checkpoint.get("stimopt")
        if not isinstance(saved, dict):
            raise ValueError(
                "expected a checkpoint of a stimulus, got one without its record; "
                "give a checkpoint that stimopt wrote"
            )
        if saved["settings"].get("kind") != type(self).__name__:
            raise ValueError(
                f"expected a checkpoint of {type(self).__name__}, got one of "
                f"{saved['settings'].get('kind')}; give another output folder"
            )
        held = {"network_hash": saved["network_hash"], **saved["settings"]}
        require_same(held, self._identity(), "the checkpoint")
        self._term_names = tuple(saved["terms"])
        self._history = list(saved["history"].to(self.device).unbind(0))
        self._rng_state = saved["rng_state"]
        self._final_recorded = False
