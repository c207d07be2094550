"""A Keras model that minimises an objective of named terms."""

from typing import Any

import keras
import tensorflow as tf

from qdnet_keras.model.objective import TERMS, Objective
from qdnet_keras.model.replicas import apply_gradients
from qdnet_keras.model.types import Tensor


class ObjectiveModel(keras.Model):
    """Base of models that are compiled with an `Objective` in the place of losses and metrics."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trackers = {name: keras.metrics.Mean(name) for name in ("loss", *TERMS)}

    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        objective: Objective | None = None,
        **kwargs: Any,
    ) -> None:
        """Keras' own; the default objective is `Objective()`."""
        super().compile(optimizer=optimizer, **kwargs)
        self.objective = objective or Objective()

    def train_step(self, data: dict[str, Tensor]) -> dict[str, Any]:
        replicas = tf.distribute.get_strategy().num_replicas_in_sync
        with tf.GradientTape() as tape:
            terms = self.objective.terms(self, data, training=True)
            loss = self.objective.total(terms, self.optimizer.iterations)
            scaled = self.optimizer.scale_loss(loss / replicas)
        variables = self.trainable_variables
        apply_gradients(self.optimizer, tape.gradient(scaled, variables), variables)
        return self._track(loss, terms)

    def test_step(self, data: dict[str, Tensor]) -> dict[str, Any]:
        terms = self.objective.terms(self, data, training=False)
        return self._track(self.objective.total(terms, self.objective.kl_warmup), terms)

    def _track(self, loss: Tensor, terms: dict[str, Tensor]) -> dict[str, Any]:
        for name, value in {"loss": loss, **terms}.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self.trackers.values())

    def get_compile_config(self) -> dict[str, Any]:
        parts = {"optimizer": self.optimizer, "objective": self.objective}
        return {k: keras.saving.serialize_keras_object(part) for k, part in parts.items()}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        self.compile(**keras.saving.deserialize_keras_object(config))
        self.optimizer.build(self.trainable_variables)
