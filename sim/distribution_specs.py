"""How a scenario states a random duration: by kind, mean and coefficient of variation."""

from __future__ import annotations

import math
import statistics
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from sim.spec import NonNegative, Positive, Spec, Variation


class Constant(Spec):
    """Always `mean_s`."""

    kind: Literal["constant"]
    mean_s: NonNegative

    @property
    def cv(self) -> float:
        """The coefficient of variation: 0."""
        return 0.0


class Uniform(Spec):
    """Uniform on [low_s, high_s]."""

    kind: Literal["uniform"]
    low_s: NonNegative
    high_s: NonNegative

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.high_s < self.low_s:
            raise ValueError(f"high_s must be at least low_s = {self.low_s}, got {self.high_s}")
        return self

    @property
    def mean_s(self) -> float:
        """The mean, seconds."""
        return (self.low_s + self.high_s) / 2

    @property
    def cv(self) -> float:
        """The coefficient of variation (standard deviation / mean)."""
        return (self.high_s - self.low_s) / math.sqrt(12) / self.mean_s if self.mean_s else 0.0


class Exponential(Spec):
    """Exponential with mean `mean_s`: memoryless, cv = 1."""

    kind: Literal["exponential"]
    mean_s: Positive

    @property
    def cv(self) -> float:
        """The coefficient of variation: 1."""
        return 1.0


class LogNormal(Spec):
    """Log-normal with mean `mean_s` and coefficient of variation `cv` (standard deviation / mean)."""

    kind: Literal["lognormal"]
    mean_s: Positive
    cv: Variation


class Gamma(Spec):
    """Gamma with mean `mean_s` and coefficient of variation `cv`; its shape is 1/cv²."""

    kind: Literal["gamma"]
    mean_s: Positive
    cv: Annotated[float, Field(ge=0.05, le=10, allow_inf_nan=False)]


class Pareto(Spec):
    """Pareto (type I) with mean `mean_s` and coefficient of variation `cv`; the tail index is above 2."""

    kind: Literal["pareto"]
    mean_s: Positive
    cv: Variation


class Empirical(Spec):
    """One of the observed `values_s`, each equally likely."""

    kind: Literal["empirical"]
    values_s: Annotated[tuple[NonNegative, ...], Field(min_length=1, strict=False)]

    @property
    def mean_s(self) -> float:
        """The mean of the observed values, seconds."""
        return statistics.fmean(self.values_s)

    @property
    def cv(self) -> float:
        """The coefficient of variation of the observed values (population)."""
        return statistics.pstdev(self.values_s) / self.mean_s if self.mean_s else 0.0


DistributionSpec = Annotated[
    Constant | Uniform | Exponential | LogNormal | Gamma | Pareto | Empirical,
    Field(discriminator="kind"),
]
