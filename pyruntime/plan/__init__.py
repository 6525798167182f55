"""The plan of a model: what an architecture file builds, what the core runs, what the NumPy interpreter explains."""

from pyruntime.plan.builder import Plan, PlanBuilder, Step, Value
from pyruntime.plan.weights import Weight, Weights

__all__ = ["Plan", "PlanBuilder", "Step", "Value", "Weight", "Weights"]
